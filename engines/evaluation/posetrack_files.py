"""Pairs of PoseTrack annotations and results: files of the same name, frames of the same name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engines.datasets.posetrack import read_annotations, read_predictions
from engines.datasets.posetrack_frames import Annotated, Predicted
from engines.errors import EngineError


def pair_frames(annotations: Path, results: Path) -> Iterator[tuple[Annotated, Predicted]]:
    """Every labelled frame with its predictions, which are empty if the results do not have the frame.

    Both are files, or both folders with files of the same names. Raises :class:`EngineError` naming what is missing.
    """
    for truth, result in _pair_files(annotations, results):
        found = read_predictions(result)
        predicted = {frame.file: frame.people for frame in found}
        if len(predicted) < len(found):
            twice = next(name for name, count in Counter(frame.file for frame in found).items() if count > 1)
            raise EngineError(f"{result}: frame {twice!r} is in it more than once; give each frame once")
        frames = read_annotations(truth)
        if frames and not predicted.keys() & {frame.file for frame in frames}:
            raise EngineError(
                f"{result}: none of its frames is in {truth} (it has {next(iter(predicted), 'none')!r}, expected is "
                f"{frames[0].file!r}); give the results of this sequence"
            )
        yield from ((frame.people, predicted.get(frame.file, _no_people())) for frame in frames)


def _pair_files(annotations: Path, results: Path) -> list[tuple[Path, Path]]:
    if not annotations.is_dir():
        return [(annotations, results)]
    truths = sorted(annotations.glob("*.json"))
    if not truths:
        raise EngineError(f"{annotations}: there is no .json file in it; give PoseTrack's annotations/val")
    missing = [truth.name for truth in truths if not (results / truth.name).is_file()]
    if missing:
        raise EngineError(f"{results}: {missing[0]} is missing ({len(missing)} of {len(truths)} sequences are)")
    return [(truth, results / truth.name) for truth in truths]


def _no_people() -> Predicted:
    return Predicted(np.zeros((0, 15, 2)), np.zeros((0, 15)))
