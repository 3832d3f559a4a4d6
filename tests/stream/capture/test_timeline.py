from __future__ import annotations

import numpy as np
import pytest

from stream.capture.decoded_picture import ArrayPicture, Shot
from stream.capture.timeline import Timeline, bridge_jumps

MS = 1_000_000
SECOND = 1000 * MS
PICTURE = ArrayPicture(np.zeros((2, 2, 3), np.uint8))


class Clock:
    def __init__(self) -> None:
        self.time_ns = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.time_ns

    def advance(self, milliseconds: int) -> None:
        self.time_ns += milliseconds * MS


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_frame_is_at_zero_and_the_others_keep_their_distance(clock: Clock) -> None:
    timeline, placed = Timeline({}, clock), []
    for pts_ms, waited_ms in ((5000, 0), (5040, 90), (5080, 3), (5120, 20)):
        clock.advance(waited_ms)
        placed.append(timeline.place(pts_ms * MS))
    assert placed == [0, 40 * MS, 80 * MS, 120 * MS]


def test_a_new_connection_continues_by_the_wall_clock(clock: Clock) -> None:
    timeline = Timeline({}, clock)
    assert timeline.place(0) == 0
    clock.advance(7000)
    timeline.reset()
    assert [timeline.place(0), timeline.place(40 * MS)] == [7 * SECOND, 7040 * MS]


def test_a_new_connection_never_runs_backwards(clock: Clock) -> None:
    timeline = Timeline({}, clock)
    last = [timeline.place(pts * MS) for pts in (0, 1000, 2000)][-1]
    clock.advance(10)
    timeline.reset()
    assert last < timeline.place(0) < timeline.place(1)


def test_a_stream_clock_that_stops_or_jumps_back_still_increases(clock: Clock) -> None:
    timeline = Timeline({}, clock)
    placed = [timeline.place(pts * MS) for pts in (0, 40, 40, 20, 60, 80)]
    assert placed == sorted(set(placed))
    assert placed[-1] == 80 * MS, "a small stumble does not move the axis"


@pytest.mark.parametrize("jump_ms", [-3_600_000, 3_600_000])
def test_a_camera_that_sets_its_clock_does_not_shift_the_axis(clock: Clock, jump_ms: int) -> None:
    timeline = Timeline({}, clock)
    timeline.place(4_000_000 * MS)
    clock.advance(40)
    after = timeline.place((4_000_040 + jump_ms) * MS)
    assert after == 40 * MS
    clock.advance(40)
    assert timeline.place((4_000_080 + jump_ms) * MS) == 80 * MS


def test_frames_without_a_time_get_their_arrival_time(clock: Clock) -> None:
    timeline = Timeline({}, clock)
    assert timeline.place(None) == 0
    clock.advance(33)
    assert timeline.place(None) == 33 * MS
    assert timeline.place(None) == 34 * MS, "two at once are put one after the other"


def test_a_restarted_process_continues_on_the_same_axis(clock: Clock) -> None:
    memory: dict[str, int] = {}
    assert Timeline(memory, clock).place(900 * MS) == 0
    clock.advance(2500)
    assert Timeline(memory, clock).place(123 * MS) == 2500 * MS


def test_time_increases_when_the_wall_clock_is_set_back(clock: Clock) -> None:
    timeline = Timeline({}, clock)
    first = timeline.place(0)
    clock.advance(-60_000)
    timeline.reset()
    assert timeline.place(0) > first


# -- within a file ----------------------------------------------------------------------------------------------------


def bridge(times_ms: list[int | None], duration_ms: int = 40, max_gap_ms: int = 10_000) -> list[int]:
    shots = [Shot(PICTURE, None if ms is None else ms * 10**6, duration_ms * 10**6, 0) for ms in times_ms]
    return [shot.begin_ns // 10**6 for shot in bridge_jumps(shots, max_gap_ms * 10**6, "'a.ts'")]


@pytest.mark.parametrize(
    ("times_ms", "expected_ms"),
    [
        ([0, 40, 10_000_040, 10_000_080], [0, 40, 80, 120]),
        ([20_000, 20_040, 0, 40, 90], [20_000, 20_040, 20_080, 20_120, 20_170]),
        ([0, 40, 50_000, 50_040, 0, 50], [0, 40, 80, 120, 160, 210]),
        ([0, 40, 9_000, 9_040], [0, 40, 9_000, 9_040]),
        ([0, 40, 40, 80, 70, 120], [0, 40, 80, 120, 160, 200]),
        ([None, None, 100, None], [0, 40, 100, 140]),
        ([100_000, 100_040], [100_000, 100_040]),
    ],
    ids=["forwards", "backwards", "twice", "a held frame", "inexact", "none", "a late start"],
)
def test_a_clock_that_was_set_leaves_no_gap_in_a_file(times_ms: list[int | None], expected_ms: list[int]) -> None:
    assert bridge(times_ms) == expected_ms


def test_a_jump_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    bridge([0, 40, 50_040, 100_000, 0])
    assert [record.getMessage() for record in caplog.records] == [
        "'a.ts': the time jumps by +50.0 s after 2 frames; it continues without the jump",
        "'a.ts': the time jumps 3 times",
    ]
    caplog.clear()
    bridge([0, 40, 30, 9_000, None])
    assert not caplog.records
