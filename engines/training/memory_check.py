"""Estimate the memory of a training step before training starts, from a forward pass of one window."""

from __future__ import annotations

from collections.abc import Iterable

import psutil
import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.spec.network import NetworkSpec
from engines.training.distributed import ProcessGroup
from engines.training.recipe import Recipe
from engines.training.tasks import make_task
from engines.training.trainer import autocast, freeze

_COPIES = 3
"""Tensors for each trained parameter: its gradient and Adam's two moments."""


def check_memory(recipe: Recipe, spec: NetworkSpec, model: nn.Module, group: ProcessGroup) -> None:
    """Raise :class:`EngineError`, naming a batch that would fit, if a step needs more memory than is free."""
    free = free_bytes(group.device)
    if group.device.type == "cpu":
        free //= group.local_world_size
    share = -(-recipe.batch // group.world_size)
    fixed, each = step_bytes(recipe, spec, model, distributed=group.world_size > 1)
    if fixed + share * each > free:
        fits = max(0, int((free - fixed) // max(1, each))) * group.world_size
        raise EngineError(
            f"recipe of {recipe.network}: a step of batch={recipe.batch} needs about "
            f"{(fixed + share * each) / 2**30:.1f} GiB, and {group.device} has {free / 2**30:.1f} free; "
            + (f"batch={fits} would fit" if fits else "not even a batch of 1 fits")
        )


def step_bytes(recipe: Recipe, spec: NetworkSpec, model: nn.Module, *, distributed: bool = False) -> tuple[int, int]:
    """Bytes that a step needs for any batch, and bytes for each window: activations saved for the backward pass.

    ``distributed`` training holds gradients a second time in its communication buckets.
    """
    freeze(model, recipe.frozen)
    weights = _bytes(model.state_dict().values())
    learning = _bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    fixed = weights * (2 if recipe.optimisation.ema else 1) + learning * (_COPIES + distributed)
    one = _activation_bytes(recipe, spec, model, 1)
    if recipe.precision == "fp32":
        return fixed, one
    # The weights that autocast has rounded are saved too, once for any batch.
    each = _activation_bytes(recipe, spec, model, 2) - one
    return fixed + one - each, each


def free_bytes(device: torch.device) -> int:
    """The free memory of the GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return psutil.virtual_memory().available


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _activation_bytes(recipe: Recipe, spec: NetworkSpec, model: nn.Module, windows: int) -> int:
    saved: dict[int, int] = {}

    def record(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return value

    task = make_task(recipe, spec)
    objective, example = task.make_objective(model).eval(), task.make_example(windows)
    with torch.autograd.graph.saved_tensors_hooks(record, lambda value: value), autocast("cpu", recipe.precision):
        objective(*example.inputs)
    parameters = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    return sum(size for address, size in saved.items() if address not in parameters)
