"""Paths: a person's closed walk between stops, computed in advance, so that any time can be looked up.

A walk is a table with a row every 20 ms, built once from a seed; its last row leads back to its first. Corners, starts
and stops are smoothed by a moving mean, and everything else (heading, step phase, weight of walking) is computed from
the smoothed path, so that feet, speed and heading are consistent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.datasets.synthetic.body import Floats
from engines.datasets.synthetic.motion import GESTURE, STRIDE_SWING

ROWS_PER_S: Final = 50
_SMOOTHING_S: Final = 0.6
_TURNING_S: Final = 0.4
_TURNING_M_S: Final = 0.45
"""Below this speed people turn to the direction they face at the stop, and so turn on the spot towards the camera."""
_DRAWS: Final = 8


@dataclass(frozen=True)
class Lane:
    """The part of the ground where one person walks: a range of depths (m), and the reach to either side as a share of
    the depth. Lanes do not overlap, so that people do not walk through each other."""

    near: float
    far: float
    reach: float


@dataclass(frozen=True)
class Moment:
    """A walk at one time: position on the ground (m), heading and step phase (radians), weight of walking (0..1),
    activity (an index of ``motion``), draws (8,) of the stop's gesture."""

    x: float
    z: float
    heading: float
    phase: float
    walking: float
    activity: int
    draws: Floats


class Walk:
    """A closed walk in ``lane``, ``stops`` stops long, for a person with legs of ``leg_m``."""

    def __init__(self, rng: np.random.Generator, lane: Lane, leg_m: float, stops: int = 12) -> None:
        route = _route(rng, lane, stops)
        self._activity, self._draws = route.activity, rng.uniform(-1, 1, (stops, _DRAWS))
        self._stop = route.stop
        position = _smooth(route.position, _SMOOTHING_S)
        velocity = _cyclic_difference(position) * ROWS_PER_S
        speed = np.hypot(velocity[:, 0], velocity[:, 1])
        self._walking = _smoothstep(speed / 0.5)
        self._facing = _facings(velocity, speed, route.facing[route.stop])
        self._position = position
        self._phase = _step_phase(speed, leg_m)
        self._offset = rng.uniform(0, len(position))

    @property
    def period_s(self) -> float:
        """The duration of the walk, after which it starts again."""
        return len(self._position) / ROWS_PER_S

    def at(self, time_s: float) -> Moment:
        """The walk at any ``time_s``."""
        rows = len(self._position)
        exact_row = (time_s * ROWS_PER_S + self._offset) % rows
        row, part = int(exact_row), exact_row % 1.0
        after = (row + 1) % rows
        x, z = (1 - part) * self._position[row] + part * self._position[after]
        sine, cosine = (1 - part) * self._facing[row] + part * self._facing[after]
        stop = int(self._stop[row])
        return Moment(
            float(x),
            float(z),
            float(np.arctan2(sine, cosine)),
            float((1 - part) * self._phase[row] + part * self._phase[row + 1]),
            float((1 - part) * self._walking[row] + part * self._walking[after]),
            int(self._activity[stop]),
            self._draws[stop],
        )


@dataclass(frozen=True)
class _Route:
    """``position`` (R, 2) and ``stop`` (R,), a row every 20 ms; ``facing`` and ``activity`` (stops,)."""

    position: Floats
    stop: NDArray[np.int64]
    facing: Floats
    activity: NDArray[np.int64]


def _route(rng: np.random.Generator, lane: Lane, stops: int) -> _Route:
    points = _waypoints(rng, lane, stops)
    speeds = rng.uniform(0.8, 1.5, stops)
    pauses = np.where(rng.random(stops) < 0.55, rng.uniform(2.0, 4.5, stops), 0.0)
    pieces = [_piece(points[i - 1], points[i], speeds[i], pauses[i]) for i in range(stops)]
    stop = _nearest_stop([len(piece) for piece in pieces], pauses)
    # At a stop most people roughly face the camera; a few turn their back.
    facing = rng.normal(0, 0.7, stops) + np.pi * (rng.random(stops) < 0.15)
    return _Route(np.concatenate(pieces), stop, facing, rng.integers(0, GESTURE + 4, stops).clip(0, GESTURE))


def _nearest_stop(rows: list[int], pauses: Floats) -> NDArray[np.int64]:
    """(R,) the stop nearest in time; it changes halfway between two stops, where people only walk."""
    halves = [(length - round(pause_s * ROWS_PER_S)) // 2 for length, pause_s in zip(rows, pauses, strict=True)]
    owners = [np.repeat([i - 1, i], [half, rows[i] - half]) for i, half in enumerate(halves)]
    return np.concatenate(owners) % len(rows)


def _waypoints(rng: np.random.Generator, lane: Lane, stops: int) -> Floats:
    """From side to side, so that people in different lanes cross."""
    z = rng.uniform(lane.near, lane.far, stops)
    sides = np.where(np.arange(stops) % 2, 1.0, -1.0)
    # Not too near the middle, so that every walk is long enough to reach full speed.
    aside = sides * rng.uniform(0.35, 1.0, stops)
    return np.stack([aside * lane.reach * z, z], 1)


def _piece(start: Floats, end: Floats, speed: float, pause_s: float) -> Floats:
    rows = max(2, round(float(np.hypot(*(end - start))) / speed * ROWS_PER_S))
    walked = start + np.arange(1, rows + 1)[:, None] / rows * (end - start)
    return np.concatenate([walked, np.repeat(end[None], round(pause_s * ROWS_PER_S), 0)])


def _smooth(column: Floats, seconds: float) -> Floats:
    """The cyclic moving mean, applied twice so that the speed is continuous."""
    width = round(seconds * ROWS_PER_S)
    for _ in range(2):
        padded = np.concatenate([column[-width:], column, column[:width]])
        sums = np.cumsum(padded, 0)
        column = ((sums[width:] - sums[:-width]) / width)[(width + 1) // 2 :][: len(column)]
    return column


def _cyclic_difference(column: Floats) -> Floats:
    return np.roll(column, -1, 0) - column


def _smoothstep(value: Floats) -> Floats:
    part = np.clip(value, 0, 1)
    smooth: Floats = part * part * (3 - 2 * part)
    return smooth


def _facings(velocity: Floats, speed: Floats, standing: Floats) -> Floats:
    """(R, 2) sine and cosine of the heading: the direction of walking, or that faced at a stop, with smooth turns."""
    moving = (speed > _TURNING_M_S)[:, None]
    towards = np.stack([velocity[:, 0], -velocity[:, 1]], 1) / np.maximum(speed, 1e-9)[:, None]
    still = np.stack([np.sin(standing), np.cos(standing)], 1)
    return _smooth(np.where(moving, towards, still), _TURNING_S)


def _step_phase(speed: Floats, leg_m: float) -> Floats:
    """(R + 1,) radians; a cycle covers the length of two steps, and the closed walk is a whole number of cycles."""
    stride_m = 4 * leg_m * np.sin(STRIDE_SWING)
    phase = np.concatenate([[0.0], np.cumsum(speed) / ROWS_PER_S / stride_m * 2 * np.pi])
    cycles = max(1, round(phase[-1] / (2 * np.pi)))
    closed: Floats = phase * (cycles * 2 * np.pi / phase[-1])
    return closed
