"""The gradients of a training: how strong every loss term's is, and which weights receive none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

INTERVAL: Final = 50
"""Steps from one measurement of the terms' gradients to the next: each costs a forward pass, and a backward pass for
every term."""

DEAD_AFTER: Final = 20
"""Steps after which weights without a gradient are called dead; a layer behind one that begins at 0 learns later."""

MIN_GRADIENT: Final = 1e-11
"""Adam adds 1e-8 to the size of a gradient before it divides by it, so a gradient a thousandth of that moves a weight
by a thousandth of the rate."""

PREFIX: Final = "gradient/"
"""Before the name of a term, in what is logged."""

BACKBONE: Final = "hrnet."


def measure_term_norms(
    objective: nn.Module, inputs: tuple[Any, ...], parameters: Sequence[nn.Parameter], scale: float = 1.0
) -> dict[str, float]:
    """The norm of the gradient of each weighted term of ``objective(*inputs)`` by ``parameters``.

    No gradient is accumulated, and the statistics of batch normalisation stay as they are. ``scale`` multiplies terms
    before the backward pass and divides norms after it, so that a gradient in float16 does not vanish.
    """
    weights: Mapping[str, float] = getattr(objective, "term_weights", {})
    with _unchanged_buffers(objective):
        terms: Mapping[str, Tensor] = objective(*inputs)
        return {
            name: _norm(value * (weights.get(name, 1.0) * scale), parameters) / scale
            for name, value in terms.items()
            if name != "total"
        }


def find_dead_weights(model: nn.Module, optimiser: torch.optim.Optimizer) -> list[str]:
    """The weights that have never had a gradient above :data:`MIN_GRADIENT`, after some steps.

    A module of which all weights are dead is given by its name, in place of them. Biases are left out: before a batch
    normalisation theirs is 0 by nature. So is the backbone's layer for heatmaps, which most heads do not read.
    """
    learning = {name: value for name, value in model.named_parameters() if value.requires_grad and value.dim() > 1}
    dead = {name for name, value in learning.items() if _is_dead(optimiser.state.get(value))}
    unused = {name for name in dead if name.startswith(BACKBONE) and not optimiser.state.get(learning[name])}
    return list(_name_groups(model, "", dead - unused, learning.keys()))


def term_norms(values: Mapping[str, float]) -> dict[str, float]:
    """The norms by term among what a step reports."""
    return {name.removeprefix(PREFIX): value for name, value in values.items() if name.startswith(PREFIX)}


@contextmanager
def _unchanged_buffers(module: nn.Module) -> Iterator[None]:
    saved = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in saved:
            buffer.copy_(value)


def _norm(value: Tensor, parameters: Sequence[nn.Parameter]) -> float:
    if not value.requires_grad:  # a term that is clipped to a constant
        return 0.0
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return float(nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None]))


def _is_dead(state: Mapping[str, Any] | None) -> bool:
    """Whether the moments that an optimiser keeps of a weight's gradients have stayed at 0."""
    if not state:
        return True
    if "exp_avg_sq" in state:  # Adam: the mean square, from 0
        return float(state["exp_avg_sq"].max()) < MIN_GRADIENT**2 * (1 - 0.999 ** float(state["step"]))
    momentum = state.get("momentum_buffer")  # SGD
    return momentum is not None and float(momentum.abs().max()) < MIN_GRADIENT


def _name_groups(module: nn.Module, prefix: str, dead: set[str], learning: Any) -> Iterator[str]:
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        inside = {parameter for parameter in learning if parameter.startswith(f"{path}.")}
        if inside and inside <= dead:
            yield path
        elif inside & dead:
            yield from _name_groups(child, f"{path}.", dead, learning)
    yield from sorted(
        f"{prefix}{name}" for name, _ in module.named_parameters(recurse=False) if f"{prefix}{name}" in dead
    )
