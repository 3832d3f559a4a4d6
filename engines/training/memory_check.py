"""Estimate the memory of a training step before training starts, by counting the tensors of one."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import psutil
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from engines.errors import EngineError
from engines.layers.deform_conv import deform_conv2d_reference
from engines.layers.deform_dilated import dilated_reference
from engines.spec.network import NetworkSpec
from engines.training.distributed import ProcessGroup
from engines.training.recipe import Recipe
from engines.training.tasks import make_task
from engines.training.trainer import autocast, freeze, get_submodules

_MOMENTS: Final = {"adam": 2, "adamw": 2, "sgd": 1}
"""Tensors that an optimiser holds for each trained parameter."""
_HELD: Final = 1.15
"""What an allocator holds for each byte of a tensor, and convolutions need while they run: measured, by
``python -m benchmarks.memory``."""
_OPERATORS: Final[dict[Any, Any]] = {
    torch.ops.posestream.deform_conv2d.default: deform_conv2d_reference,
    torch.ops.posestream.deform_conv2d_dilated.default: dilated_reference,
}
"""Operators of ours, and what they compute: the columns they gather are the largest tensors of some networks."""


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
    """Bytes that a step needs for any batch, and bytes for each window or picture.

    ``distributed`` training holds gradients a second time in its communication buckets.
    """
    freeze(model, recipe.frozen)
    weights = _bytes(model.state_dict().values())
    learning = _bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    fixed = weights * (2 if recipe.optimisation.ema else 1)
    fixed += learning * (_MOMENTS[recipe.optimisation.name] + distributed)
    # With few, most is in use at the end of the backward pass, when all gradients are there.
    many = 2 if spec.takes == "picture" else max(4, recipe.batch)
    few = many // 2
    least, most = (_peak_bytes(recipe, spec, model, count) for count in (few, many))
    each = (most - least) // (many - few)
    return fixed + round(_HELD * (least - few * each)), round(_HELD * each)


def free_bytes(device: torch.device) -> int:
    """The free memory of the GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return psutil.virtual_memory().available


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _peak_bytes(recipe: Recipe, spec: NetworkSpec, model: nn.Module, count: int) -> int:
    """The most bytes that tensors made in a step of ``count`` samples take at once: activations, the columns of
    deformable convolutions, gradients."""
    task = make_task(recipe, spec)
    # Tensors without content need neither time nor memory. Losses of pictures look at what is in them.
    fake: AbstractContextManager[Any] = nullcontext() if spec.takes == "picture" else FakeTensorMode()
    copied = _copy_into(fake, model) if isinstance(fake, FakeTensorMode) else copy.deepcopy(model)
    with fake, _Count() as counted, autocast("cpu", recipe.precision):
        objective, example = task.make_objective(copied), task.make_example(count)
        objective.train()
        for module in get_submodules(copied, recipe.frozen):
            module.eval()
        objective(*example.inputs)["total"].backward()
    return counted.peak


def _copy_into(fake: FakeTensorMode, model: nn.Module) -> nn.Module:
    """The model with weights that have a shape and no content."""
    replaced: dict[int, Any] = {}
    for value in (*model.parameters(), *model.buffers()):
        empty = fake.from_tensor(value.detach())
        replaced[id(value)] = nn.Parameter(empty, value.requires_grad) if isinstance(value, nn.Parameter) else empty
    return copy.deepcopy(model, replaced)


class _Count(TorchDispatchMode):
    """Counts the bytes of all storages that operators make while it is active; ``peak`` is the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        reference = _OPERATORS.get(func)
        if reference is not None:
            with self:
                return reference(*args)
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._add(value.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self._now -= self._sizes.pop(key)
