"""The PictureSignature of a single-stage network, which finds all people and their keypoints in a whole image.

Such a network returns a fixed number of candidates, from which non-maximum suppression selects people.

>>> PictureSignature(name="toy", input_size=(384, 224)).input_shape
(224, 384, 3)
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.skeletons import SKELETONS, Skeleton
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Fit, JointName, Pixels, Triple, check_skeleton
from engines.spec.tensors import Description, Tensor

SuppressionKind = Literal["hard", "soft"]
Share = Annotated[float, Meta(ge=0, le=1)]
Grey = Annotated[int, Meta(ge=0, le=255)]

STRIDE = 32
"""Width and height of an input must be multiples of this, the stride of the coarsest feature map, px."""

CANDIDATES = 500
"""Locations whose keypoints are computed; N in the InsPose paper."""

INPUT = "pictures"
OUTPUTS = ("points", "scores", "boxes")


class Suppression(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Non-maximum suppression of candidates with a score above ``min_score``.

    ``hard`` removes a candidate that overlaps a better one by more than ``iou``. ``soft`` multiplies its score by
    1 - overlap if that is at least ``iou`` (linear soft-NMS, Bodla et al., ICCV 2017).
    """

    kind: SuppressionKind = "hard"
    iou: Share = 0.6
    min_score: Share = 0.1


class PictureSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input, outputs and postprocessing of one single-stage network.

    Input: ``pictures`` (N, H, W, 3) uint8 BGR; ``input_size`` is (width, height) px. A frame is resized by ``fit`` and
    padded with the BGR colour ``pad``, by default the mean, which is 0 after normalisation. The network normalises by
    ``mean`` and ``std``, grey levels, RGB.

    Outputs, best first: ``points`` (N, M, K, 3), x px, y px in index coordinates of the input, and score; ``scores``
    (N, M) in 0..1; ``boxes`` (N, M, 4) px, which ``suppression`` compares. M is ``candidates``. At most ``max_people``
    are left after suppression. ``trained_on`` says what it learned from (see :mod:`engines.spec.training_data`).
    """

    name: str
    input_size: tuple[Pixels, Pixels]
    skeleton: str = "coco17"
    joint_names: Annotated[tuple[JointName, ...], Meta(max_length=1024)] = ()
    limbs: Annotated[tuple[tuple[str, str], ...], Meta(max_length=4096)] = ()
    fit: Fit = "top-left"
    pad: tuple[Grey, Grey, Grey] = (104, 116, 124)
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    candidates: Annotated[int, Meta(ge=1, le=3840)] = CANDIDATES
    suppression: Suppression = Suppression()
    max_people: Annotated[int, Meta(ge=1, le=1000)] = 100
    trained_on: str = ""

    def __post_init__(self) -> None:
        check_skeleton(self.skeleton, self.joint_names, self.limbs)
        if not all(self.std):
            raise ValueError(f"std {list(self.std)} must not contain 0")

    @property
    def joints(self) -> Skeleton:
        """The skeleton, K joints."""
        return SKELETONS[self.skeleton]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape (H, W, 3) of one input image."""
        return self.input_size[1], self.input_size[0], 3


def describe_graph(signature: PictureSignature, device: str) -> Description:
    """Inputs and outputs of a graph with this signature."""
    joints, most = len(signature.joints), signature.candidates
    shapes = ((None, most, joints, 3), (None, most), (None, most, 4))
    outputs = tuple(Tensor(name, shape, "float32") for name, shape in zip(OUTPUTS, shapes, strict=True))
    return Description((Tensor(INPUT, (None, *signature.input_shape), "uint8"),), outputs, device)


def check_size(name: str, size: tuple[int, int]) -> None:
    """Raise :class:`EngineError` naming a valid size unless ``size`` (width, height) px are multiples of the stride."""
    if all(side >= STRIDE and side % STRIDE == 0 for side in size):
        return
    valid = "x".join(str(max(STRIDE, -(-side // STRIDE) * STRIDE)) for side in size)
    raise EngineError(
        f"network {name!r}: input size {size[0]}x{size[1]} px is invalid; "
        f"width and height must be multiples of {STRIDE}, such as {valid}"
    )
