"""Training recipes: which network, on which data, and how, in one YAML file; see ``configs/training``.

All randomness follows from ``seed`` and the step, so training resumes bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from engines.datasets.config import Dataset
from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.yaml import read_yaml
from engines.spec.network import Horizon

Probability = Annotated[float, Meta(ge=0, le=1)]


class Synthetic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="synthetic"):
    """Synthetic people in ``scenes`` scenes, numbered from ``first_scene``.

    Scenes below 100000 are held out for validation. ``frames`` are rendered around each moment: an odd number, by
    default as many as the network's window spans. Recipes with the same values share cached renderings.
    """

    scenes: Annotated[int, Meta(ge=1)] = 400
    first_scene: Annotated[int, Meta(ge=100_000)] = 100_000
    moments: Annotated[int, Meta(ge=1)] = 6
    fps: Annotated[float, Meta(gt=0)] = 15.0
    frames: Annotated[int, Meta(ge=1, le=15)] | None = None
    validation_scenes: Annotated[int, Meta(ge=1, le=1000)] = 24
    people: tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1, le=30)]] | None = None


class Optimisation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``schedule``: with ``steps``, ``rate`` falls by ``gamma`` after each of the epochs ``milestones``; with
    ``one-cycle`` it rises and falls once. Over the first ``warmup`` steps it rises from a thousandth of itself.
    ``momentum`` of ``sgd``. ``ema`` is the decay of the moving average of weights, 0 for none. ``factors`` multiply the
    rate of the submodules that they name: ``{hrnet: 0.1}``."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    rate: Annotated[float, Meta(gt=0)] = 1e-3
    weight_decay: Annotated[float, Meta(ge=0)] = 0.0
    schedule: Literal["steps", "one-cycle"] = "steps"
    milestones: tuple[int, ...] = ()
    gamma: Annotated[float, Meta(gt=0, le=1)] = 0.1
    warmup: Annotated[int, Meta(ge=0)] = 0
    momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.9
    clip: Annotated[float, Meta(gt=0)] | None = None
    ema: Probability = 0.0
    factors: dict[str, Annotated[float, Meta(gt=0)]] = {}


class Augmentation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Random changes, the same for all frames of a window: a flip with probability ``flip``; a gain, a tint and a
    shift of grey levels with these standard deviations.

    The other options are for labelled data sets; synthetic people vary when they are rendered. ``half_body`` is the
    probability that a person with more than 8 joints is cropped to one half; the size varies by a normal factor of
    standard deviation ``scale``, clipped to 1 ± ``scale``; with probability ``rotated`` the crop is rotated by a normal
    angle of standard deviation ``rotation``, clipped to ``rotation_limit`` degrees.
    """

    flip: Probability = 0.5
    gain: Annotated[float, Meta(ge=0)] = 0.15
    tint: Annotated[float, Meta(ge=0)] = 0.06
    shift: Annotated[float, Meta(ge=0)] = 14.0
    half_body: Probability = 0.0
    scale: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    rotation: Annotated[float, Meta(ge=0)] = 0.0
    rotation_limit: Annotated[float, Meta(ge=0, le=180)] = 45.0
    rotated: Probability = 0.6

    @property
    def is_geometric(self) -> bool:
        """Whether it crops to half bodies, scales or rotates."""
        return bool(self.half_body or self.scale or self.rotation)


Side = Annotated[int, Meta(ge=32)]


class Resizing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of whole pictures, px: in training the shorter side is drawn from ``short``, first to last in steps of
    ``step``, unless the longer side would exceed ``long``; in validation it is the last."""

    short: tuple[Side, Side]
    long: Side
    step: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        if not self.short[0] <= self.short[1] <= self.long:
            raise ValueError(f"short={list(self.short)} and long={self.long} must be in ascending order")

    @property
    def sides(self) -> range:
        """The shorter sides to draw from."""
        return range(self.short[0], self.short[1] + 1, self.step)


class MutualInformation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the term ``mutual_information`` is computed. ``alpha`` is FAMI-Pose's α (Eq. 10; 0.1 in the released code).

    ``estimate``: with ``bounded``, information is at least 0 and counted in the unit of the heatmap loss, so that the
    gradients of both have one scale; ``stated`` is the papers' form, a sum over the cells without a lower bound, which
    does not train (``benchmarks/results/learning.md``). The released FAMI-Pose has an estimate of its own.
    """

    alpha: Annotated[float, Meta(ge=0)] = 1.0
    estimate: Literal["bounded", "stated"] = "bounded"


class InitialWeights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checkpoint to start from, its layout (``engines.hub.checkpoints.LAYOUTS``; ``ours``: this project's names), and
    the submodule to load it into. Modules of it that ``skip`` names keep their first weights: a last layer whose joints
    are not those of the checkpoint."""

    file: str
    layout: str = "ours"
    into: str = ""
    skip: tuple[str, ...] = ()


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training.

    ``network`` is an entry of the catalogue; ``options`` override the arguments of its class, which are the ablations
    of its paper, and ``skeleton`` its joints. ``resizing`` is for networks of whole pictures; without it pictures have
    the size of the entry. With ``horizon`` it learns the keypoints of so many frames after the key frame, at the rate
    of the data, in the crop of the key frame's box. ``head_init`` is for what ``initial_weights`` do not fill:
    ``random``, as in the papers, or ``single-frame``, so that the first output is the backbone's own
    (``engines.training.head_init``). ``terms`` weights what is added to the heatmap loss: ``mutual_information``,
    FAMI-Pose's β and TDMI's α, computed as ``information`` says; ``feature_level``, FaSRnet's α. ``frozen`` names
    submodules whose weights and batch normalisation statistics stay unchanged. ``sigma`` of the target heatmaps, in
    cells.
    ``precision``: ``fp32``, or ``bf16`` and ``fp16`` by autocast.
    """

    network: str
    data: Synthetic | Dataset
    options: dict[str, Any] = {}
    skeleton: str | None = None
    resizing: Resizing | None = None
    horizon: Horizon = 0
    loss: Literal["heatmap", "cross-entropy"] = "heatmap"
    terms: dict[str, float] = {}
    information: MutualInformation = MutualInformation()
    initial_weights: tuple[InitialWeights, ...] = ()
    head_init: Literal["random", "single-frame"] = "random"
    frozen: tuple[str, ...] = ()
    optimisation: Optimisation = Optimisation()
    augmentation: Augmentation = Augmentation()
    epochs: Annotated[int, Meta(ge=1)] = 20
    batch: Annotated[int, Meta(ge=1)] = 32
    sigma: Annotated[float, Meta(gt=0)] = 2.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if not isinstance(self.data, Synthetic):
            return
        if self.data.frames is not None and self.data.frames % 2 == 0:
            raise ValueError(f"frames={self.data.frames} has no middle one; give an odd number")
        if self.augmentation.is_geometric:
            raise ValueError(
                "half_body, scale and rotation are for labelled data sets; synthetic people vary when they are rendered"
            )


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file. Raises :class:`EngineError` naming the file and the field."""
    try:
        return read_yaml(path, Recipe)
    except FormatError as error:
        raise EngineError(f"{error.within(f'recipe {path}')}; see configs/training for examples") from error
