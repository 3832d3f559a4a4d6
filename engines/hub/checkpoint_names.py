"""Translation of the parameter names in published checkpoints to those of ``engines.models``.

Each network has a table of ``(pattern, replacement)``, applied in order to every published key. The tables follow the
key lists of the public implementations. HRNet's names are the same here, so its table is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

Replacement = str | Callable[[re.Match[str]], str]
Rename = tuple[str, Replacement]
Value = TypeVar("Value")

_RSB: tuple[Rename, ...] = (
    (r"\.layers\.(\d+)\.conv_bn_relu1\.", r".\1.split."),
    (r"\.layers\.(\d+)\.conv_bn_relu3\.", r".\1.join."),
    (r"\.layers\.(\d+)\.downsample\.", r".\1.skip."),
)


def _rename_rsb_step(match: re.Match[str]) -> str:
    block, row, step = (int(g) for g in match.groups())
    return f".{block}.steps.{row - 1}.{step - 1}."


_RSB_STEP = re.compile(r"\.layers\.(\d+)\.conv_bn_relu2_(\d)_(\d)\.")

_CORRECTION: tuple[Rename, ...] = (
    *_RSB,
    (r"diff_temporal_fuse", "prf"),
    (r"support_temporal_fuse", "ptm"),
    (r"offset_mask_combine_conv", "combine"),
    (r"offsets_list\.(\d+)\.0\.", r"offsets.\1."),
    (r"masks_list\.(\d+)\.0\.", r"masks.\1."),
    (r"modulated_deform_conv_list\.(\d+)\.deform_conv\.", r"deform.\1."),
)

RENAMES: dict[str, tuple[Rename, ...]] = {
    "ours": (),
    "hrnet": (),
    "hrnet-mmpose": (
        (r"^backbone\.", ""),
        (r"^(keypoint_head|head)\.final_layer\.", "final_layer."),
    ),
    "dcpose": (
        *_CORRECTION,
        (r"^rough_pose_estimation_net\.", "hrnet."),
        (r"^(prf|ptm|combine|offsets|masks|deform)\.", r"correction.\1."),
    ),
    "posewarper": (
        (r"^offset_feats\.", "offset_features."),
        (r"^offsets(\d)\.", lambda m: f"offsets.{int(m[1]) - 1}."),
        (r"^deform_conv(\d)\.", lambda m: f"deform.{int(m[1]) - 1}."),
        (r"^(conv[12]|bn[12]|layer1|transition\d|stage\d|final_layer)\.", r"hrnet.\1."),
    ),
    "fasrnet": (
        *_CORRECTION,
        (r"^rough_pose_estimation_net\.", "hrnet."),
        (r"^hm_improve\.", "semantics."),
        (r"^TSA_Fusion\.", "fusion."),
        (r"^pcda_p\.", "align_previous."),
        (r"^pcda_n\.", "align_next."),
        (r"\.cas_dcnpack\.conv_offset_mask\.", ".cas_dcn.conv_offset_mask."),
        (r"\.cas_dcnpack\.", ".cas_dcn.deform."),
        (r"\.dcn_pack\.l(\d)\.conv_offset_mask\.", lambda m: f".dcn.{int(m[1]) - 1}.conv_offset_mask."),
        (r"\.dcn_pack\.l(\d)\.", lambda m: f".dcn.{int(m[1]) - 1}.deform."),
        (r"\.l(\d)\.", lambda m: f".{int(m[1]) - 1}."),
    ),
    "inspose": (
        (r"^neck\.lateral_convs\.(\d)\.conv\.", r"neck.lateral.\1."),
        (r"^neck\.fpn_convs\.([012])\.conv\.", r"neck.output.\1."),
        (r"^neck\.fpn_convs\.([34])\.conv\.", lambda m: f"neck.extra.{int(m[1]) - 3}."),
        (r"^bbox_head\.", ""),
        (r"^kpt_convs\.", "regress_tower."),
        (r"^kpt_offset\.", "regress."),
        (r"^cls_convs\.", "classify_tower."),
        (r"^conv_cls\.", "classify."),
        (r"^ctrl_convs\.", "parameter_tower."),
        (r"^cls_star_conv\.", "classify_star."),
        (r"^cls_star_gn\.", "classify_star.gn."),
        (r"^ctr_star_conv\.", "parameter_star."),
        (r"^ctr_star_gn\.", "parameter_star.gn."),
        (r"^shared_convs\.([0-3])\.", r"features.0.\1."),
        (r"^shared_convs\.4\.conv\.", "features.1."),
        (r"^shared_convs\.4\.gn\.", "features.2."),
        (r"^shared_convs\.4\.", "features.1."),
        (r"^shared_convs\.5\.", "features.2."),
        (r"^hm_convs\.([013])\.", r"fine.\1."),
        (r"^hm_convs\.2\.", "fine.3."),
        (r"^hm_pred\.", "heatmap."),
        (r"^ae_pred\.", "tag."),
        (r"^hm_offset\.", "disk_offset."),
    ),
    "fami": (
        (r"\.layers\.(\d+)\.", r".\1."),
        (r"^feat_global_offset_layers\.0\.0\.", "translation.reduce."),
        (r"^feat_global_offset_layers\.([1-5])\.conv\.", lambda m: f"translation.shrink.{int(m[1]) - 1}.0."),
        (r"^feat_global_offset_layers\.([1-5])\.bn\.", lambda m: f"translation.shrink.{int(m[1]) - 1}.1."),
        (r"^feat_global_offset_layers\.([789])\.", lambda m: f"translation.regress.{int(m[1]) - 7}."),
        (r"^sup_agg_block\.", "gather."),
        (r"^combined_feat_layers\.", "relate."),
        (r"^dcn_offset_(\d)\.conv\.", lambda m: f"calibrate.{int(m[1]) - 1}.offset."),
        (r"^dcn_mask_(\d)\.conv\.", lambda m: f"calibrate.{int(m[1]) - 1}.mask."),
        (r"^dcn_(\d)\.", lambda m: f"calibrate.{int(m[1]) - 1}.deform."),
        (r"^init_feature_agg_block\.", "aggregate."),
        (r"^agg_final_layer\.", "final."),
    ),
}


def rename_keys(network: str, published: Mapping[str, Value]) -> dict[str, Value]:
    """The entries of a published state dict with the parameter names used here; ``network`` is a key of RENAMES."""
    result: dict[str, Value] = {}
    for key, value in published.items():
        name = _RSB_STEP.sub(_rename_rsb_step, key)
        for pattern, replacement in RENAMES[network]:
            name = re.sub(pattern, replacement, name)
        result[name] = value
    return result
