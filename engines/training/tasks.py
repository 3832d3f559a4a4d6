"""The task of a recipe: crops or whole pictures, as its network takes them."""

from __future__ import annotations

from engines.spec.network import NetworkSpec
from engines.training.crop_task import CropTask
from engines.training.recipe import Recipe
from engines.training.task import Task


def make_task(recipe: Recipe, spec: NetworkSpec) -> Task:
    """The task of ``recipe``, whose network is ``spec``."""
    return CropTask(recipe, spec)
