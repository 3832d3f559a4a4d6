"""The weights that a training starts from: a file, a published one in the cache, or those of another training."""

from __future__ import annotations

from pathlib import Path

from torch import nn

import configs
from engines.errors import EngineError
from engines.hub import catalogue, checkpoints
from engines.spec.network import NetworkSpec
from engines.training.recipe import InitialWeights, Recipe


def load_initial_weights(model: nn.Module, recipe: Recipe, spec: NetworkSpec) -> None:
    """Fill ``model`` as the recipe says. Raises :class:`EngineError` naming a missing file and where it comes from."""
    for initial in recipe.initial_weights:
        path = _find(recipe.network, spec, initial)
        checkpoints.load_checkpoint(model, path, initial.layout, initial.into, initial.skip)


def _find(network: str, spec: NetworkSpec, initial: InitialWeights) -> Path:
    """The file; the name of a published one of the network's entry stands for the file that 'posestream pull' makes."""
    path = Path(initial.file).expanduser()
    if path.exists():
        return path
    published = {each.file: each for each in spec.checkpoints}.get(initial.file)
    if published is not None and (cached := catalogue.checkpoint_path(published)).is_file():
        return cached
    if published is not None:
        remedy = f"'posestream pull {network}' fetches it, or says what to put where"
    elif (configs.folder() / "training" / f"{path.parent.name}.yaml").is_file():
        remedy = f"train it first, with 'posestream train configs/training/{path.parent.name}.yaml'"
        if (other := _published_for(spec, initial)) is not None:
            remedy = (
                f"start from published weights, those of COCO: 'posestream pull {network}', then in the recipe "
                f"{other}; or {remedy}"
            )
    else:
        remedy = "give another file in initial_weights"
    raise EngineError(f"recipe of {network}: it starts from {initial.file}, which is not there; {remedy}")


def _published_for(spec: NetworkSpec, initial: InitialWeights) -> str | None:
    """The line of a recipe that starts the same submodule from a published file; None if there is none."""
    published = next((each for each in spec.checkpoints if each.into == initial.into and each.url), None)
    if published is None:
        return None
    skip = f", skip: [{', '.join(initial.skip)}]" if initial.skip else ""
    return f"'initial_weights: [{{file: {published.file}, layout: {published.layout}, into: {published.into}{skip}}}]'"
