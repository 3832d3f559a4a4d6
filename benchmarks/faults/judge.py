"""Judges a trial by what its sinks hold, by its exit status and by what it left behind."""

from __future__ import annotations

import re
import signal
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.faults.drawing import Scenario
from benchmarks.faults.held import Content, Held

_COUNTS = re.compile(r"(\d+) (?:frames?|items?) of camera '(\w+)'")
_FIRST = re.compile(r"frame \d+ of camera '(\w+)' was dropped")
"""What a part says at its first loss; the supervisor adds the counts at its end, unless it is killed."""
_ENDINGS = {128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
_MOST_RESTARTS = 5
_MOST_FUTURE = 2
"""The most frames after its own that a window of a drawn line looks at."""


@dataclass
class Outcome:
    """How a trial ended. ``code`` is None when it had to be ended. ``must_survive`` when none of its faults excuses a
    loss; ``ended`` counts how often the faults ended the process of each part."""

    code: int | None
    stderr: str
    held: list[Held]
    left: list[str]
    must_survive: bool
    was_ended: bool
    is_supervisor_killed: bool
    ended: dict[str, int] = field(default_factory=dict)


def judge(scenario: Scenario, outcome: Outcome, reference: Content) -> list[str]:
    """What is wrong, one text each; nothing when the trial went as it should."""
    found = []
    if outcome.code is None:
        found.append("hang: it did not end")
    found += [f"left behind: {what}" for what in outcome.left]
    found += _judge_stderr(outcome)
    is_lossy = bool(_COUNTS.search(outcome.stderr) or _FIRST.search(outcome.stderr))
    has_gaps = scenario.is_live or (outcome.code != 0 and is_lossy)
    for held in outcome.held:
        name = f"{held.sink.kind} sink"
        found += [f"{name}: {fault}" for fault in held.faults]
        found += [f"{name}: {fault}" for fault in _judge_order(held)]
        found += [f"{name}: {fault}" for fault in _judge_content(held, reference, outcome, without_history=has_gaps)]
        if held.is_torn and not outcome.is_supervisor_killed and outcome.code == 0:
            found.append(f"{name}: its end is torn, and the exit status is 0")
    if not scenario.is_live:
        found += _judge_losses(scenario, outcome, reference)
    return found


def _judge_stderr(outcome: Outcome) -> list[str]:
    found = []
    # Where memory runs out while modules are imported, Python itself prints one, and another from its own start.
    tracebacks = outcome.stderr.split("Traceback (most recent call last)")[1:]
    excused = (
        "MemoryError",
        "failed to map segment",
        "<frozen site>",
        "Cannot allocate memory",
        "SystemError: error return",
    )
    if any(not any(word in text for word in excused) for text in tracebacks):
        found.append("a traceback on stderr")
    is_explained = outcome.code in (0, None, *_ENDINGS) or outcome.is_supervisor_killed
    # Before Python is up, a signal ends the process as any other.
    is_explained = is_explained or (outcome.was_ended and outcome.code is not None and outcome.code < 0)
    if not is_explained and "posestream: " not in outcome.stderr:
        found.append(f"exit status {outcome.code} without a reason on stderr")
    if outcome.must_survive and not is_explained:
        last = outcome.stderr.strip().rpartition("\n")[2]
        found.append(f"exit status {outcome.code}, though nothing need have been lost: {last[:300]}")
    if outcome.code in _ENDINGS and not outcome.was_ended:
        found.append(f"exit status {outcome.code}, though no signal ended it")
    return found


def _judge_order(held: Held) -> list[str]:
    return [
        f"{camera}: frame {after} comes after {before}"
        for camera, seqs in held.frames.items()
        if held.is_exact
        for before, after in pairwise(seqs)
        if after <= before
    ][:3]


def _judge_content(held: Held, reference: Content, outcome: Outcome, *, without_history: bool) -> list[str]:
    """Where frames were dropped, windows and what follows from them are others; boxes are not. Of a stream that was
    ended early, the windows of the last frames lack those that the reference has after them."""
    found = []
    for camera, frames in held.content.items():
        expected = reference[camera]
        last = sorted(frames)[-_MOST_FUTURE:] if outcome.was_ended else []
        for seq, content in frames.items():
            reduce = _get_boxes if without_history or seq in last else _get_all
            if (not without_history or seq in expected) and reduce(content) != reduce(expected.get(seq)):
                found.append(
                    f"{camera}: frame {seq} holds {_describe_difference(reduce(content), reduce(expected.get(seq)))}"
                )
    return found[:3]


def _get_all(record: Any) -> Any:
    return record


def _get_boxes(record: Any) -> Any:
    return record and {"boxes": [person["box"] for person in record["people"]]}


def _describe_difference(content: Any, expected: Any, where: str = "") -> str:
    """The first place where two records differ."""
    if isinstance(content, dict) and isinstance(expected, dict):
        pairs = [(f"{where}{key} ", value, expected.get(key)) for key, value in content.items()]
    elif isinstance(content, list) and isinstance(expected, list) and len(content) == len(expected):
        pairs = [(f"{where}{at} ", one, other) for at, (one, other) in enumerate(zip(content, expected, strict=True))]
    else:
        return f"{where}{str(content)[:100]}, not {str(expected)[:100]}"
    return next(_describe_difference(one, other, place) for place, one, other in pairs if one != other)


def find_missing(scenario: Scenario, held: Held, reference: Content) -> dict[str, list[int]]:
    """The frames of each camera that a sink lacks; where frames are only counted, the last ones."""
    missing = {}
    for camera, count in scenario.frames.items():
        expected = [seq for seq in range(count) if held.sink.kind != "coco" or reference[camera][seq]["people"]]
        has = held.frames.get(camera, [])
        lacks = [seq for seq in expected if seq not in set(has)] if held.is_exact else expected[len(has) :]
        if lacks:
            missing[camera] = lacks
    return missing


def _judge_losses(scenario: Scenario, outcome: Outcome, reference: Content) -> list[str]:
    """A file line that exits with 0 holds everything; else what is missing is named, or is the end of a stream."""
    found = []
    named = Counter[str]()
    for count, camera in _COUNTS.findall(outcome.stderr):
        named[camera] += int(count)
    first = set(_FIRST.findall(outcome.stderr))
    for held in outcome.held:
        if held.sink.kind == "subscriber":
            continue
        for camera, lacks in find_missing(scenario, held, reference).items():
            name = f"{held.sink.kind} sink: {len(lacks)} of {scenario.frames[camera]} frames of {camera} are missing"
            if outcome.code == 0:
                found.append(f"{name} ({_shorten(lacks)}), and the exit status is 0")
            holes = [seq for seq in lacks if held.frames.get(camera) and seq < held.frames[camera][-1]]
            # A supervisor that is killed counts nothing together; its parts have said what they lost first.
            if outcome.is_supervisor_killed and ("cannot write" in outcome.stderr or camera in first):
                continue
            if holes and outcome.code not in (0, None) and named[camera] < len(holes):
                found.append(f"{name}, with holes ({_shorten(holes)}), and stderr names {named[camera]} of {camera}")
    return found


def _shorten(seqs: list[int]) -> str:
    return ", ".join(map(str, seqs[:8])) + (", …" if len(seqs) > 8 else "")


def gave_up(ended: dict[str, int]) -> bool:
    """True when a part was ended more often than it is restarted."""
    return any(count > _MOST_RESTARTS - 1 for count in ended.values())
