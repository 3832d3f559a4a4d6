"""The windows that ``posestream compare`` gives to both networks, and a picture of where they differ most."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.inference.comparison import Difference
from engines.inference.engine import PersonWindows
from engines.skeletons import Skeleton
from engines.spec.signature import Signature
from engines.vision import crop
from stream.capture.files import find_files
from stream.elements.detect import Detect
from stream.elements.filesrc import Filesrc
from stream.elements.testsrc import Testsrc
from stream.elements.track import Track
from stream.elements.window import Windower
from stream.errors import PropertyError
from stream.messages import Frame, People, Window
from stream.output.pictures import encode
from stream.pipeline.executor import through

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Point = tuple[int, int]

WHOLE = "whole"
HEIGHT_PX = 640
FIRST: Colour = (60, 220, 60)
SECOND: Colour = (230, 80, 230)
APART: Colour = (0, 0, 255)


def make_windows(signature: Signature, count: int, frames: str, detector: str) -> Iterator[PersonWindows]:
    """``count`` windows, made by a line's elements from the file ``frames``, or from synthetic people without one."""
    if frames:
        find_files(frames)  # reports a missing file before a missing detector
    source = Filesrc(location=frames) if frames else Testsrc(num_frames=count, realtime=False)
    pictures: Iterable[Frame] = through(source, ())
    people: Iterable[People]
    if frames and detector == WHOLE:
        people = map(_whole, pictures)
    else:
        people = through(Detect(model=detector if frames else "truth"), pictures)
    windows = through(Windower(past=signature.past, future=signature.future), through(Track(), people))
    return map(_request, islice(windows, count))


def _whole(frame: Frame) -> People:
    """One person as large as the picture."""
    box = np.array([[0, 0, *frame.size]], np.float32)
    return People(frame, box, np.ones(1, np.float32), np.zeros(1, np.int64))


def _request(window: Window) -> PersonWindows:
    frames = tuple(frame.pixels for frame in window.frames)
    return PersonWindows(frames, tuple(frame.key for frame in window.frames), window.people.boxes, window.people.ids)


# -- the picture ------------------------------------------------------------------------------------------------------


def draw(difference: Difference, signature: Signature, names: Sequence[str]) -> Picture:
    """Both skeletons of the person whose keypoints lie farthest apart, enlarged, with red lines between them."""
    row = int(difference.crop_px.max(axis=1).argmax())
    width, height = signature.input_size
    size = (round(HEIGHT_PX * width / height), HEIGHT_PX)
    affine = crop.box_to_affine(difference.window.boxes[row], size, enlarge=signature.enlarge)
    picture = crop.crop(difference.window.frames[signature.past], affine, size)
    both = [_to_picture(keypoints[row], affine) for keypoints in (difference.first, difference.second)]
    for start, end in zip(*both, strict=True):
        cv2.line(picture, start, end, APART, 2, cv2.LINE_AA)
    for points, colour, name, line in zip(both, (FIRST, SECOND), names, (1, 2), strict=True):
        _skeleton(picture, points, signature.joints, colour)
        cv2.putText(picture, name, (8, 18 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
    return picture


def _to_picture(keypoints: NDArray[np.float32], affine: crop.Affine) -> list[Point]:
    """Keypoints (K, 3) of the frame as pixels of the picture."""
    points = keypoints[:, :2].astype(np.float64) - 0.5  # the centre of the first pixel is 0.5 here and 0 in an affine
    matrix = np.asarray(affine, np.float64)
    return [(round(float(x)), round(float(y))) for x, y in points @ matrix[:, :2].T + matrix[:, 2]]


def _skeleton(picture: Picture, points: Sequence[Point], skeleton: Skeleton, colour: Colour) -> None:
    for start, end in skeleton.limbs:
        cv2.line(picture, points[start], points[end], colour, 1, cv2.LINE_AA)
    for point in points:
        cv2.circle(picture, point, 3, colour, cv2.FILLED, cv2.LINE_AA)


def write(picture: Picture, path: Path) -> None:
    """Write ``picture`` in the format of the suffix of ``path``. Raises :class:`PropertyError`."""
    content = encode(picture, f"compare: --picture {path}", suffix=path.suffix, remedy="try one in .png")
    try:
        path.write_bytes(content)
    except OSError as error:
        raise PropertyError(f"compare: --picture {path} cannot be written: {error.strerror}; choose another") from error
