"""What the modules of a temporal network respond to, for :func:`engines.testing.check_learns`.

*Exchange*: each person's output of a module is given to the next person of the batch. If it depends on the person's
motion and matters, the error of the heatmaps rises.

*Alignment*: the modules that move a neighbour are trained to make its features equal the key frame's, where the
neighbour is the key frame shifted by a few pixels. Only what decides where to read from is trained, so that nothing but
moving the neighbour back can help. *Attention* is trained likewise, to leave the key frame's features of a frame.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from engines.models.fami import FAMIPose
from engines.models.fasrnet import FaSRnet
from engines.models.posewarper import PoseWarper
from engines.models.temporal import TemporalModel

BACKBONE: Final = "hrnet"

SAMPLING: Final = ("offset", "mask", "scalars")
"""Names of the modules that decide where a deformable convolution reads; those of one are exchanged together."""

DECIDING: Final = ("phi", "useful", "prf", "ptm", "combine")
"""Names of other inner modules that are exchanged beside the children of a network."""

SHIFT_PX: Final = 8


def exchange_errors(model: TemporalModel, people: int, error: Callable[[], float]) -> dict[str, float]:
    """By module, the ``error`` with its outputs exchanged among ``people``, as a multiple of the error as it is."""
    base = error()
    found: dict[str, float] = {}
    for name, modules in _modules(model).items():
        with _exchanged(modules, people) as calls:
            value = error()
        if calls:
            found[name] = value / base
    return found


def _modules(model: TemporalModel) -> dict[str, list[nn.Module]]:
    """The modules to exchange; those of one list are exchanged together, under one name."""
    found: dict[str, list[nn.Module]] = {}
    for path, module in model.named_modules():
        parent, _, name = path.rpartition(".")
        is_child = parent == "" or isinstance(dict(model.named_children()).get(parent), nn.ModuleList)
        if not path or path.startswith(BACKBONE) or not (is_child or name in (*SAMPLING, *DECIDING)):
            continue
        shown = f"{parent}.{'/'.join(SAMPLING)}" if name in SAMPLING else path
        found.setdefault(re.sub(r"\.\d+(?=\.|$)", ".*", shown), []).append(module)
    return found


@contextmanager
def _exchanged(modules: list[nn.Module], people: int) -> Iterator[list[bool]]:
    calls: list[bool] = []

    def roll(value: Tensor) -> Tensor:
        return value.roll(max(1, len(value) // people), dims=0)  # each person may have several neighbours in the batch

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        calls.append(True)
        return tuple(map(roll, output)) if isinstance(output, tuple) else roll(output)

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def aligned_error(model: TemporalModel, crops: Tensor, steps: int, rate: float) -> tuple[float, float] | None:
    """The difference of a shifted neighbour from the key frame, aligned, before and after training the alignment for
    ``steps`` steps; as a share of the difference without alignment. None for a network without an aligning module.

    ``crops`` (B, 3, H, W) of key frames. Each is shifted by up to :data:`SHIFT_PX`, differently.
    """
    align = _find_alignment(model)
    if align is None:
        return None
    with torch.no_grad():
        (key, *_) = model.backbone(crops)
        (moved, *_) = model.backbone(shift(crops))
    still = float((moved - key).square().mean())
    learning = [
        value for name, value in model.named_parameters() if value.requires_grad and not name.endswith("deform.weight")
    ]
    optimiser = torch.optim.Adam(learning, rate)
    errors: list[float] = []
    for _ in range(steps + 1):
        loss = (align(moved, key) - key).square().mean()
        errors.append(float(loss.detach()) / still)
        if not loss.requires_grad:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return errors[0], errors[-1]


def shift(crops: Tensor) -> Tensor:
    """Each crop (B, 3, H, W) moved by -:data:`SHIFT_PX`, 0 or :data:`SHIFT_PX` px in x and y, not both 0."""
    moves = [(x, y) for x in (-SHIFT_PX, 0, SHIFT_PX) for y in (-SHIFT_PX, 0, SHIFT_PX) if x or y]
    return torch.stack([crop.roll(moves[i % len(moves)], (2, 1)) for i, crop in enumerate(crops)])


def _find_alignment(model: TemporalModel) -> Callable[[Tensor, Tensor], Tensor] | None:
    """``align(neighbour, key)``, both (B, C, h, w)."""
    if isinstance(model, FAMIPose):
        gtm, lcm = model.gtm, model.lcm
        # Untrained scalars halve the features.
        return lambda neighbour, key: gtm(key, neighbour) if lcm is None else 2 * lcm(key, gtm(key, neighbour))
    if isinstance(model, PoseWarper):
        return model.warp
    if isinstance(model, FaSRnet) and len(model.align):
        return cast("Callable[[Tensor, Tensor], Tensor]", model.align[0])
    return None


def attention_gap(model: TemporalModel, crops: Tensor, steps: int, rate: float) -> tuple[float, float] | None:
    """The share that attention leaves of the features of a sharp copy of the key frame, minus that of another person's
    frame, which an occlusion shows, before and after training it to leave the key frame's features. None for a network
    without attention to frames.

    ``crops`` (B, 3, H, W) of key frames.
    """
    if not isinstance(model, FaSRnet) or not model.features or not model.fusion.attention:
        return None
    fusion = model.fusion
    with torch.no_grad():
        (key, *_) = model.backbone(crops)
    other = key.roll(1, dims=0)
    optimiser = torch.optim.Adam([*fusion.embed_auxiliary.parameters(), *fusion.embed_current.parameters()], rate)
    gaps: list[float] = []
    for _ in range(steps + 1):
        sharp, hidden = fusion.similarity(key, key), fusion.similarity(other, key)
        gaps.append(float(((key * sharp).sum() / key.sum() - (other * hidden).sum() / other.sum()).detach()))
        loss = (key * sharp - key).square().mean() + (other * hidden - key).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return gaps[0], gaps[-1]
