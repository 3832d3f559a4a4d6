"""Scores on synthetic people: what of a window the network is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.evaluation.synthetic import evaluate_synthetic
from engines.inference.engine import Engine, PersonWindows
from engines.spec.signature import Signature


class Recorder:
    """An engine of two past and two future frames that notes which frames it is shown, and finds joints at 0, 0."""

    signature = Signature(name="recorder", input_size=(96, 128), past=2, future=2)

    def __init__(self) -> None:
        self.shown: list[list[int]] = []

    def estimate(self, windows: Sequence[PersonWindows]) -> list[NDArray[np.float32]]:
        for window in windows:
            self.shown.append([number for _, number in window.keys])
            pictures = {number: id(frame) for (_, number), frame in zip(window.keys, window.frames, strict=True)}
            assert len(set(pictures.values())) == len(pictures)  # each number is a picture of its own
        return [np.zeros((len(window), 17, 3), np.float32) for window in windows]


@pytest.mark.parametrize(
    ("lookahead", "shown"), [(None, [0, 1, 2, 3, 4]), (2, [0, 1, 2, 3, 4]), (1, [0, 1, 2, 3, 3]), (0, [0, 1, 2, 2, 2])]
)
def test_frames_beyond_the_lookahead_are_the_newest_before(
    monkeypatch: pytest.MonkeyPatch, lookahead: int | None, shown: list[int]
) -> None:
    monkeypatch.setattr("engines.evaluation.synthetic.CONDITIONS", ["easy"])
    engine: Any = Recorder()
    scores = evaluate_synthetic(cast(Engine, engine), scenes=1, lookahead=lookahead)
    assert engine.shown
    assert all(numbers == shown for numbers in engine.shown)
    assert scores.people > 0
    assert scores.pck("easy", 0.1) == 0
