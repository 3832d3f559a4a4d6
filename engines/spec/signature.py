"""The Signature of a pose network: its inputs, outputs and preprocessing. A JSON file beside each ``.onnx``.

Pipelines are linked and crops prepared from the Signature alone, without opening the network, PyTorch or a GPU.

>>> Signature(name="toy", input_size=(192, 256), past=2, future=2).frames
5
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.skeletons import SKELETONS, Skeleton, register

Decode = Literal["heatmap", "heatmap-dark", "simcc", "points", "blazepose"]
Colour = Literal["rgb", "bgr"]
Layout = Literal["nchw", "ntchw", "nthwc", "nhwc"]
Pixel = Literal["float32", "uint8"]
KeptType = Literal["float32", "float16"]
Cell = Literal["corner", "centre"]
AffineRule = Literal["standard", "dark"]
Units = Literal["pixels", "fractions"]
Axes = Literal["xy", "yx"]
Fit = Literal["top-left", "centre", "stretch"]
"""How a frame is resized to an input of another aspect ratio; see :func:`engines.vision.letterbox.fit_frame`."""

Triple = tuple[float, float, float]
JointName = Annotated[str, Meta(min_length=1, max_length=255)]
Frames = Annotated[int, Meta(ge=0, le=64)]
Pixels = Annotated[int, Meta(ge=8, le=4096)]

IMAGENET_MEAN: Triple = (123.675, 116.28, 103.53)
IMAGENET_STD: Triple = (58.395, 57.12, 57.375)


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Inputs, outputs and preprocessing of one pose network.

    Input: ``input_size`` is (width, height) of a crop in px. ``past`` and ``future`` count frames before and after the
    key frame; ``order`` lists the frames in the order of the network, as offsets from the key frame (``[0, -1, 1]`` for
    DCPose); empty means oldest first. ``layout`` ``ntchw`` is (N, T, 3, H, W), ``nchw`` is (N, 3 T, H, W) with frames
    along the channels, ``nthwc`` is (N, T, H, W, 3), ``nhwc`` (N, H, W, 3) for one frame.

    Preprocessing: a box is enlarged by the factor ``enlarge`` and cropped by the rule ``affine`` (see
    ``engines.vision.crop``). ``float32`` networks take ``(pixel - mean) / std`` with channels in the order of
    ``colour``, ``mean`` and ``std`` in grey levels (0..255); pixels outside the frame are 0 before that. ``uint8``
    networks take BGR pixels and do the same themselves. A file's own dtype may be another, half precision or integers.

    Output: ``decode`` ``heatmap`` (argmax and quarter shift) and ``heatmap-dark`` read (N, K, h, w); ``simcc`` reads
    (N, K, width * simcc_split) and (N, K, height * simcc_split), x first; ``points`` reads (N, K, 3): x px, y px in
    index coordinates of the crop, and score; or (N, K, 2), with scores (N, K) as another output or 1. ``axes`` ``yx``
    swaps the two, ``units`` ``fractions`` makes them shares of the crop's size. ``blazepose`` reads MediaPipe's
    (N, 195). Heatmaps may be (N, h, w, K). ``cell`` places heatmap cell i at crop pixel i * stride (``corner``, as
    HRNet and its descendants are trained) or in the middle of the stride pixels it covers (``centre``).

    ``joint_names``, with ``limbs`` as pairs of them, define a ``skeleton`` that does not ship.

    ``trained_on`` says what it learned from (see :mod:`engines.spec.training_data`), empty if that is not known.

    ``inputs`` and ``outputs`` are tensor names in the order above; empty means all of the file's, in its order.
    ``keeps`` are the shapes (C, h, w) of the feature maps per frame, of dtype ``kept_type``, if the network is split
    into backbone and head. ``fingerprint`` binds the Signature to one file: the first 16 hex digits of its sha256.
    """

    name: str
    input_size: tuple[Pixels, Pixels]
    skeleton: str = "coco17"
    joint_names: Annotated[tuple[JointName, ...], Meta(max_length=1024)] = ()
    limbs: Annotated[tuple[tuple[str, str], ...], Meta(max_length=4096)] = ()
    past: Frames = 0
    future: Frames = 0
    order: tuple[int, ...] = ()
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    colour: Colour = "rgb"
    layout: Layout = "nchw"
    pixel: Pixel = "float32"
    enlarge: Annotated[float, Meta(gt=0, le=4)] = 1.25
    affine: AffineRule = "standard"
    decode: Decode = "heatmap"
    cell: Cell = "corner"
    axes: Axes = "xy"
    units: Units = "pixels"
    blur_px: Annotated[int, Meta(ge=3, le=63)] = 11
    simcc_split: Annotated[float, Meta(gt=0, le=16)] = 2.0
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    keeps: tuple[tuple[int, int, int], ...] = ()
    kept_type: KeptType = "float32"
    fingerprint: str = ""
    trained_on: str = ""
    licence: str = ""
    source: str = ""
    notes: dict[str, str | float] = {}

    def __post_init__(self) -> None:
        check_skeleton(self.skeleton, self.joint_names, self.limbs)
        if not all(self.std):
            raise ValueError(f"std {list(self.std)} must not contain 0")
        if self.order and sorted(self.order) != list(self.offsets):
            raise ValueError(f"order {list(self.order)} must name each of the offsets {list(self.offsets)} once")
        if self.decode == "heatmap-dark" and self.blur_px % 2 == 0:
            raise ValueError(f"blur_px {self.blur_px} must be odd")
        if self.layout == "nhwc" and self.frames > 1:
            raise ValueError(f"layout 'nhwc' is for one frame, but past {self.past} and future {self.future} are not 0")
        if (self.pixel == "uint8") != (self.layout == "nthwc"):
            raise ValueError(f"pixel {self.pixel!r} does not go with layout {self.layout!r}: uint8 with nthwc, only")

    @property
    def frames(self) -> int:
        """The number of frames T of a window: ``past + 1 + future``."""
        return self.past + 1 + self.future

    @property
    def offsets(self) -> tuple[int, ...]:
        """The window's frames as offsets from the key frame, oldest first."""
        return tuple(range(-self.past, self.future + 1))

    @property
    def kept_bytes(self) -> int:
        """Bytes of the feature maps of one person in all frames of a window."""
        each = 4 if self.kept_type == "float32" else 2
        return each * self.frames * sum(prod(shape) for shape in self.keeps)

    @property
    def joints(self) -> Skeleton:
        """The skeleton, K joints."""
        return SKELETONS[self.skeleton]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one person's input, without the batch: (T, 3, H, W), (3 T, H, W), (T, H, W, 3) or (H, W, 3)."""
        width, height = self.input_size
        if self.layout == "nthwc":
            return self.frames, height, width, 3
        if self.layout == "nhwc":
            return height, width, 3
        return (self.frames, 3, height, width) if self.layout == "ntchw" else (3 * self.frames, height, width)

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """The shape of one frame of one person, without the batch, as a separate backbone takes it."""
        width, height = self.input_size
        return (height, width, 3) if self.layout in ("nthwc", "nhwc") else (3, height, width)

    @property
    def feeding_order(self) -> tuple[int, ...]:
        """Indices into a window (oldest first) in the order in which the network takes the frames."""
        return tuple(offset + self.past for offset in self.order or self.offsets)


def check_skeleton(name: str, joint_names: Sequence[str], limbs: Sequence[tuple[str, str]]) -> None:
    """Make a skeleton of one's own known. Raises ``ValueError`` for an unknown one, and for one of contradictions."""
    if joint_names:
        register(name, joint_names, limbs)
    elif limbs:
        raise ValueError("limbs need joint_names, the names that they join")
    elif name not in SKELETONS:
        raise ValueError(
            f"skeleton {name!r} is not one of {', '.join(SKELETONS)}; give joint_names, in the order of the outputs"
        )


def read_signature(path: Path) -> Signature:
    """The Signature in a JSON file. Raises :class:`EngineError` naming the file and the field."""
    try:
        return read_json(path, Signature)
    except FormatError as error:
        raise EngineError(f"{error.within(f'Signature {path}')}; see docs/reference/models.md") from error


def write_signature(signature: Signature, path: Path) -> None:
    """Write ``signature`` to ``path`` as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(signature), indent=2) + b"\n")
