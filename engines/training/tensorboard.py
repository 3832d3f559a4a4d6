"""Curves and previews for TensorBoard, if it is installed: ``tensorboard --logdir runs``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engines.errors import EngineError, install_hint
from engines.metrics import VISIBLE
from engines.skeletons import SKELETONS, Skeleton
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD
from engines.training.batches import Batch
from engines.training.gradients import PREFIX
from engines.training.objective import Objective
from engines.training.validation import predict

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Picture = NDArray[np.uint8]

FOLDER: Final = "tensorboard"
INSTALL: Final = install_hint("train")
_TAGS: Final = {"gradient_norm": "gradient norm", "rate": "learning rate", "samples_per_second": "samples per second"}

COLUMNS: Final = 4
_HEIGHT_PX: Final = 256
_BORDER_PX: Final = 4
_WHITE: Final = 255
# Sub-pixel drawing: OpenCV takes coordinates in sixteenths.
_SHIFT: Final = 4


def is_installed() -> bool:
    """Whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def open_board(folder: Path, step: int, wanted: bool | None) -> Board | None:
    """The board of a training that has finished ``step`` steps; None if it is not ``wanted``.

    With ``wanted`` None it is opened if TensorBoard is installed. Raises :class:`EngineError` if it is wanted and not
    installed.
    """
    if wanted and not is_installed():
        raise EngineError(f"--tensorboard: TensorBoard is not installed; {INSTALL}")
    return Board(folder / FOLDER, step) if wanted is not False and is_installed() else None


class Board:
    """A writer of curves and previews. Entries after ``step``, of an interrupted training, are purged."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: SummaryWriter = SummaryWriter(str(folder), purge_step=step + 1)

    def write_step(self, step: int, values: Mapping[str, float]) -> None:
        """Write loss terms, the norms of their gradients, learning rate, gradient norm and samples per second."""
        for name, value in values.items():
            tag = name if name.startswith(PREFIX) else _TAGS.get(name, f"loss/{name}")
            self._writer.add_scalar(tag, value, step)

    def write_metrics(self, step: int, mean: float, metric: str, values: Mapping[str, Any]) -> None:
        """Write a validation's mean, by which epochs are compared, and its other values."""
        self._writer.add_scalar(f"validation/{metric}", mean, step)
        for name, value in _flatten(values):
            self._writer.add_scalar(f"validation/{name}", value, step)

    def write_preview(self, step: int, pixels: Picture) -> None:
        """Write a preview (H, W, 3) BGR of predictions."""
        self._writer.add_image("predictions", np.ascontiguousarray(pixels[..., ::-1]), step, dataformats="HWC")
        self._writer.flush()  # once an epoch, so that TensorBoard shows the epoch at once

    def close(self) -> None:
        """Flush and close the files."""
        self._writer.close()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", float(value)


# -- previews ---------------------------------------------------------------------------------------------------------


def draw_preview(objective: Objective, batch: Batch, key: int, skeleton: str) -> Picture:
    """(H, W, 3) BGR: frame ``key`` of each window of ``batch`` twice, with the ground truth left, the prediction right.

    Only annotated joints are drawn, on both sides; hidden ones as rings.
    """
    keypoints, _ = predict(objective, batch.crops)
    truth = batch.joints.numpy()[:, None]
    predicted = np.concatenate([keypoints[:, None], truth[..., 2:]], axis=3)
    return _draw_pairs(batch.crops[:, key], list(truth), list(predicted), skeleton)


def draw_people(
    pictures: Tensor, truth: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]], skeleton: str
) -> Picture:
    """(H, W, 3) BGR: each of ``pictures`` (B, 3, h, w) twice, with the true people left and those found right.

    ``truth`` (n, K, 3) px and visibility, ``found`` (m, K, 2) px, for each picture.
    """
    visible = [np.pad(people, ((0, 0), (0, 0), (0, 1)), constant_values=VISIBLE) for people in found]
    return _draw_pairs(pictures, truth, visible, skeleton)


def _draw_pairs(
    pictures: Tensor, left: Sequence[NDArray[np.floating]], right: Sequence[NDArray[np.floating]], skeleton: str
) -> Picture:
    rows = zip(pictures.numpy(), left, right, strict=True)
    return _arrange([_draw_pair(planes, people, SKELETONS[skeleton]) for planes, *people in rows])


def _draw_pair(planes: NDArray[np.float32], people: Sequence[NDArray[np.floating]], skeleton: Skeleton) -> Picture:
    """A network's input (3, h, w) twice, each with its ``people`` (n, K, 3)."""
    pixels, zoom = _to_pixels(planes), _HEIGHT_PX / planes.shape[1]
    sides = []
    for side in people:
        drawn = pixels
        for joints in side:
            drawn = _draw_skeleton(drawn, joints, zoom, skeleton)
        sides.append(drawn)
    border = (_BORDER_PX, _BORDER_PX)
    return np.pad(np.hstack(sides), (border, border, (0, 0)), constant_values=_WHITE)


def _to_pixels(crop: NDArray[np.float32]) -> Picture:
    """A network's input (3, h, w) as a picture of _HEIGHT_PX rows."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = np.clip(crop * std + mean, 0, 255).round().astype(np.uint8)[::-1].transpose(1, 2, 0)
    size = (round(pixels.shape[1] * _HEIGHT_PX / pixels.shape[0]), _HEIGHT_PX)
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _draw_skeleton(pixels: Picture, joints: NDArray[np.floating], zoom: float, skeleton: Skeleton) -> Picture:
    picture = pixels.copy()
    # Index coordinates: scaling keeps the centre of a pixel in its centre.
    scaled = np.rint((joints[:, :2] * zoom + (zoom - 1) / 2) * 2**_SHIFT).astype(int)
    points = [(int(x), int(y)) for x, y in scaled]
    for start, end in skeleton.limbs:
        if joints[start, 2] and joints[end, 2]:
            cv2.line(picture, points[start], points[end], skeleton.colours[end], 2, cv2.LINE_AA, _SHIFT)
    for point, colour, visibility in zip(points, skeleton.colours, joints[:, 2], strict=True):
        if visibility:
            thickness = -1 if visibility == VISIBLE else 1
            cv2.circle(picture, point, 4 << _SHIFT, colour, thickness, cv2.LINE_AA, _SHIFT)
    return picture


def _arrange(tiles: Sequence[Picture]) -> Picture:
    width = min(COLUMNS, len(tiles))
    filled = [*tiles, *[np.full_like(tiles[0], _WHITE)] * (-len(tiles) % width)]
    return np.vstack([np.hstack(filled[i : i + width]) for i in range(0, len(filled), width)])
