"""The weights of an export: a checkpoint, whose layout is given or detected, published ones, or random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.hub import catalogue, checkpoints
from engines.spec.fingerprint import hash_file
from engines.spec.manifest import Source
from engines.spec.network import NetworkSpec, build
from engines.spec.training_data import NOTHING, REAL

OURS = "ours"
_POINTS = 9
"""Points of a deformable kernel: channels of offsets and modulation are multiples of it."""
RANDOM = "random weights, for testing only: the keypoints are meaningless"


@dataclass(frozen=True)
class Choice:
    """Which weights: a file and optionally its layout, or random ones, or by default the published ones."""

    weights: Path | None = None
    layout: str | None = None
    random: bool = False


def load_network(name: str, spec: NetworkSpec, choice: Choice, batch: Tensor) -> tuple[nn.Module, Source, str]:
    """The network with its weights, their source, and what they were trained on, empty if that is not known.

    Random weights are scaled to ``batch``. Raises :class:`EngineError` if a checkpoint does not fit, fills only a part,
    or is missing.
    """
    model = build(name, spec)
    if choice.random:
        return randomise(model, batch), Source(note=RANDOM), NOTHING
    path, layouts = _find_checkpoint(name, spec, choice)
    layout = _fill(model, path, layouts)
    source = Source(file=path.name, sha256=hash_file(path), layout=layout)
    return model.eval(), source, _find_trained_on(spec, path, layout)


def _find_trained_on(spec: NetworkSpec, path: Path, layout: str) -> str:
    """What the file says it was trained on; what others have published was trained on real people."""
    published = {catalogue.checkpoint_path(checkpoint).name for checkpoint in spec.checkpoints}
    if layout != OURS or path.name in published:
        return REAL
    return checkpoints.read_trained_on(path)


def _find_checkpoint(name: str, spec: NetworkSpec, choice: Choice) -> tuple[Path, Sequence[str]]:
    """The checkpoint and its possible layouts."""
    if choice.weights is not None:
        return choice.weights, [choice.layout] if choice.layout else list_layouts(spec)
    for checkpoint in spec.checkpoints:
        path = catalogue.checkpoint_path(checkpoint)
        if path.is_file() and not checkpoint.into:
            return path, [checkpoint.layout]
    published = any(not checkpoint.into for checkpoint in spec.checkpoints)
    first = f"'posestream pull {name}' fetches its published weights, or says" if published else "give a checkpoint"
    remedy = (
        f"{first} what to put where; or --weights FILE" if published else f"{first} of your own with --weights FILE"
    )
    raise EngineError(
        f"network {name!r}: its weights are not on this machine; {remedy}, or --random-weights for a test"
    )


def list_layouts(spec: NetworkSpec) -> list[str]:
    """The possible layouts of a file for this network, ours first."""
    family = spec.model.partition(".")[0]
    own = [name for name in checkpoints.LAYOUTS if name.partition("-")[0] == family and not name.endswith("imagenet")]
    listed = [checkpoint.layout for checkpoint in spec.checkpoints if not checkpoint.into]
    return list(dict.fromkeys([OURS, *listed, *own]))


def _fill(model: nn.Module, path: Path, layouts: Sequence[str]) -> str:
    """Fill ``model`` from the file in the one layout that fits, and return its name."""
    published = checkpoints.read_checkpoint(path)
    unknown = [layout for layout in layouts if layout not in checkpoints.LAYOUTS]
    if unknown:
        raise EngineError(f"no checkpoint layout {unknown[0]!r}; there are {', '.join(checkpoints.LAYOUTS)}")
    fitting = [layout for layout in layouts if checkpoints.fits(model, published, layout)]
    if len({_find_placement(published, layout) for layout in fitting}) > 1:
        raise EngineError(
            f"checkpoint {str(path)!r} fits {type(model).__name__} in {len(fitting)} layouts "
            f"({', '.join(fitting)}), which put its weights in different places; say which with --layout"
        )
    layout = (fitting or [min(layouts, key=lambda each: checkpoints.count_mismatches(model, published, each))])[0]
    left = checkpoints.load_checkpoint(model, path, layout)
    if left:
        raise EngineError(
            f"checkpoint {str(path)!r} (layout {layout}) leaves {len(left)} weights of {type(model).__name__} as they "
            f"were ({left[0]}, …): it holds only a part of the network; train the rest, and give that checkpoint"
        )
    return layout


def _find_placement(published: checkpoints.StateDict, layout: str) -> frozenset[tuple[str, int]]:
    """Which tensor fills which weight: two layouts with the same placement are one."""
    return frozenset((name, id(tensor)) for name, tensor in checkpoints.translate(published, layout).items())


def randomise(model: nn.Module, batch: Tensor, seed: int = 0) -> nn.Module:
    """Fill ``model`` with random weights that keep activations of order one, as a trained network's do.

    Weights come from normal distributions and are scaled in one forward pass of ``batch``: normalisations take its mean
    and variance, convolutions are scaled to a standard deviation of 1, and those of offsets to about half a pixel.
    Otherwise values would vanish or overflow after a hundred layers, and maps be sampled outside.
    """
    generator = torch.Generator().manual_seed(seed)
    hooks = []
    with torch.no_grad():
        for parameter in model.parameters():
            spread = float(parameter[0].numel()) ** -0.5 if parameter.dim() > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                module.weight.add_(1.0)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                hooks.append(module.register_forward_hook(_Scaling(_target_deviation(name, module))))
        model.train()(batch)
    for hook in hooks:
        hook.remove()
    return model.eval()


def _target_deviation(name: str, module: nn.Conv2d | nn.Linear) -> float:
    """The standard deviation for a layer's output; less for offsets and for Θ, which only linear layers compute."""
    if isinstance(module, nn.Linear):
        return 0.1
    return 0.5 if "offset" in name and len(module.weight) % _POINTS == 0 else 1.0


class _Scaling:
    """A forward hook that scales a layer at its first run so that its output has this standard deviation."""

    def __init__(self, deviation: float) -> None:
        self._deviation, self._is_done = deviation, False

    def __call__(self, module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        present = float(output.std())
        if self._is_done or present == 0:
            return None
        self._is_done = True
        factor = self._deviation / present
        for parameter in module.parameters(recurse=False):
            parameter.mul_(factor)
        return output * factor
