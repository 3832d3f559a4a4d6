"""What ``posestream subscribe`` shows: a live table on a terminal, elsewhere one line for each message."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from stream import wording
from stream.protocol.hindsight import Hindsight, measure_error
from stream.protocol.pose_message import Person, PoseMessage
from stream.protocol.sequence import Counts, Statistics

_FPS_OVER_NS = 2_000_000_000
_STALE_NS = 2_000_000_000
_MAX_CAMERAS = 1000
_ERROR_WEIGHT = 0.1


class LiveTable:
    """The newest message of each camera: its rate and its age, and the people in it.

    One thread may observe while another renders: it renders copies.
    """

    def __init__(self) -> None:
        self._newest: dict[str, PoseMessage] = {}
        self._arrivals: dict[str, deque[int]] = {}
        self._hindsight = Hindsight()
        self._errors_px: dict[str, float] = {}

    def observe(self, message: PoseMessage) -> None:
        """Show this message instead of the last one of its camera; of too many cameras, the newest."""
        if message.camera not in self._newest and len(self._newest) >= _MAX_CAMERAS:
            oldest = min(self._newest, key=lambda camera: self._newest[camera].received_ns)
            del self._newest[oldest], self._arrivals[oldest]
            self._errors_px.pop(oldest, None)
        self._newest[message.camera] = message
        error_px = streaming_error(self._hindsight, message)
        if error_px is not None:
            last_px = self._errors_px.get(message.camera, error_px)
            self._errors_px[message.camera] = last_px + _ERROR_WEIGHT * (error_px - last_px)
        arrivals = self._arrivals.setdefault(message.camera, deque())
        arrivals.append(message.received_ns)
        while arrivals[-1] - arrivals[0] > _FPS_OVER_NS:
            arrivals.popleft()

    def fps(self, camera: str) -> float:
        """Messages a second over the last two seconds."""
        arrivals = self._arrivals.get(camera, deque()).copy()
        span_ns = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else 0
        return (len(arrivals) - 1) * 1e9 / span_ns if span_ns else 0.0

    def render(self, title: str, statistics: Statistics, now_ns: int) -> Table:
        """The table as of ``now_ns``."""
        caption = _totals(statistics) if statistics.total.messages else None
        table = Table(
            title=title or None,
            title_justify="left",
            caption=caption,
            caption_justify="left",
            box=None,
            collapse_padding=True,
            pad_edge=False,
        )
        for heading in ("camera", "frame", "fps", "age ms", "px off", "lost", "id", "score", "joints", "box px"):
            table.add_column(heading, justify="left" if heading in ("camera", "box px") else "right")
        for camera, message in sorted(self._newest.copy().items()):
            head = self._head(message, statistics.cameras.get(camera, Counts()), now_ns)
            for row in _rows(head, message.people):
                table.add_row(*row)
        return table

    def _head(self, message: PoseMessage, counts: Counts, now_ns: int) -> list[Text]:
        """The cells that stand once for each camera."""
        is_stale = now_ns - message.received_ns > _STALE_NS
        fps = "–" if is_stale else f"{self.fps(message.camera):.1f}"
        error_px = self._errors_px.get(message.camera)
        age_ms = (now_ns - message.wall_ns) / 1e6 if is_stale else message.age_ms
        return [
            Text(message.camera, "bold"),
            Text(str(message.frame_seq)),
            Text(fps),
            Text(f"{age_ms:.0f}", "red" if is_stale else ""),
            Text(f"{error_px:.1f}" if error_px is not None and not is_stale else "–"),
            Text(str(counts.lost), "yellow" if counts.lost else ""),
        ]


def streaming_error(hindsight: Hindsight, message: PoseMessage) -> float | None:
    """How far a reader's people were off at the moment of this frame, px: the streaming error against what was seen."""
    expected = hindsight.observe(message)
    return None if expected is None else measure_error(expected, message)


def format_line(message: PoseMessage, error_px: float | None = None) -> str:
    """What a message holds, on one line: ``hall 12: 1 person, 3.2 ms old, 1.5 px off; #4 0.93 keypoints 0.81``."""
    head = f"{message.camera} {message.frame_seq}: {wording.count(len(message.people), 'person', 'people')}"
    people = (f"#{person.id} {person.score:.2f} keypoints {mean_score(person):.2f}" for person in message.people)
    off = "" if error_px is None else f", {error_px:.1f} px off"
    return "; ".join([f"{head}, {message.age_ms:.1f} ms old{off}", *people])


def mean_score(person: Person) -> float:
    """The mean score of a person's keypoints; 0 when there are none."""
    return float(person.keypoints[:, 2].mean()) if len(person.keypoints) else 0.0


def _rows(head: list[Text], people: Iterable[Person]) -> Iterable[list[Text]]:
    blank = [Text()] * len(head)
    cells = [_cells(person) for person in people] or [[Text("–"), Text(), Text(), Text()]]
    return [(blank if index else head) + row for index, row in enumerate(cells)]


def _cells(person: Person) -> list[Text]:
    x1, y1, x2, y2 = person.box
    return [
        Text(str(person.id)),
        Text(f"{person.score:.2f}"),
        Text(f"{mean_score(person):.2f}"),
        Text(f"{x1:.0f},{y1:.0f} – {x2:.0f},{y2:.0f}"),
    ]


def _totals(statistics: Statistics) -> str:
    total = statistics.total
    parts = [f"{total.messages} messages", f"{total.lost} lost in {total.gaps} gaps"]
    parts += [f"{statistics.malformed} malformed"] if statistics.malformed else []
    parts += [f"publisher restarts: {statistics.sessions - 1}"] if statistics.sessions > 1 else []
    return ", ".join(parts)
