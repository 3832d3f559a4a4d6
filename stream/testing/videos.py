"""Small videos for tests; each frame contains its number, so that lost, repeated and damaged frames are detected.

>>> read_number(numbered_picture(1234))
1234
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_BITS = 12
_BLOCK_PX = 16
_GUARD = (1, 0)  # a white and a black block behind the number: a grey or shifted picture has no number


def numbered_picture(number: int, size: tuple[int, int] = (320, 240)) -> NDArray[np.uint8]:
    """A BGR picture of ``size`` (width, height) px, a gradient that moves with ``number``, which is at the top left.

    The number is written as twelve blocks of 16 x 16 px, lowest bit first, then one white and one black block.
    """
    width, height = size
    if width < (_BITS + 2) * _BLOCK_PX or not 0 <= number < 2**_BITS:
        raise ValueError(f"{number} in {width} px: the number needs {(_BITS + 2) * _BLOCK_PX} px and 12 bits")
    columns = (np.arange(width) + 4 * number) % 256
    rows = np.arange(height) % 256
    pixels = np.stack(np.broadcast_arrays(columns[None, :], rows[:, None], 128), axis=2).astype(np.uint8)
    write_number(pixels, number)
    return pixels


def write_number(pixels: NDArray[np.uint8], number: int) -> None:
    """Write ``number`` over the top left corner of a BGR picture, so that :func:`read_number` reads it there."""
    bits = [*((number >> bit) & 1 for bit in range(_BITS)), *_GUARD]
    pixels[:_BLOCK_PX, : len(bits) * _BLOCK_PX] = np.repeat(bits, _BLOCK_PX)[None, :, None] * 255


def read_number(pixels: NDArray[np.uint8]) -> int | None:
    """The number in a picture; None where a block is neither black nor white, or the guard blocks are not there."""
    middle = _BLOCK_PX // 2
    levels = pixels[middle, middle : (_BITS + 2) * _BLOCK_PX : _BLOCK_PX].mean(axis=-1)
    bits = [int(level > 128) for level in levels]
    # Compression moves a block of pure black or white by a few levels, a broken picture by many.
    is_sharp = len(bits) == _BITS + 2 and bool((np.abs(levels - 127.5) > 64).all())
    if not is_sharp or tuple(bits[_BITS:]) != _GUARD:
        return None
    return sum(bit << place for place, bit in enumerate(bits[:_BITS]))


def write_video(
    path: Path | str,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    pts_ms: Sequence[int] | None = None,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    options: Mapping[str, str] | None = None,
    format_options: Mapping[str, str] | None = None,
    aspect: Fraction = Fraction(1),
) -> None:
    """Encode BGR pictures of one size; ``pts_ms`` gives each its time, else they come at ``fps``.

    ``aspect`` is the width of a pixel relative to its height.
    ``container`` is FFmpeg's name of the file format, where the suffix does not say it; ``options`` are the encoder's,
    ``format_options`` those of the format.
    Odd sizes want ``pix_fmt="yuv444p"``.
    """
    import av

    with av.open(str(path), "w", format=container, options=dict(format_options or {})) as output:
        stream = cast("VideoStream", output.add_stream(codec, rate=fps, options=dict(options or {})))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.sample_aspect_ratio = aspect
        unit = Fraction(1, fps if pts_ms is None else 1000)
        stream.codec_context.time_base = unit
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="bgr24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index if pts_ms is None else pts_ms[index], unit
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
