"""Whether a site needs one more lane, or one less: a decision from what was observed, without a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.cluster.settings import Settings

_CALM = 0.5
"""Frames younger than this part of their limit are calm: a lane less makes the others slower."""


@dataclass(frozen=True)
class Observation:
    """What a site did until ``at_s`` (s, of any clock): the highest age that 95 of 100 frames of a lane stay below, ms,
    and the frames ``dropped`` since the last observation. ``age_p95_ms`` is None where no part has said it."""

    at_s: float
    age_p95_ms: float | None
    dropped: int = 0


def choose_lanes(lanes: int, history: Sequence[Observation], settings: Settings) -> int:
    """How many lanes a site should have that had ``lanes`` during ``history``, oldest first: one more, one less, or as
    many.

    ``history`` begins when the number of lanes last changed, so that a change has time to help.
    """
    if _spans(history, settings.late_s, lambda seen: _is_late(seen, settings)):
        return min(lanes + 1, max(lanes, settings.max_lanes))
    if _spans(history, 60 * settings.quiet_min, lambda seen: _is_calm(seen, settings)):
        return max(lanes - 1, min(lanes, settings.min_lanes))
    return lanes


def _is_late(seen: Observation, settings: Settings) -> bool:
    return seen.dropped > 0 or (seen.age_p95_ms is not None and seen.age_p95_ms > settings.age_limit_ms)


def _is_calm(seen: Observation, settings: Settings) -> bool:
    return not seen.dropped and seen.age_p95_ms is not None and seen.age_p95_ms < _CALM * settings.age_limit_ms


def _spans(history: Sequence[Observation], seconds: float, holds: Callable[[Observation], bool]) -> bool:
    """True where ``holds`` was true of everything observed in the last ``seconds``, and those were observed."""
    if not history:
        return False
    since_s = history[-1].at_s - seconds
    return history[0].at_s <= since_s and all(holds(seen) for seen in history if seen.at_s >= since_s)
