"""Initialise a temporal network's head so that it first reproduces its single-frame backbone.

The papers initialise heads at random on a trained backbone and train them on millions of windows. With some thousands,
it helps to start from the backbone's own output, so that only the use of the neighbouring frames has to be learned:
convolutions become identities, normalisations are undone for the statistics of one batch of features, and the last
layer is the single-frame network's.
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


def init_from_single_frame(network: str, model: nn.Module, crops: Tensor) -> None:
    """Fill the head of ``model``, whose backbone is trained; statistics are taken on ``crops`` (B, T, 3, h, w).

    Raises :class:`EngineError` for networks other than FAMI-Pose and TDMI.
    """
    if not isinstance(model, FAMIPose | TDMI):
        raise EngineError(
            f"network {network!r}: head_init=single-frame is implemented for FAMI-Pose and TDMI, not for "
            f"{type(model).__name__}; leave head_init out of the recipe"
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
    """The sum z̃ of the window, in which calibrated frames have weight ½ (a sigmoid of 0), enters the old last layer."""
    key, supports = model.align((z,))
    z_tilde = key + torch.stack(supports).sum(0)
    first, second, last = cast("tuple[nn.Sequential, nn.Sequential, nn.Conv2d]", tuple(model.detect))
    for layer in (first, second):
        nn.init.dirac_(cast("nn.Conv2d", layer[0]).weight)  # type: ignore[arg-type]
        _undo_normalisation(cast("nn.BatchNorm2d", layer[1]), z_tilde)
    _copy_last_layer(model.hrnet, last, 1 / (1 + (1.0 if model.lcm is None else 0.5) * len(supports)))


def _fill_tdmi(model: TDMI, visual: Tensor) -> None:
    """Residual blocks whose residual is 0; the first one's shortcut selects the second half of [M_u, F_t]."""
    first, *others = cast("list[BasicBlock]", list(model.enhance))
    for block in (first, *others):
        nn.init.zeros_(block.bn2.weight)  # type: ignore[arg-type]
        nn.init.zeros_(block.bn2.bias)  # type: ignore[arg-type]
    narrow, normalise = cast("tuple[nn.Conv2d, nn.BatchNorm2d]", tuple(cast("nn.Sequential", first.downsample)))
    nn.init.zeros_(narrow.weight)  # type: ignore[arg-type]
    channels = visual.shape[1]
    narrow.weight[:, channels:, 0, 0] = torch.eye(channels)
    _undo_normalisation(normalise, visual)
    _copy_last_layer(model.hrnet, model.detect, 1.0)


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
