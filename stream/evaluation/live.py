"""The whole live evaluation: run live, run offline, align, select frames in four ways, score."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.evaluation.live import Answer, capture_times, held_answers, own_answers, streaming_answers
from engines.skeletons import SKELETONS
from stream.errors import EngineError, SourceError
from stream.evaluation.alignment import Alignment, align
from stream.evaluation.ground_truth import find_start, load_judge, read_sizes
from stream.evaluation.line_variants import DRAWN, STREAM, Request, live_line, offline_line
from stream.evaluation.report import Reading, Report
from stream.evaluation.runs import OfflineRecord, OnStderr, Span, run_live, run_offline, to_record
from stream.evaluation.scorers import Judge, Pair
from stream.output.results import Record
from stream.protocol.pose_message import PoseMessage
from stream.registry import label
from stream.runtime.meter import percentile

Answers = Sequence[Answer[Record]]

_SHIFTED = 5.0
"""By how much the AP of late answers must exceed that of offline ones, in percent, to be no chance."""

_MIN_PACE = 0.95
"""Below this ratio to its own clock, the report notes that the source was too slow."""


def _to_stderr(part: str, line: str) -> None:
    print(f"{part}: {line}", file=sys.stderr)


@dataclass(frozen=True)
class Evaluation:
    """Settings of an evaluation: the ``address`` to publish at, the ``span`` to score, and the duration ``turn_s`` of a
    looped clip, if it is not the clip's own. ``on_stderr(part, line)`` receives the stderr of the parts, ``progress``
    one line per step."""

    address: str
    span: Span = field(default_factory=Span)
    turn_s: float | None = None
    on_stderr: OnStderr = _to_stderr
    progress: Callable[[str], None] = lambda _: None

    def run(self, request: Request) -> Report:
        """Run a line live and offline, and score both.

        Raises :class:`PosestreamError` for a line that cannot be run or aligned, and for a ground truth that is invalid
        or does not fit it.
        """
        judge = load_judge(request)
        live = live_line(request, self.address)
        live.negotiate()
        self.progress(f"live run, {self.span.warmup_s + self.span.seconds:g} s from its first answer …")
        messages = run_live(live, self.address, self.span, self.on_stderr)
        _check(messages)
        last = max(message.frame_seq for message in messages)
        self.progress("offline run of the same frames, nothing dropped …")
        alignment = align(request, messages, self._offline(request, last), self.turn_s)
        self.progress("scoring …")
        return make_report(request, alignment, judge, self.span, messages[-1].model)

    def _offline(self, request: Request, last: int) -> list[OfflineRecord]:
        with tempfile.TemporaryDirectory(prefix="posestream-eval-") as folder:
            results = Path(folder) / "offline.jsonl"
            return run_offline(offline_line(request, results, last), results, self.on_stderr)


def _check(messages: Sequence[PoseMessage]) -> None:
    if not messages:
        raise SourceError("the live run ended before any keypoints came; give it more frames, e.g. num_frames=300")
    if (name := messages[0].skeleton) not in SKELETONS:
        known = ", ".join(SKELETONS)
        raise EngineError(
            f"the line's keypoints are of skeleton {name!r}, which no metric supports; use a model of one of: {known}"
        )


def make_report(request: Request, alignment: Alignment, judge: Judge, span: Span, model: str) -> Report:
    """Score two aligned runs in four ways. Raises :class:`SourceError` if no frame is left to score."""
    frames = select_frames(alignment, span)
    times_ns = [alignment.loop.time_ns(frame) for frame in frames]
    own = own_answers(frames, alignment.answers)
    ages_ms = sorted(answer.age_ms for answer in own if answer)
    if not ages_ms:
        raise SourceError(
            f"the live run answered no frame after its first {span.warmup_s:g} s; run it longer (num_frames=, "
            "--seconds), or reduce --warmup-s"
        )
    _check_known(judge, [alignment.loop.number(frame) for frame in frames], request)
    _check_sizes(request, alignment.offline)
    moments_ns = capture_times(times_ns, frames, alignment.answers)
    readings = {
        "offline": [alignment.offline.get(alignment.loop.number(frame)) for frame in frames],
        "answered": _contents(own),
        "held": _contents(held_answers(frames, moments_ns, alignment.answers)),
        "streaming": _contents(streaming_answers(moments_ns, alignment.answers)),
    }
    if any(message.predicted_for_ns is not None for message in alignment.messages.values()):
        readings["now"] = _read_now(alignment, moments_ns)
    only = {frame for frame, answer in zip(frames, own, strict=True) if answer}
    scored = {
        name: _score(judge, alignment, frames, records, only if name == "answered" else None)
        for name, records in readings.items()
    }
    return Report(
        source=label(request.source),
        model=model,
        measure=judge.measure,
        fps=1e9 / alignment.loop.step_ns,
        seconds=len(frames) * alignment.loop.step_ns / 1e9,
        frames=len(frames),
        dropped=len(frames) - len(ages_ms),
        age_p50_ms=percentile(ages_ms, 50),
        age_p95_ms=percentile(ages_ms, 95),
        readings=scored,
        notes=(*_note_numbers(request, scored), *_notes(request, alignment, times_ns, moments_ns)),
    )


def select_frames(alignment: Alignment, span: Span) -> list[int]:
    """The frames within the span, up to the last answered one: the frames after it are unknown."""
    first, last = (pick(answer.frame for answer in alignment.answers) for pick in (min, max))
    begin_ns = alignment.loop.time_ns(first)
    return [frame for frame in range(first, last + 1) if span.within(begin_ns, alignment.loop.time_ns(frame))]


def _contents(answers: Sequence[Answer[Record] | None]) -> list[Record | None]:
    return [answer.content if answer else None for answer in answers]


def _read_now(alignment: Alignment, moments_ns: Sequence[int]) -> list[Record | None]:
    """At each moment, the people of the newest answer where its forecasts say that they are then."""
    newest = streaming_answers(moments_ns, alignment.answers)
    return [
        to_record(alignment.messages[answer.frame].at(moment_ns)) if answer else None
        for moment_ns, answer in zip(moments_ns, newest, strict=True)
    ]


def _score(
    judge: Judge, alignment: Alignment, frames: Sequence[int], records: Sequence[Record | None], only: set[int] | None
) -> Reading:
    """Score the frames with ground truth; only those in ``only`` if it is given."""
    pairs: list[Pair] = [
        (number, record)
        for frame, record in zip(frames, records, strict=True)
        if judge.has_truth(number := alignment.loop.number(frame)) and (only is None or frame in only)
    ]
    return Reading(len(pairs), judge.score(pairs))


def _check_known(judge: Judge, numbers: Sequence[int], request: Request) -> None:
    if not any(map(judge.has_truth, numbers)):
        raise SourceError(
            f"{request.truth} annotates none of the frames {min(numbers)} to {max(numbers)} of the live run; check "
            "that it belongs to this clip and numbers frames from 0"
        )


def _check_sizes(request: Request, records: Mapping[int, Record]) -> None:
    """Raise :class:`SourceError` if the annotations are of pictures of another size than the frames."""
    sizes = read_sizes(request.truth, find_start(request)) if request.truth else {}
    for number, record in records.items():
        if sizes.get(number, record.size) != record.size:
            theirs, ours = ("x".join(map(str, size)) for size in (sizes[number], record.size))
            raise SourceError(
                f"{request.truth} annotates pictures of {theirs}, and frame {number} of {label(request.source)} is "
                f"{ours}; give the annotations of this clip, or the clip in its first size"
            )


def _note_numbers(request: Request, readings: Mapping[str, Reading]) -> Iterator[str]:
    """Keypoints that are truer of the next frame than of their own have annotations with other numbers."""
    offline, streaming = (readings[name].scores["AP"] for name in ("offline", "streaming"))
    if request.truth and streaming > offline + _SHIFTED:
        yield (
            f"keypoints are nearer to the truth of the frame after theirs (AP {streaming:.1f}) than to their own "
            f"({offline:.1f}): {request.truth} seems to number frames from 1, and must number them from 0"
        )


def _notes(request: Request, alignment: Alignment, times_ns: Sequence[int], moments_ns: Sequence[int]) -> list[str]:
    """Notes on the validity of the figures."""
    notes = []
    pace = (times_ns[-1] - times_ns[0]) / max(moments_ns[-1] - moments_ns[0], 1)
    if request.kind != STREAM and len(times_ns) > 1 and pace < _MIN_PACE:
        does = "render" if request.kind == DRAWN else "read"
        notes.append(
            f"{label(request.source)} ran at {100 * pace:.0f} % of its pace: this machine cannot {does} its frames in "
            "real time beside the line, so the live figures are too good"
        )
    if (begin := alignment.begin) is not None:
        notes.append(
            f"the stream began at frame {begin.first} of the clip: there, live and offline keypoints differ by "
            f"{100 * begin.difference:.3f} % of a person's size, and by "
            f"{100 * begin.next_difference:.2f} % at the next best"
        )
    return notes
