"""The network of a recipe, and its task: crops or whole pictures, as the network takes them."""

from __future__ import annotations

import msgspec

from engines.errors import EngineError
from engines.hub import catalogue
from engines.skeletons import SKELETONS
from engines.spec.network import NetworkSpec
from engines.training.crop_task import CropTask
from engines.training.picture_task import PictureTask
from engines.training.recipe import Recipe
from engines.training.task import Task


def find_spec(recipe: Recipe) -> NetworkSpec:
    """The network's architecture with the recipe's horizon, options and joints; with the latter its cost is not known.

    Raises :class:`EngineError` for an unknown skeleton.
    """
    _, spec = catalogue.find_network(recipe.network)
    skeleton = recipe.skeleton or spec.skeleton
    if skeleton not in SKELETONS:
        raise EngineError(f"skeleton {skeleton!r} is not known; there are {', '.join(SKELETONS)}")
    spec = msgspec.structs.replace(spec, horizon=recipe.horizon or spec.horizon)
    if not recipe.options and skeleton == spec.skeleton:
        return spec
    options = {**spec.options, **recipe.options}
    return msgspec.structs.replace(spec, options=options, skeleton=skeleton, cost=None)


def make_task(recipe: Recipe, spec: NetworkSpec) -> Task:
    """The task of ``recipe``, whose network is ``spec``. Raises :class:`EngineError` if they do not go together."""
    return PictureTask(recipe, spec) if spec.takes == "picture" else CropTask(recipe, spec)
