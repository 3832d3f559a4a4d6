"""Annotations and results of PoseTrack side by side: files of the same name, frames of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engines.datasets.posetrack import read_annotations, read_predictions
from engines.datasets.posetrack_frames import Annotated, Predicted
from engines.errors import EngineError


def paired_frames(annotations: Path, results: Path) -> Iterator[tuple[Annotated, Predicted]]:
    """Every labelled frame with what was predicted for it; nobody where the results do not have the frame.

    Both are files, or both folders with files of the same names. Raises :class:`EngineError` naming what is missing.
    """
    for truth, found in _paired_files(annotations, results):
        predicted = {frame.file: frame.people for frame in read_predictions(found)}
        frames = read_annotations(truth)
        if frames and not predicted.keys() & {frame.file for frame in frames}:
            raise EngineError(
                f"{found}: none of its frames is in {truth} (it has {next(iter(predicted), 'none')!r}, wanted is "
                f"{frames[0].file!r}); they are not of one sequence"
            )
        yield from ((frame.people, predicted.get(frame.file, _nobody())) for frame in frames)


def _paired_files(annotations: Path, results: Path) -> list[tuple[Path, Path]]:
    if not annotations.is_dir():
        return [(annotations, results)]
    truths = sorted(annotations.glob("*.json"))
    if not truths:
        raise EngineError(f"{annotations}: it holds no .json files; give PoseTrack's annotations/val")
    missing = [truth.name for truth in truths if not (results / truth.name).is_file()]
    if missing:
        raise EngineError(f"{results}: {missing[0]} is missing ({len(missing)} of {len(truths)} sequences are)")
    return [(truth, results / truth.name) for truth in truths]


def _nobody() -> Predicted:
    return Predicted(np.zeros((0, 15, 2)), np.zeros((0, 15)))
