"""Does a training fit into memory? Asked before anything is drawn: one window is run forward and back, and measured."""

from __future__ import annotations

from collections.abc import Iterable

import psutil
import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.skeletons import SKELETONS
from engines.spec.network import NetworkSpec
from engines.training.distributed import Place
from engines.training.objective import Objective
from engines.training.recipe import Recipe
from engines.training.trainer import autocast, freeze

_COPIES = 3
"""Of what learns: gradients, Adam's two moments."""


def check_memory(recipe: Recipe, spec: NetworkSpec, model: nn.Module, place: Place) -> None:
    """Raises :class:`EngineError`, with a batch that would fit, where a step needs more than there is."""
    free = free_bytes(place.device)
    if place.device.type == "cpu":
        free //= place.beside
    share = -(-recipe.batch // place.world)
    fixed, each = step_bytes(recipe, spec, model, others=place.world > 1)
    if fixed + share * each > free:
        fits = max(0, int((free - fixed) // max(1, each))) * place.world
        raise EngineError(
            f"recipe of {recipe.network}: a step of batch={recipe.batch} needs about "
            f"{(fixed + share * each) / 2**30:.1f} GiB, and {place.device} has {free / 2**30:.1f} free; "
            + (f"batch={fits} would fit" if fits else "not even a batch of 1 fits")
        )


def step_bytes(recipe: Recipe, spec: NetworkSpec, model: nn.Module, *, others: bool = False) -> tuple[int, int]:
    """What a step needs whatever its batch, and for each window of it: what is kept for the way back.

    With ``others`` gradients lie a second time where they are exchanged.
    """
    freeze(model, recipe.frozen)
    weights = _bytes(model.state_dict().values())
    learning = _bytes(parameter for parameter in model.parameters() if parameter.requires_grad)
    fixed = weights * (2 if recipe.optimisation.ema else 1) + learning * (_COPIES + others)
    one = _kept_bytes(recipe, spec, model, 1)
    if recipe.precision == "fp32":
        return fixed, one
    # Weights as autocast rounds them are kept too, once whatever the batch.
    each = _kept_bytes(recipe, spec, model, 2) - one
    return fixed + one - each, each


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _kept_bytes(recipe: Recipe, spec: NetworkSpec, model: nn.Module, windows: int) -> int:
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return value

    objective = Objective(recipe.network, model, recipe.sigma, recipe.loss, dict(recipe.terms)).eval()
    width, height = spec.input_size
    crops = torch.zeros(windows, len(spec.window), 3, height, width)
    joints = torch.full((windows, len(SKELETONS[spec.skeleton]), 3), 2.0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), autocast("cpu", recipe.precision):
        objective(crops, joints)
    own = {value.untyped_storage().data_ptr() for value in model.state_dict().values()}
    return sum(size for address, size in kept.items() if address not in own)


def free_bytes(device: torch.device) -> int:
    """The free memory of the GPU, or of this machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return psutil.virtual_memory().available
