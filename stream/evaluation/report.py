"""The report of a live evaluation, as a table and as a map."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

READINGS = {
    "offline": "offline, nothing dropped",
    "answered": "live, answered frames only",
    "held": "live, dropped frames by the last answer",
    "streaming": "streaming, every frame by the last answer",
    "now": "streaming, by the forecasts of the last answer",
}
"""The readings, from the easiest to the hardest (:mod:`engines.evaluation.live`); the last one needs forecasts."""


@dataclass(frozen=True)
class Reading:
    """The ``scores`` in percent, over ``frames`` frames with ground truth."""

    frames: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Report:
    """The ``frames`` of the source within ``seconds`` at ``fps``, of which ``dropped`` have no answer; the ages of the
    others, from capture to arrival; and the ``readings`` by name, the last one only of a line with forecasts."""

    source: str
    model: str
    measure: str
    fps: float
    seconds: float
    frames: int
    dropped: int
    age_p50_ms: float
    age_p95_ms: float
    readings: Mapping[str, Reading]
    notes: tuple[str, ...] = ()

    def map(self) -> dict[str, Any]:
        """The report as a JSON-compatible map; NaN (nothing to score) becomes None."""
        return {
            "source": self.source,
            "model": self.model,
            "measure": self.measure,
            "fps": self.fps,
            "seconds": self.seconds,
            "frames": self.frames,
            "dropped": self.dropped,
            "age_ms": {"p50": self.age_p50_ms, "p95": self.age_p95_ms},
            "readings": {
                name: {"frames": one.frames, **{key: _nan_to_none(value) for key, value in one.scores.items()}}
                for name, one in self.readings.items()
            },
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        share = 100 * self.dropped / self.frames
        yield f"{self.seconds:.1f} s of {self.source} at {self.fps:g} fps, model {self.model or 'without a name'}"
        yield (
            f"{self.frames} frames, {self.dropped} dropped ({share:.1f} %); "
            f"age of keypoints p50 {self.age_p50_ms:.0f} ms, p95 {self.age_p95_ms:.0f} ms"
        )
        yield ""
        shown = {name: words for name, words in READINGS.items() if name in self.readings}
        width = max(map(len, shown.values()))
        columns = list(next(iter(self.readings.values())).scores)
        yield f"{self.measure + ', %':{width}}  {'frames':>6}  " + "  ".join(f"{name:>7}" for name in columns)
        for name, words in shown.items():
            one = self.readings[name]
            scores = "  ".join(f"{_format(value):>7}" for value in one.scores.values())
            yield f"{words:{width}}  {one.frames:>6}  {scores}"
        yield from (f"note: {note}" for note in self.notes)


def _format(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _nan_to_none(value: float) -> float | None:
    return None if math.isnan(value) else value
