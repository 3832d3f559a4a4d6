"""A training, written down: which network, what it learns from, and how. One YAML file; ``configs/training`` has the
papers' own and ours.

Everything that chance decides follows from ``seed`` and the number of the epoch, so a training that was interrupted
goes on as if it had not been.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta

from engines.datasets.sources import Labelled
from engines.errors import EngineError

Share = Annotated[float, Meta(ge=0, le=1)]


class Synthetic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="synthetic"):
    """Drawn people: ``scenes`` scenes from number ``first_scene`` on.

    Scenes below 100000 are never trained on: 0 to 99999 are for judging. ``frames`` are filmed about each moment, an
    odd number, or as many as the network's window spans; recipes that say the same share what was drawn.
    """

    scenes: Annotated[int, Meta(ge=1)] = 400
    first_scene: Annotated[int, Meta(ge=100_000)] = 100_000
    moments: Annotated[int, Meta(ge=1)] = 6
    fps: Annotated[float, Meta(gt=0)] = 15.0
    frames: Annotated[int, Meta(ge=1, le=15)] | None = None
    judged_scenes: Annotated[int, Meta(ge=1, le=1000)] = 24


class Optimisation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``rate`` falls by ``gamma`` after each of the epochs ``milestones`` (``steps``), or rises and falls once."""

    name: Literal["adam", "adamw"] = "adam"
    rate: Annotated[float, Meta(gt=0)] = 1e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    schedule: Literal["steps", "one-cycle"] = "steps"
    milestones: tuple[int, ...] = ()
    gamma: Annotated[float, Meta(gt=0, le=1)] = 0.1
    clip: Annotated[float, Meta(gt=0)] | None = None
    ema: Share = 0.0


class Augmentation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same for all frames of a window: mirrored with probability ``flip``; lit and tinted anew by factors and
    shifts of these standard deviations (grey levels).

    The rest is for data sets, since drawn people are moved when they are drawn: ``half_body`` is how often somebody
    with more than 8 joints is cut to half; sizes change by a normal factor of deviation ``scale``, cut off there too;
    with probability ``rotated`` the crop is turned by a normal angle of deviation ``rotation``, at most
    ``rotation_limit`` degrees.
    """

    flip: Share = 0.5
    gain: Annotated[float, Meta(ge=0)] = 0.15
    tint: Annotated[float, Meta(ge=0)] = 0.06
    shift: Annotated[float, Meta(ge=0)] = 14.0
    half_body: Share = 0.0
    scale: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    rotation: Annotated[float, Meta(ge=0)] = 0.0
    rotation_limit: Annotated[float, Meta(ge=0, le=180)] = 45.0
    rotated: Share = 0.6

    @property
    def moves(self) -> bool:
        """Whether it moves, resizes or turns anybody."""
        return bool(self.half_body or self.scale or self.rotation)


class Beginning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Weights to begin from: a checkpoint, its layout (``engines.hub.checkpoints.LAYOUTS``; ``ours``: this project's
    names), the submodule it fills."""

    file: str
    layout: str = "ours"
    into: str = ""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of it.

    ``network`` is an entry of the catalogue. ``start``: what ``begin`` does not fill begins at random, as in papers,
    or so that the first answer is the backbone's own (``engines.training.head_init``). ``terms`` weighs what is added
    to the heatmap loss, such as ``mutual_information``. ``frozen`` names submodules that do not learn; their batch
    normalisation keeps its statistics too. ``sigma`` of the targets, in cells. ``precision``: ``fp32``, or ``bf16`` and
    ``fp16`` by autocast.
    """

    network: str
    data: Synthetic | Labelled
    loss: Literal["heatmap", "cross-entropy"] = "heatmap"
    terms: dict[str, float] = {}
    begin: tuple[Beginning, ...] = ()
    start: Literal["random", "single-frame"] = "random"
    frozen: tuple[str, ...] = ()
    optimisation: Optimisation = Optimisation()
    augmentation: Augmentation = Augmentation()
    epochs: Annotated[int, Meta(ge=1)] = 20
    batch: Annotated[int, Meta(ge=1)] = 32
    sigma: Annotated[float, Meta(gt=0)] = 2.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if isinstance(self.data, Synthetic) and self.data.frames is not None and self.data.frames % 2 == 0:
            raise ValueError(f"frames={self.data.frames} has no middle one; give an odd number")
        if isinstance(self.data, Synthetic) and self.augmentation.moves:
            raise ValueError("half_body, scale and rotation are for data sets; drawn people are moved when drawn")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file. Raises :class:`EngineError` naming the file and the field."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_text("utf-8")), Recipe)
    except OSError as error:
        raise EngineError(f"recipe {path}: {error.strerror}; see configs/training for examples") from error
    except (msgspec.ValidationError, yaml.YAMLError) as error:
        raise EngineError(f"recipe {path}: {' '.join(str(error).split())}") from error
