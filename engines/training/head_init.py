"""A temporal network that begins as the single frame: all that is left to learn is what the neighbours tell.

The papers' heads begin at random on a trained backbone and learn the whole task anew, on millions of windows. Where
there are some thousands, a head is filled so that its first answer is the backbone's own: convolutions pass on what
they are given, normalisations scale back to what a batch of features measures, the last layer is the single frame's.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.layers.residual import BasicBlock
from engines.models.fami import FAMIPose
from engines.models.hrnet import HRNet
from engines.models.tdmi import TDMI


def begin_as_single_frame(network: str, model: nn.Module, crops: Tensor) -> None:
    """Fill the head of ``model`` whose backbone is trained; ``crops`` (B, T, 3, h, w) are some windows to measure by.

    Raises :class:`EngineError` for a network whose head has no place for the single frame's answer.
    """
    if not isinstance(model, FAMIPose | TDMI):
        raise EngineError(
            f"network {network!r}: start=single-frame is for FAMI-Pose and TDMI, whose heads have a place for the "
            f"single frame's answer; it is {type(model).__name__}, so leave start away"
        )
    training = model.training
    model.eval()
    with torch.no_grad():
        window = model.window_features(crops)
        if isinstance(model, FAMIPose):
            _fill_fami(model, window[0])
        else:
            _fill_tdmi(model, window[-1][:, model.key])
    model.train(training)


def _fill_fami(model: FAMIPose, z: Tensor) -> None:
    """The sum z̃ of the window, every frame but the key frame by half (a sigmoid of 0), goes to the old last layer."""
    key, supports = model.align((z,))
    z_tilde = key + torch.stack(supports).sum(0)
    first, second, last = cast("tuple[nn.Sequential, nn.Sequential, nn.Conv2d]", tuple(model.detect))
    for layer in (first, second):
        nn.init.dirac_(cast("nn.Conv2d", layer[0]).weight)  # type: ignore[arg-type]
        _undo(cast("nn.BatchNorm2d", layer[1]), z_tilde)
    _as_last_of(model.hrnet, last, 1 / (1 + 0.5 * len(supports)))


def _fill_tdmi(model: TDMI, visual: Tensor) -> None:
    """Residual blocks that add nothing yet, the first of which passes on the second half of [M_u, F_t]."""
    first, *others = cast("list[BasicBlock]", list(model.enhance))
    for block in (first, *others):
        nn.init.zeros_(block.bn2.weight)  # type: ignore[arg-type]
        nn.init.zeros_(block.bn2.bias)  # type: ignore[arg-type]
    narrow, normalise = cast("tuple[nn.Conv2d, nn.BatchNorm2d]", tuple(cast("nn.Sequential", first.downsample)))
    nn.init.zeros_(narrow.weight)  # type: ignore[arg-type]
    channels = visual.shape[1]
    narrow.weight[:, channels:, 0, 0] = torch.eye(channels)
    _undo(normalise, visual)
    _as_last_of(model.hrnet, model.detect, 1.0)


def _undo(layer: nn.BatchNorm2d, given: Tensor) -> None:
    """Make a normalisation give back what it is given, (B, C, h, w), while it goes on normalising by its batch."""
    mean, variance = given.mean((0, 2, 3)), given.var((0, 2, 3), unbiased=False)
    cast("Tensor", layer.running_mean).copy_(mean)
    cast("Tensor", layer.running_var).copy_(variance)
    layer.weight.copy_((variance + layer.eps).sqrt())
    layer.bias.copy_(mean)


def _as_last_of(hrnet: HRNet, last: nn.Conv2d, factor: float) -> None:
    """The single frame's 1×1 layer in the middle of a 3×3 one; ``factor`` brings features back to one frame's size."""
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    last.weight[:, :, 1, 1] = factor * hrnet.final_layer.weight[:, :, 0, 0]
    cast("Tensor", last.bias).copy_(cast("Tensor", hrnet.final_layer.bias))
