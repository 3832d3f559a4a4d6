"""Curves and pictures for TensorBoard, where it is installed: ``tensorboard --logdir runs``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER: Final = "tensorboard"
HOW: Final = "pip install 'posestream[train]'"
_NOT_LOSSES: Final = {"gradient_norm": "gradient norm", "rate": "learning rate", "samples_a_second": "samples a second"}


def is_installed() -> bool:
    """Whether there is a TensorBoard to write for."""
    return importlib.util.find_spec("tensorboard") is not None


def board_of(folder: Path, step: int, wanted: bool | None) -> Board | None:
    """The board of a training that stands after ``step``. None where it is not wanted, or not said and not installed.

    Raises :class:`EngineError` where it is wanted and not installed.
    """
    if wanted and not is_installed():
        raise EngineError(f"--tensorboard: TensorBoard is not installed; {HOW}")
    return Board(folder / FOLDER, step) if wanted is not False and is_installed() else None


class Board:
    """What a training tells, by step. What was told of steps after ``step``, and lost with them, is taken back."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: SummaryWriter = SummaryWriter(str(folder), purge_step=step + 1)

    def step(self, step: int, terms: Mapping[str, float]) -> None:
        """Loss terms, the learning rate, the gradient's norm, samples a second."""
        for name, value in terms.items():
            self._writer.add_scalar(_NOT_LOSSES.get(name, f"loss/{name}"), value, step)

    def marks(self, step: int, mean: float, measure: str, row: Mapping[str, Any]) -> None:
        """What an exam gave: the mean by which trainings are compared, and every number of its row."""
        self._writer.add_scalar(f"exam/{measure}", mean, step)
        for name, value in _flat(row):
            self._writer.add_scalar(f"exam/{name}", value, step)

    def picture(self, step: int, pixels: NDArray[np.uint8]) -> None:
        """A sheet (H, W, 3) BGR of predictions."""
        self._writer.add_image("predictions", np.ascontiguousarray(pixels[..., ::-1]), step, dataformats="HWC")
        # An epoch is a good place for whoever looks on.
        self._writer.flush()

    def close(self) -> None:
        """Write what is still to be written."""
        self._writer.close()


def _flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", float(value)
