"""How right and how fresh the demo's keypoints are, measured as they arrive."""

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

from engines.datasets.synthetic.scene import Scene
from engines.metrics import Pck, compute_matched_pck
from stream.cli.live_table import LiveTable
from stream.protocol.schema import PoseMessage
from stream.protocol.sequence import Statistics
from stream.runtime.meter import percentile

ALPHA = 0.2
"""A keypoint is right within this share of the longer side of the person's box, as in PCK of Penn Action."""

_RECENT = 300
_REFRESH_S = 0.1
_REPORT_S = 1.0
# Working out the truth again takes some ms of a core that the line needs too: five times a second is enough to see.
_JUDGE_S = 0.2


class Score:
    """Scores messages against the truth, which the seed and the frame's number give again, apart from the line."""

    def __init__(self, seed: int, people: int, width: int, height: int, fps: float) -> None:
        self.messages = 0
        self.table = LiveTable()
        self.all, self.recent = Pck(), deque[Pck](maxlen=10)
        self._scene = Scene(seed, people, width, height)
        self._fps = fps
        self._first_ns = self._last_ns = 0
        self._ages_ms: deque[float] = deque(maxlen=_RECENT)
        self._ids: set[int] = set()
        self._judge_at_s = 0.0

    def observe(self, message: PoseMessage) -> None:
        """Take one message into account; those a newcomer is given from the past are not."""
        if message.retained:
            return
        self.messages += 1
        self._first_ns = self._first_ns or message.received_ns
        self._last_ns = message.received_ns
        self._ages_ms.append(message.age_ms)
        self._ids |= {person.id for person in message.people}
        self.table.observe(message)
        if time.monotonic() >= self._judge_at_s:
            self._judge_at_s = time.monotonic() + _JUDGE_S
            self._count(self.judge(message))

    def judge(self, message: PoseMessage) -> Pck:
        """The share of right keypoints of one message; people it did not find count as wrong."""
        truth = self._scene.truth_at(message.frame_seq / self._fps)
        boxes = np.array([person.box for person in message.people], np.float32).reshape(-1, 4)
        keypoints = np.array([person.keypoints for person in message.people], np.float32)
        return compute_matched_pck(
            boxes, keypoints.reshape(-1, *truth.keypoints.shape[1:]), truth.boxes, truth.keypoints, ALPHA
        )

    def _count(self, judged: Pck) -> None:
        self.recent.append(judged)
        self.all += judged

    @property
    def fps(self) -> float:
        """Messages a second since the first."""
        span_ns = self._last_ns - self._first_ns
        return (self.messages - 1) * 1e9 / span_ns if span_ns else 0.0

    @property
    def age_p95_ms(self) -> float:
        """How old the frame was when its keypoints arrived: 19 of 20 were fresher."""
        return percentile(sorted(self._ages_ms), 95)

    def line(self) -> str:
        """How it is going, in one line."""
        recent = sum(self.recent, Pck())
        return (
            f"{self.messages} frames, {self.fps:.1f} fps, age p95 {self.age_p95_ms:.0f} ms, "
            f"PCK@{ALPHA:g} now {_percent(recent)}, in all {_percent(self.all)}"
        )

    def summary(self) -> str:
        """What came of it."""
        return (
            f"\n{self.messages} frames with keypoints, {self.fps:.1f} a second, ids seen: {len(self._ids)}, "
            f"age p95 {self.age_p95_ms:.0f} ms.\n"
            f"PCK@{ALPHA:g} {_percent(self.all)}: of {self.all.total} visible keypoints, {self.all.correct} lay "
            f"within {ALPHA:g} of the longer side of the person's box from the truth."
        )


@contextmanager
def showing(score: Score) -> Iterator[Callable[[], None]]:
    """Shows the score: a live table on a terminal, else a line a second. Gives what to call as often as one likes."""
    if not sys.stdout.isatty():
        yield _Every(_REPORT_S, lambda: print(score.line(), flush=True), skip=lambda: not score.messages)
        return
    with Live(auto_refresh=False) as live:
        yield _Every(_REFRESH_S, lambda: live.update(_picture(score), refresh=True))


class _Every:
    """Calls ``act`` no more often than every ``seconds``."""

    def __init__(self, seconds: float, act: Callable[[], None], skip: Callable[[], bool] = lambda: False) -> None:
        self._seconds, self._act, self._skip = seconds, act, skip
        self._at_s = 0.0

    def __call__(self) -> None:
        if time.monotonic() >= self._at_s and not self._skip():
            self._at_s = time.monotonic() + self._seconds
            self._act()


def _picture(score: Score) -> RenderableType:
    if not score.messages:
        return Text("the parts are starting …", "dim")
    head = Text(score.line() + "   (Ctrl-C ends it)", "bold")
    return Group(head, score.table.render("", Statistics(), time.time_ns()))


def _percent(counted: Pck) -> str:
    return f"{100 * float(counted):.1f} %" if counted.total else "–"
