"""Live evaluation from beginning to end: run live, run at leisure, join, read in four ways, score."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.evaluation.live import Answer, answered, held, moments, streaming
from engines.skeletons import SKELETONS
from stream.errors import EngineError, SourceError
from stream.evaluation.alignment import Joined, join
from stream.evaluation.ground_truth import judge_of
from stream.evaluation.line_variants import DRAWN, STREAM, Asked, live_line, offline_line
from stream.evaluation.report import Reading, Report
from stream.evaluation.runs import Hear, Span, Written, listen, write_down
from stream.evaluation.scorers import Judge, Pair
from stream.output.results import Record
from stream.protocol.schema import PoseMessage
from stream.registry import label
from stream.runtime.meter import percentile

Answers = Sequence[Answer[Record]]

_PACE = 0.95
"""A source that runs slower than this share of its own clock did not keep its pace."""


def _to_stderr(part: str, line: str) -> None:
    print(f"{part}: {line}", file=sys.stderr)


@dataclass(frozen=True)
class Evaluation:
    """How to evaluate: where to publish, which ``span`` to judge, how long a turn of a looped clip lasts where the
    clip's own length is not it, who hears what parts say on stderr, and who is told how far it is."""

    address: str
    span: Span = field(default_factory=Span)
    turn_s: float | None = None
    hear: Hear = _to_stderr
    tell: Callable[[str], None] = lambda _: None

    def of(self, asked: Asked) -> Report:
        """Both runs of a line and what came of them.

        Raises :class:`PosestreamError` or :class:`EngineError` for a line that cannot be run or joined, and for a truth
        that is none or is about something else.
        """
        judge = judge_of(asked)
        live = live_line(asked, self.address)
        live.negotiate()
        self.tell(f"live run, {self.span.warmup_s + self.span.seconds:g} s from its first answer on …")
        messages = listen(live, self.address, self.span, self.hear)
        _check(messages)
        last = max(message.frame_seq for message in messages)
        self.tell("offline run of the same frames, nothing dropped …")
        joined = join(asked, messages, self._offline(asked, last), self.turn_s)
        self.tell("scoring …")
        return report_of(asked, joined, judge, self.span, messages[-1].model)

    def _offline(self, asked: Asked, last: int) -> list[Written]:
        with tempfile.TemporaryDirectory(prefix="posestream-eval-") as folder:
            results = Path(folder) / "offline.jsonl"
            return write_down(offline_line(asked, results, last), results, self.hear)


def _check(messages: Sequence[PoseMessage]) -> None:
    if not messages:
        raise SourceError("the live run ended before any keypoints came; give it more frames, as in num_frames=300")
    if (name := messages[0].skeleton) not in SKELETONS:
        known = ", ".join(SKELETONS)
        raise EngineError(
            f"the line's keypoints are of skeleton {name!r}, which no measure knows; use a model of one of: {known}"
        )


def report_of(asked: Asked, joined: Joined, judge: Judge, span: Span, model: str) -> Report:
    """The four readings of two runs that are joined, and their scores. Raises :class:`SourceError` where nothing is
    left to judge."""
    frames = frames_judged(joined, span)
    times_ns = [joined.loop.time_ns(frame) for frame in frames]
    own = answered(frames, joined.answers)
    ages_ms = sorted(answer.age_ms for answer in own if answer)
    if not ages_ms:
        raise SourceError(
            f"the live run answered no frame after its first {span.warmup_s:g} s; let it run longer (num_frames=, "
            "--seconds), or leave out less (--warmup-s)"
        )
    _check_known(judge, [joined.loop.number(frame) for frame in frames], asked)
    moments_ns = moments(times_ns, frames, joined.answers)
    readings = {
        "offline": [joined.offline.get(joined.loop.number(frame)) for frame in frames],
        "answered": _contents(own),
        "held": _contents(held(frames, moments_ns, joined.answers)),
        "streaming": _contents(streaming(moments_ns, joined.answers)),
    }
    only = {frame for frame, answer in zip(frames, own, strict=True) if answer}
    scored = {
        name: _reading(judge, joined, frames, records, only if name == "answered" else None)
        for name, records in readings.items()
    }
    return Report(
        source=label(asked.source),
        model=model,
        measure=judge.measure,
        fps=1e9 / joined.loop.step_ns,
        seconds=len(frames) * joined.loop.step_ns / 1e9,
        frames=len(frames),
        dropped=len(frames) - len(ages_ms),
        age_p50_ms=percentile(ages_ms, 50),
        age_p95_ms=percentile(ages_ms, 95),
        readings=scored,
        notes=tuple(_notes(asked, joined, times_ns, moments_ns)),
    )


def frames_judged(joined: Joined, span: Span) -> list[int]:
    """The frames within the span, up to the last that was answered: nobody knows which the source gave after it."""
    first, last = (pick(answer.frame for answer in joined.answers) for pick in (min, max))
    begin_ns = joined.loop.time_ns(first)
    return [frame for frame in range(first, last + 1) if span.within(begin_ns, joined.loop.time_ns(frame))]


def _contents(answers: Sequence[Answer[Record] | None]) -> list[Record | None]:
    return [answer.content if answer else None for answer in answers]


def _reading(
    judge: Judge, joined: Joined, frames: Sequence[int], records: Sequence[Record | None], only: set[int] | None
) -> Reading:
    """The score over the frames that the truth knows; of those in ``only`` where it is given."""
    pairs: list[Pair] = [
        (number, record)
        for frame, record in zip(frames, records, strict=True)
        if judge.knows(number := joined.loop.number(frame)) and (only is None or frame in only)
    ]
    return Reading(len(pairs), judge.score(pairs))


def _check_known(judge: Judge, numbers: Sequence[int], asked: Asked) -> None:
    if not any(map(judge.knows, numbers)):
        raise SourceError(
            f"{asked.truth} says nothing about any of the frames {min(numbers)} to {max(numbers)}, which the live run "
            "showed; is it about this clip, its frames numbered from 0?"
        )


def _notes(asked: Asked, joined: Joined, times_ns: Sequence[int], moments_ns: Sequence[int]) -> list[str]:
    """What whoever reads the figures should know besides."""
    notes = []
    pace = (times_ns[-1] - times_ns[0]) / max(moments_ns[-1] - moments_ns[0], 1)
    if asked.kind != STREAM and len(times_ns) > 1 and pace < _PACE:
        does = "draw" if asked.kind == DRAWN else "read"
        notes.append(
            f"{label(asked.source)} ran at {100 * pace:.0f} % of its pace: this machine cannot {does} its frames in "
            "time beside the line, so the line had it easier than it should"
        )
    if joined.begin is not None:
        notes.append(
            f"the stream began at frame {joined.begin.first} of the clip: live and offline keypoints then lie "
            f"{100 * joined.begin.disagree:.3f} % of a person's size apart, {100 * joined.begin.otherwise:.2f} % at "
            "the next best"
        )
    return notes
