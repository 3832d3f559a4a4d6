"""The input of a network that takes images: NCHW or NHWC, of any type and batch, from pictures uint8 BGR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.spec.signature import Triple
from engines.spec.tensors import Array, Description, Tensor
from engines.vision.letterbox import to_tensor

CHANNELS = 3
INT8_MIDDLE = 128

DTYPES = ("float32", "float16", "float64", "uint8", "int8", "uint16", "int16", "int32", "int64")
"""What an image can be fed as."""


@dataclass(frozen=True)
class ImageInput:
    """The input ``tensor`` that takes images (N, 3, H, W), or (N, H, W, 3) if ``is_nhwc``."""

    tensor: Tensor
    is_nhwc: bool

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(width, height) px; None for a side of any size."""
        height, width = self.tensor.shape[1:3] if self.is_nhwc else self.tensor.shape[2:]
        return width, height

    @property
    def is_integer(self) -> bool:
        """True if it takes grey levels, which the network normalises itself: 0..255, or less 128 if it is int8."""
        return is_integer(self.tensor)

    def make(self, pictures: Sequence[NDArray[np.uint8]], colour: str, mean: Triple, std: Triple) -> Array:
        """The array to feed: ``(pixel - mean) / std`` of ``pictures`` (H, W, 3) uint8 BGR, in the network's dtype.

        ``colour``, ``mean`` and ``std`` are as in :func:`engines.vision.letterbox.to_tensor`.
        """
        planes = np.stack([to_tensor(pixels, colour, mean, std) for pixels in pictures])
        return to_dtype(planes.transpose(0, 2, 3, 1) if self.is_nhwc else planes, self.tensor.dtype)


def is_integer(tensor: Tensor) -> bool:
    """True if the tensor holds whole numbers."""
    return tensor.dtype.startswith(("int", "uint"))  # other names may not be numpy's


def to_dtype(planes: Array, dtype: str) -> Array:
    """``planes``, contiguous, in ``dtype``; rounded and clipped if only that one has whole numbers.

    As int8 they are grey levels less 128, the middle of the scale: so converters quantise the inputs of networks.
    """
    if np.dtype(dtype).kind in "iu" and planes.dtype.kind == "f":
        limits = np.iinfo(dtype)
        planes = planes - INT8_MIDDLE if dtype == "int8" else planes
        planes = np.clip(np.rint(planes), limits.min, limits.max)
    return np.ascontiguousarray(planes, dtype)


def find_image_input(description: Description) -> ImageInput | None:
    """The only input that takes one image (N, 3, H, W) or (N, H, W, 3); None unless there is exactly one."""
    found = [image for tensor in description.inputs if tensor.dtype in DTYPES if (image := _to_image(tensor))]
    return found[0] if len(found) == 1 else None


def get_image_input(what: str, description: Description) -> ImageInput:
    """As :func:`find_image_input`. Raises :class:`EngineError`, with all inputs of ``what``, unless there is one."""
    image = find_image_input(description)
    if image is None:
        raise EngineError(
            f"{what}: its inputs are {format_tensors(description.inputs)}, but it must take one image, "
            "(N, 3, H, W) or (N, H, W, 3)"
        )
    return image


def _to_image(tensor: Tensor) -> ImageInput | None:
    if len(tensor.shape) != 4:
        return None
    if tensor.shape[1] == CHANNELS:
        return ImageInput(tensor, is_nhwc=False)
    if tensor.shape[3] == CHANNELS:
        return ImageInput(tensor, is_nhwc=True)
    return ImageInput(tensor, is_nhwc=False) if tensor.shape[1] is None else None


def format_tensors(tensors: Sequence[Tensor]) -> str:
    """Names, shapes and dtypes for a message."""
    return ", ".join(f"{tensor.name!r} {tensor}" for tensor in tensors)
