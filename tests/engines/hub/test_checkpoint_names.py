"""Published parameter names translate to the names used here, with the same shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import engines  # noqa: E402
from engines.hub.checkpoint_names import RENAMES, rename_keys  # noqa: E402

KEYS = {
    "hrnet_w32": ("hrnet", "hrnet-w32-384x288"),
    "hrnet_w48": ("hrnet", "hrnet-w48-384x288"),
    "dcpose": ("dcpose", "dcpose-w48-384x288"),
    "posewarper": ("posewarper", "posewarper-w48-384x288"),
    "fasrnet": ("fasrnet", "fasrnet-released-w48-384x288"),
    "fami": ("fami", "fami-released-w48-384x288"),
    "inspose_r50": ("inspose", "inspose-released-r50"),
}


def build_shapes(name: str) -> dict[str, list[int]]:
    """Of the network's state dict, weights left out."""
    with torch.device("meta"):
        return {key: list(value.shape) for key, value in engines.create(name).state_dict().items()}


@pytest.mark.parametrize("listed", KEYS)
def test_every_published_name_is_translated(shared: Path, listed: str) -> None:
    layout, name = KEYS[listed]
    data: dict[str, Any] = json.loads((shared / "models" / f"keys_{listed}.json").read_text())
    published = {key: entry["shape"] for key, entry in data["state_dict"].items()} if "state_dict" in data else data
    assert rename_keys(layout, published) == build_shapes(name)
    assert len(rename_keys(layout, published)) == len(published)


# A few of each, for where the lists are not: (layout, published, ours).
EXAMPLES = [
    ("ours", "lcm.deform.weight", "lcm.deform.weight"),
    ("hrnet", "stage3.1.fuse_layers.2.0.0.1.bias", "stage3.1.fuse_layers.2.0.0.1.bias"),
    ("hrnet-mmpose", "backbone.stage2.0.branches.0.0.conv1.weight", "stage2.0.branches.0.0.conv1.weight"),
    ("hrnet-mmpose", "keypoint_head.final_layer.weight", "final_layer.weight"),
    ("hrnet-mmpose", "head.final_layer.bias", "final_layer.bias"),
    ("dcpose", "rough_pose_estimation_net.conv1.weight", "hrnet.conv1.weight"),
    (
        "dcpose",
        "diff_temporal_fuse.layers.1.conv_bn_relu2_4_3.bn.running_var",
        "correction.prf.1.steps.3.2.bn.running_var",
    ),
    ("dcpose", "support_temporal_fuse.layers.0.conv_bn_relu3.conv.weight", "correction.ptm.0.join.conv.weight"),
    ("dcpose", "masks_list.2.0.weight", "correction.masks.2.weight"),
    ("posewarper", "stage2.0.branches.0.3.bn1.weight", "hrnet.stage2.0.branches.0.3.bn1.weight"),
    ("posewarper", "offset_feats.8.bn1.running_mean", "offset_features.8.bn1.running_mean"),
    ("posewarper", "offsets3.weight", "offsets.2.weight"),
    ("fasrnet", "pcda_p.offset_conv1.l3.weight", "align_previous.offset_conv1.2.weight"),
    ("fasrnet", "pcda_n.cas_dcnpack.conv_offset_mask.bias", "align_next.cas_dcn.conv_offset_mask.bias"),
    (
        "fasrnet",
        "hm_improve.offset_mask_combine_conv.layers.1.conv_bn_relu1.bn.bias",
        "semantics.combine.1.split.bn.bias",
    ),
    ("fami", "feat_global_offset_layers.3.bn.running_mean", "translation.shrink.2.1.running_mean"),
    ("fami", "dcn_offset_4.conv.bias", "calibrate.3.offset.bias"),
    ("fami", "init_feature_agg_block.layers.2.bn2.weight", "aggregate.2.bn2.weight"),
    ("inspose", "bbox_head.shared_convs.4.gn.bias", "features.2.bias"),
    ("inspose", "neck.fpn_convs.3.conv.weight", "neck.extra.0.weight"),
    ("inspose", "bbox_head.ctr_star_gn.bias", "parameter_star.gn.bias"),
]


@pytest.mark.parametrize(("layout", "published", "ours"), EXAMPLES)
def test_a_published_name_is_translated(layout: str, published: str, ours: str) -> None:
    assert rename_keys(layout, {published: 1}) == {ours: 1}


def test_every_layout_has_an_example() -> None:
    assert {layout for layout, _, _ in EXAMPLES} == set(RENAMES)
