"""Initialise a temporal network's head so that it first reproduces its single-frame backbone.

The papers initialise heads at random on a trained backbone and train them on millions of windows. With some thousands,
it helps to start from the backbone's own output, so that only the use of the neighbouring frames has to be learned:
convolutions become identities, normalisations are undone for the statistics of one batch of features, and the last
layer is the single-frame network's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.layers.residual import BasicBlock
from engines.layers.rsb import ConvBN, ResidualStepsBlock
from engines.models.dcpose import DCPose
from engines.models.fami import FAMIPose
from engines.models.fasrnet import FaSRnet
from engines.models.hrnet import HRNet
from engines.models.imapose import KERNEL, DynamicHead, IMAPose
from engines.models.tdmi import TDMI
from engines.models.temporal import Features


def init_from_single_frame(network: str, model: nn.Module, crops: Tensor) -> None:
    """Fill the head of ``model``, whose backbone is trained; statistics are taken on ``crops`` (B, T, 3, h, w).

    DCPose and FaSRnet continue with heatmaps that are not negative, IMAPose with any. Raises :class:`EngineError` for
    networks that mix their frames from the start.
    """
    fill = next((fill for kind, fill in _FILL.items() if isinstance(model, kind)), None)
    if fill is None:
        names = ", ".join(kind.__name__ for kind in _FILL)
        raise EngineError(
            f"network {network!r}: head_init=single-frame is implemented for {names}, not for {type(model).__name__}; "
            "leave head_init out of the recipe"
        )
    training = model.training
    model.eval()
    with torch.no_grad():
        fill(model, model.window_features(crops))  # type: ignore[operator]
    model.train(training)


def _fill_fami(model: FAMIPose, window: Features) -> None:
    """The sum z̃ of the window, in which calibrated frames have weight ½ (a sigmoid of 0), enters the old last layer."""
    key, supports = model.align(window)
    z_tilde = key + torch.stack(supports).sum(0)
    first, second, last = cast("tuple[nn.Sequential, nn.Sequential, nn.Conv2d]", tuple(model.detect))
    for layer in (first, second):
        nn.init.dirac_(cast("nn.Conv2d", layer[0]).weight)  # type: ignore[arg-type]
        _undo_normalisation(cast("nn.BatchNorm2d", layer[1]), z_tilde)
    _copy_last_layer(model.hrnet, last, 1 / (1 + (1.0 if model.lcm is None else 0.5) * len(supports)))


def _fill_tdmi(model: TDMI, window: Features) -> None:
    """Blocks that select F_t of [M_u, F_t], and for TDMI-ST before that of all frames."""
    last = window[-1][:, model.key]
    channels = last.shape[1]
    if model.appearance is not None:
        _select(model.appearance, last, model.key * channels)
    _select(model.enhance, last, channels)
    _copy_last_layer(model.hrnet, model.detect, 1.0)


def _fill_imapose(model: IMAPose, _: Features) -> None:
    """F^S is F^A (five heads with modulation ½), Ψ the key frame's, and every kernel keeps its map, for any motion."""
    for head in cast("list[DynamicHead]", list(model.ise.heads)):
        nn.init.dirac_(head.deform.weight)
        head.deform.weight *= 2
        _begin_at_0(head.offset, head.scalars)
    if model.psi is not None:
        _select_frame(model.psi, model.key * model.hrnet.config.width)
    nn.init.zeros_(model.kme.connected.weight)
    identity = torch.zeros(KERNEL, KERNEL)
    identity[KERNEL // 2, KERNEL // 2] = 1
    cast("Tensor", model.kme.connected.bias).copy_(identity.flatten().repeat(model.kme.joints * model.kme.channels))
    model.mdd.join.copy_(model.hrnet.final_layer.weight[:, :, 0, 0])
    model.mdd.bias.copy_(cast("Tensor", model.hrnet.final_layer.bias))


def _fill_fasrnet(model: FaSRnet, _: Features) -> None:
    """The fusion and the merged heatmaps begin as the key frame's. The deformable convolution is the identity."""
    if model.features:
        _select_frame(model.fusion.fuse, 0)
        model.final_layer.load_state_dict(model.hrnet.final_layer.state_dict())
    if model.semantics is not None:
        _select_frame(model.semantics.merge, 0)
        _begin_at_0(*model.semantics.offsets, *model.semantics.masks)


def _fill_dcpose(model: DCPose, window: Features) -> None:
    """The merged pose is the key frame's, and one channel of what modulation is computed from is 1."""
    heatmaps = window[0][:, model.key]
    joints = heatmaps.shape[1]
    merge = cast("ResidualStepsBlock", model.correction.ptm[0])
    skip = cast("ConvBN", merge.skip)
    nn.init.zeros_(merge.join.bn.weight)
    nn.init.zeros_(skip.conv.weight)
    for joint in range(joints):
        skip.conv.weight[joint, 3 * joint, 0, 0] = 1  # maps of one joint are adjacent, the key frame's first
    _undo_normalisation(skip.bn, heatmaps)
    first, second = cast("list[ResidualStepsBlock]", list(model.correction.combine))
    for normalise in (first.join.bn, second.join.bn, cast("ConvBN", first.skip).bn):
        normalise.weight[0] = 0
    cast("ConvBN", first.skip).bn.bias[0] = 1
    masks: list[nn.Conv2d] = list(model.correction.masks)  # type: ignore[arg-type]
    for mask in masks:
        mask.weight[:, 0, 1, 1] = 1


_FILL: Final[dict[type[nn.Module], Callable[..., None]]] = {
    FAMIPose: _fill_fami,
    TDMI: _fill_tdmi,
    IMAPose: _fill_imapose,
    FaSRnet: _fill_fasrnet,
    DCPose: _fill_dcpose,
}


def _select(blocks: nn.Sequential, features: Tensor, first_channel: int) -> None:
    """Residual blocks whose residual is 0; the first one's shortcut selects ``features`` (B, C, h, w) of its input."""
    first, *others = cast("list[BasicBlock]", list(blocks))
    for block in (first, *others):
        nn.init.zeros_(block.bn2.weight)
        nn.init.zeros_(block.bn2.bias)
    narrow, normalise = cast("tuple[nn.Conv2d, nn.BatchNorm2d]", tuple(cast("nn.Sequential", first.downsample)))
    nn.init.zeros_(narrow.weight)
    channels = features.shape[1]
    narrow.weight[:, first_channel : first_channel + channels, 0, 0] = torch.eye(channels)
    _undo_normalisation(normalise, features)


def _begin_at_0(*layers: nn.Module) -> None:
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


def _select_frame(layer: nn.Conv2d, first_channel: int) -> None:
    """A 3×3 convolution of concatenated maps that passes as many of them on as it has outputs."""
    nn.init.zeros_(layer.weight)
    channels = layer.out_channels
    layer.weight[:, first_channel : first_channel + channels, 1, 1] = torch.eye(channels)
    nn.init.zeros_(cast("Tensor", layer.bias))


def _undo_normalisation(layer: nn.BatchNorm2d, features: Tensor) -> None:
    """Set scale and shift so that the normalisation maps ``features`` (B, C, h, w) to themselves."""
    mean, variance = features.mean((0, 2, 3)), features.var((0, 2, 3), unbiased=False)
    cast("Tensor", layer.running_mean).copy_(mean)
    cast("Tensor", layer.running_var).copy_(variance)
    layer.weight.copy_((variance + layer.eps).sqrt())
    layer.bias.copy_(mean)


def _copy_last_layer(hrnet: HRNet, last: nn.Conv2d, factor: float) -> None:
    """Copy the backbone's 1×1 layer to the centre of a 3×3 one; ``factor`` rescales the features to one frame's."""
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    last.weight[:, :, 1, 1] = factor * hrnet.final_layer.weight[:, :, 0, 0]
    cast("Tensor", last.bias).copy_(cast("Tensor", hrnet.final_layer.bias))
