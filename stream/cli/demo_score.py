"""The score of the demo's keypoints: how many are correct, and how old they are when they arrive."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from engines.datasets.synthetic.scene import Picture, Scene
from engines.metrics import Pck, compute_matched_pck
from stream import wording
from stream.cli.live_table import LiveTable
from stream.protocol.hindsight import Hindsight
from stream.protocol.pose_message import PoseMessage
from stream.protocol.sequence import Statistics
from stream.runtime.meter import percentile

ALPHA = 0.2
"""A keypoint is correct within this fraction of the longer side of the person's box, as in PCK of Penn Action."""

_RECENT = 300
_REFRESH_S = 0.1
_REPORT_S = 1.0
_SCORE_S = 0.2
"""Computing the truth takes some milliseconds of a core that the line needs too: five times a second is enough."""


class Score:
    """Scores messages against the truth, which follows from the seed and the frame's number."""

    def __init__(self, seed: int, people: int, width: int, height: int, fps: float) -> None:
        self.messages = 0
        self.table = LiveTable()
        self.all, self.recent = Pck(), deque[Pck](maxlen=10)
        self.streaming = Pck()
        self._hindsight = Hindsight()
        self._scene = Scene(seed, people, width, height)
        self._fps = fps
        self._first_ns = self._last_ns = 0
        self._ages_ms: deque[float] = deque(maxlen=_RECENT)
        self._ids: set[int] = set()
        self._score_at_s = 0.0

    def observe(self, message: PoseMessage) -> None:
        """Count a message, unless it is an old one that the publisher sends to new subscribers."""
        if message.retained:
            return
        self.messages += 1
        self._first_ns = self._first_ns or message.received_ns
        self._last_ns = message.received_ns
        self._ages_ms.append(message.age_ms)
        self._ids |= {person.id for person in message.people}
        self.table.observe(message)
        expected = self._hindsight.observe(message)
        if time.monotonic() >= self._score_at_s:
            self._score_at_s = time.monotonic() + _SCORE_S
            truth = self._scene.truth_at(message.frame_seq / self._fps)
            self._add(self.score(message, truth))
            if expected is not None:
                self.streaming += self.score(expected, truth)

    def score(self, message: PoseMessage, truth: Picture | None = None) -> Pck:
        """The correct keypoints of one message, against the truth of its own frame or another one; people who were not
        found count as wrong."""
        truth = truth or self._scene.truth_at(message.frame_seq / self._fps)
        boxes = np.array([person.box for person in message.people], np.float32).reshape(-1, 4)
        keypoints = np.array([person.keypoints for person in message.people], np.float32)
        return compute_matched_pck(
            boxes, keypoints.reshape(-1, *truth.keypoints.shape[1:]), truth.boxes, truth.keypoints, ALPHA
        )

    def _add(self, pck: Pck) -> None:
        self.recent.append(pck)
        self.all += pck

    @property
    def fps(self) -> float:
        """Messages a second since the first."""
        span_ns = self._last_ns - self._first_ns
        return (self.messages - 1) * 1e9 / span_ns if span_ns else 0.0

    @property
    def age_p95_ms(self) -> float:
        """The 95th percentile of the age of a frame when its keypoints arrive, in milliseconds."""
        return percentile(sorted(self._ages_ms), 95)

    def format_line(self) -> str:
        """The score so far, on one line."""
        recent = sum(self.recent, Pck())
        return (
            f"{wording.count(self.messages, 'frame')}, {self.fps:.1f} fps, age p95 {self.age_p95_ms:.0f} ms, "
            f"PCK@{ALPHA:g} now {_percent(recent)}, overall {_percent(self.all)}, streaming {_percent(self.streaming)}"
        )

    def summary(self) -> str:
        """The score of the whole run, in sentences."""
        return (
            f"\n{self.messages} frames with keypoints, {self.fps:.1f} per second, {len(self._ids)} ids, "
            f"age p95 {self.age_p95_ms:.0f} ms.\n"
            f"PCK@{ALPHA:g} {_percent(self.all)}: of {self.all.total} visible keypoints, {self.all.correct} lie "
            f"within {ALPHA:g} of the longer side of the person's box from the truth.\n"
            f"Streaming PCK@{ALPHA:g} {_percent(self.streaming)}: the same for what was known at the capture of each "
            "frame, by the forecasts of the newest message."
        )


@contextmanager
def show(score: Score) -> Iterator[Callable[[], None]]:
    """Show the score: a live table on a terminal, else a line a second. Yields a function that refreshes it."""
    if not sys.stdout.isatty():
        yield _RateLimited(_REPORT_S, lambda: print(score.format_line(), flush=True), skip=lambda: not score.messages)
        return
    with Live(auto_refresh=False) as live:
        yield _RateLimited(_REFRESH_S, lambda: live.update(_render(score), refresh=True))


class _RateLimited:
    """Calls ``act`` at most once in ``seconds``, unless ``skip()`` is true."""

    def __init__(self, seconds: float, act: Callable[[], None], skip: Callable[[], bool] = lambda: False) -> None:
        self._seconds, self._act, self._skip = seconds, act, skip
        self._at_s = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._at_s and not self._skip():
            self._at_s = time.monotonic() + self._seconds
            self._act()


def _render(score: Score) -> RenderableType:
    if not score.messages:
        return Text("the parts are starting …", "dim")
    return Group(
        Text(score.format_line(), "bold"),
        Text("Ctrl-C ends it.", "dim"),
        score.table.render("", Statistics(), time.time_ns()),
    )


def _percent(pck: Pck) -> str:
    return f"{100 * float(pck):.1f} %" if pck.total else "–"
