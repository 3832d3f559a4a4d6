"""The windows of crops that an export is measured on and int8 is calibrated on, cut as an engine cuts them.

They come from the user's frames, or else from drawn people with their true boxes, and from random pixels, on which
errors show that a trained network's usual inputs would hide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.scene import Scene
from engines.errors import EngineError
from engines.inference.regions import box_to_region, crop_regions
from engines.spec.signature import Signature
from engines.vision.letterbox import to_tensor

Crops = NDArray[np.uint8]
"""(M, T, H, W, 3) uint8 BGR: M windows of T crops, oldest first."""

PEOPLE_WINDOWS, NOISE_WINDOWS = 4, 2
_FPS = 25.0
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_MAX_FRAMES = 400
"""Frames read from the beginning of a video: enough for windows a second apart."""


@dataclass(frozen=True)
class Samples:
    """``crops``, and what they are, for the manifest."""

    crops: Crops
    description: str

    def inputs(self, signature: Signature) -> NDArray[np.uint8] | NDArray[np.float32]:
        """The windows as the graph takes them: pixels, or (M, T, 3, H, W) normalised."""
        return self.crops if signature.pixel == "uint8" else normalise(self.crops, signature)


def normalise(crops: Crops, signature: Signature) -> NDArray[np.float32]:
    """(M, T, 3, H, W) float32, as ``engines`` prepares crops outside a graph."""
    rows = [[to_tensor(crop, signature.colour, signature.mean, signature.std) for crop in window] for window in crops]
    return np.array(rows, np.float32)


def draw_windows(signature: Signature, count: int = PEOPLE_WINDOWS, seed: int = 11) -> Crops:
    """Windows of drawn, walking people, each cut by the true box of the key frame."""
    scene = Scene(seed, 3, 640, 480)
    windows = (_draw_moment(scene, signature, float(second)) for second in range(10 * count))
    return _take(windows, count)


def _draw_moment(scene: Scene, signature: Signature, second: float) -> Crops:
    """(people, T, H, W, 3) around one key frame."""
    pictures = [scene.at(second + offset / _FPS, round(second * _FPS) + offset) for offset in signature.offsets]
    key = pictures[signature.past]
    return _crop_windows([picture.pixels for picture in pictures], key.boxes, signature)


def cut_windows(path: Path, signature: Signature, count: int = PEOPLE_WINDOWS) -> Crops:
    """Windows around evenly spaced frames of a video or a folder of pictures, each cut at three places.

    No detector runs: the boxes are as high as the picture and as wide as a person's crop, in its middle, left and
    right. Raises :class:`EngineError` if there is nothing to read, or fewer frames than a window has.
    """
    frames = list(read_frames(path))
    if len(frames) < signature.frames:
        raise EngineError(
            f"--frames {path}: it has {len(frames)} pictures of one size, a window of {signature.name} needs "
            f"{signature.frames}; give a longer video or a folder of more pictures"
        )
    keys = np.linspace(signature.past, len(frames) - 1 - signature.future, max(1, -(-count // 3))).astype(int)
    windows = (
        _crop_windows(
            frames[key - signature.past : key + signature.future + 1], _make_boxes(frames[key], signature), signature
        )
        for key in keys.tolist()
    )
    return _take(windows, count)


def _make_boxes(pixels: NDArray[np.uint8], signature: Signature) -> NDArray[np.float32]:
    """Three boxes (3, 4) px as high as the picture."""
    height, width = pixels.shape[:2]
    box_width = height * signature.input_size[0] / signature.input_size[1] / signature.enlarge
    centers = [width / 2, width / 4, 3 * width / 4]
    return np.array([[x - box_width / 2, 0, x + box_width / 2, height] for x in centers], np.float32)


def _crop_windows(frames: Sequence[NDArray[np.uint8]], boxes: NDArray[np.float32], signature: Signature) -> Crops:
    """(people, T, H, W, 3): every frame cut by the region of the key frame's box, as an engine does."""
    width, height = signature.input_size
    plain = msgspec.structs.replace(signature, pixel="uint8", layout="nthwc")
    people = [crop_regions(plain, frames, [box_to_region(plain, box)] * len(frames)) for box in boxes]
    return np.array(people, np.uint8).reshape(-1, len(frames), height, width, 3)


def _take(windows: Iterator[Crops], count: int) -> Crops:
    found: list[NDArray[np.uint8]] = list(islice((window for batch in windows for window in batch), count))
    return np.stack(found)


def make_noise(signature: Signature, count: int = NOISE_WINDOWS, seed: int = 0) -> Crops:
    """Windows of random pixels."""
    width, height = signature.input_size
    shape = (count, signature.frames, height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def make_samples(signature: Signature, frames: Path | None = None, count: int = PEOPLE_WINDOWS) -> Samples:
    """``count`` windows of people, drawn unless ``frames`` are given, and a few of random pixels."""
    people = draw_windows(signature, count) if frames is None else cut_windows(frames, signature, count)
    content = "drawn people" if frames is None else f"crops of {frames.name}"
    return Samples(
        np.concatenate([people, make_noise(signature)]), f"{len(people)} windows of {content}, {NOISE_WINDOWS} of noise"
    )


def read_frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Every picture of a video or folder that has the size of the first. Raises :class:`EngineError` if missing."""
    if not path.exists():
        raise EngineError(f"--frames {path}: there is no such video or folder")
    size: tuple[int, ...] | None = None
    for pixels in islice(_read_folder(path) if path.is_dir() else _read_video(path), _MAX_FRAMES):
        size = size or pixels.shape
        if pixels.shape == size:
            yield pixels


def _read_folder(folder: Path) -> Iterator[NDArray[np.uint8]]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _PICTURES:
            pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if pixels is not None:
                yield np.asarray(pixels, np.uint8)


def _read_video(path: Path) -> Iterator[NDArray[np.uint8]]:
    capture = cv2.VideoCapture(str(path))
    try:
        while True:
            is_read, pixels = capture.read()
            if not is_read:
                return
            yield np.asarray(pixels, np.uint8)
    finally:
        capture.release()
