"""The PictureSignature: what a network eats and returns that finds everybody and their keypoints in whole pictures.

Such a network gives a fixed number of candidates; suppression of doubles, told here, makes people of them.

>>> PictureSignature(name="toy", input_size=(384, 224)).input_shape
(224, 384, 3)
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.skeletons import SKELETONS, Skeleton
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Fit, Pixels, Triple
from engines.spec.tensors import Description, Tensor

SuppressionKind = Literal["hard", "soft"]
Share = Annotated[float, Meta(ge=0, le=1)]
Grey = Annotated[int, Meta(ge=0, le=255)]

STRIDE = 32
"""Pictures are of a multiple of so many pixels each way: the coarsest maps of the backbones."""

CANDIDATES = 500
"""Locations whose keypoints are computed; the paper's N."""

INPUT = "pictures"
OUTPUTS = ("points", "scores", "boxes")


class Suppression(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How doubles among candidates are found.

    ``hard``: one goes that overlaps a better one by more than ``iou``. ``soft``: it loses the share of its score by
    which it overlaps (linear soft-NMS). Candidates below ``min_score`` are left out before.
    """

    kind: SuppressionKind = "hard"
    iou: Share = 0.6
    min_score: Share = 0.1


class PictureSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one network of whole pictures eats and returns.

    Input ``pictures`` (N, H, W, 3) uint8, blue first; ``input_size`` is (width, height) px. A frame is made to fit by
    ``fit``; what is left over is of the colour ``pad`` (blue, green, red): the mean, to be 0 inside. ``mean`` and
    ``std``, grey levels, red first, are what the network normalises by.
    Outputs, best first: ``points`` (N, M, K, 3): x px, y px in index coordinates of the input, and score; ``scores``
    (N, M) in 0..1; ``boxes`` (N, M, 4) px, those that ``suppression`` compares. M is ``candidates``. The best
    ``max_people`` of those left are people.
    """

    name: str
    input_size: tuple[Pixels, Pixels]
    skeleton: str = "coco17"
    fit: Fit = "top-left"
    pad: tuple[Grey, Grey, Grey] = (104, 116, 124)
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    candidates: Annotated[int, Meta(ge=1, le=3840)] = CANDIDATES
    suppression: Suppression = Suppression()
    max_people: Annotated[int, Meta(ge=1, le=1000)] = 100

    def __post_init__(self) -> None:
        if self.skeleton not in SKELETONS:
            raise ValueError(f"skeleton {self.skeleton!r} is not one of {', '.join(SKELETONS)}")
        if not all(self.std):
            raise ValueError(f"std {list(self.std)} must not contain 0")

    @property
    def joints(self) -> Skeleton:
        """The skeleton itself."""
        return SKELETONS[self.skeleton]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One picture's shape: (H, W, 3)."""
        return self.input_size[1], self.input_size[0], 3


def describe(signature: PictureSignature, device: str) -> Description:
    """What a graph with this signature says of itself."""
    joints, most = len(signature.joints), signature.candidates
    shapes = ((None, most, joints, 3), (None, most), (None, most, 4))
    outputs = tuple(Tensor(name, shape, "float32") for name, shape in zip(OUTPUTS, shapes, strict=True))
    return Description((Tensor(INPUT, (None, *signature.input_shape), "uint8"),), outputs, device)


def check_size(name: str, size: tuple[int, int]) -> None:
    """Raise :class:`EngineError` naming the nearest sizes unless ``size`` (width, height) suits the strides."""
    if all(side >= STRIDE and side % STRIDE == 0 for side in size):
        return
    fitting = "x".join(str(max(STRIDE, -(-side // STRIDE) * STRIDE)) for side in size)
    raise EngineError(
        f"network {name!r}: pictures of {size[0]}x{size[1]} px do not suit its strides; "
        f"width and height must be multiples of {STRIDE}, such as {fitting}"
    )
