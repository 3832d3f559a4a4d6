"""The ring of frames: no socket, no process, no network."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.caps import Caps
from stream.errors import LinkError, PropertyError
from stream.messages import People, Window
from stream.registry import make
from stream.testing import Clock, Harness, check_element, make_people


def make_windows(numbers: Sequence[int], launch: str = "window past=1 future=1") -> list[Window]:
    return Harness(launch).push_all(make_people(seq) for seq in numbers)


def seqs(windows: Sequence[Window]) -> list[list[int]]:
    return [[frame.seq for frame in window.frames] for window in windows]


def states(window: Window) -> str:
    """``prr`` for padded, real, real; ``h`` for a repeated neighbour."""
    return "".join({"real": "r", "padded": "p", "repeated": "h"}[state] for state in window.states)


@pytest.mark.parametrize("launch", ["window past=2 future=1", "window", "window past=0 future=3 max_gap=0"])
def test_the_window_keeps_the_contract_of_an_element(launch: str) -> None:
    check_element(launch)


def test_a_window_is_centred_on_its_key_frame() -> None:
    harness = Harness("window", src="people/window, past=1, future=1")
    windows = harness.push_all(make_people(seq) for seq in range(4))
    assert seqs(windows) == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert [window.key_frame.seq for window in windows] == [0, 1, 2, 3]


def test_the_ends_of_a_stream_are_padded() -> None:
    windows = make_windows(range(4), "window past=2 future=1")
    assert [states(window) for window in windows] == ["pprr", "prrr", "rrrr", "rrrp"]


def test_the_model_downstream_fixes_past_and_future() -> None:
    harness = Harness("window ! tests.toys.estimate past=2 future=3")
    assert harness.caps[1] == Caps("people/window", past=2, future=3)


def test_a_window_without_a_model_is_its_key_frame_alone() -> None:
    harness = Harness("window")
    assert harness.caps[-1] == Caps("people/window", past=0, future=0)
    assert seqs(harness.push_all(make_people(seq) for seq in range(3))) == [[0], [1], [2]]


def test_a_property_fixes_the_window_without_a_model() -> None:
    assert Harness("window past=3").caps[-1] == Caps("people/window", past=3, future=0)


def test_a_property_that_contradicts_the_model_does_not_link() -> None:
    with pytest.raises(LinkError) as caught:
        Harness("window past=1 ! tests.toys.estimate past=2")
    assert str(caught.value) == (
        "could not link window to estimate: past=1 is not past=2; remove past= from window, and estimate fixes it"
    )


def test_a_window_is_yielded_when_its_future_has_arrived() -> None:
    with Harness("window past=1 future=2") as harness:
        assert [len(harness.push(make_people(seq))) for seq in range(5)] == [0, 0, 1, 1, 1]


def test_without_future_a_window_is_yielded_at_once() -> None:
    with Harness("window past=4") as harness:
        assert [len(harness.push(make_people(seq))) for seq in range(3)] == [1, 1, 1]


def test_a_dropped_frame_is_repeated_in_its_slot() -> None:
    windows = make_windows([0, 1, 3, 4], "window past=2 future=1")
    key_three = windows[2]
    assert key_three.key == ("cam", 3)
    assert seqs([key_three]) == [[1, 1, 3, 4]]
    assert states(key_three) == "rhrr"


def test_a_missing_frame_is_filled_by_the_nearest_and_the_earlier_of_two() -> None:
    by_key = {window.key[1]: window for window in make_windows([0, 1, 5, 6, 7], "window past=4 future=0")}
    assert seqs([by_key[5]]) == [[1, 1, 1, 5, 5]]  # 2 is nearest to 1; 3 lies midway, so 1; 4 is nearest to 5
    assert states(by_key[5]) == "rhhhr"


def test_a_missing_future_frame_does_not_delay_a_window() -> None:
    with Harness("window past=0 future=1") as harness:
        assert harness.push(make_people(0)) == []
        (window,) = harness.push(make_people(3))
        assert seqs([window]) == [[0, 0]]
        assert states(window) == "rh"


def test_a_long_gap_starts_a_new_ring() -> None:
    windows = make_windows([0, 1, 9, 10], "window past=1 future=1 max_gap=5")
    assert seqs(windows) == [[0, 0, 1], [0, 1, 1], [9, 9, 10], [9, 10, 10]]
    assert [states(window) for window in windows] == ["prr", "rrp", "prr", "rrp"]


@pytest.mark.parametrize(("missing", "is_filled"), [(3, True), (4, False)])
def test_max_gap_is_the_longest_gap_that_is_filled(missing: int, is_filled: bool) -> None:
    windows = make_windows([0, missing + 1], "window past=1 future=0 max_gap=3")
    assert (states(windows[1]) == "hr") is is_filled
    assert (states(windows[1]) == "pr") is not is_filled


def test_a_change_of_resolution_starts_a_new_ring() -> None:
    items = [make_people(0), make_people(1), make_people(2, size=(32, 24)), make_people(3, size=(32, 24))]
    windows = Harness("window past=1 future=1").push_all(items)
    assert seqs(windows) == [[0, 0, 1], [0, 1, 1], [2, 2, 3], [2, 3, 3]]
    assert all(len({frame.size for frame in window.frames}) == 1 for window in windows)


def test_a_source_that_starts_over_starts_a_new_ring() -> None:
    windows = make_windows([7, 8, 0, 1], "window past=1 future=1")
    assert seqs(windows) == [[7, 7, 8], [7, 8, 8], [0, 0, 1], [0, 1, 1]]


def test_every_camera_has_its_own_ring() -> None:
    items = [make_people(seq, camera) for seq in range(3) for camera in ("hall", "yard")]
    windows = Harness("window past=1 future=1").push_all(items)
    assert all(len({frame.camera for frame in window.frames}) == 1 for window in windows)
    assert [window.key for window in windows if window.key[0] == "yard"] == [("yard", seq) for seq in range(3)]


def test_the_end_of_one_camera_does_not_flush_the_others() -> None:
    with Harness("window past=0 future=1") as harness:
        for camera in ("hall", "yard"):
            harness.push(make_people(0, camera))
        assert [window.key for window in harness.flush("hall")] == [("hall", 0)]
        assert list(harness.element.pending()) == [("yard", 0)]


def test_window_ready_is_stamped_on_the_key_frame_and_on_its_people() -> None:
    clock = Clock()
    with Harness("window past=1 future=0", now_ns=clock) as harness:
        harness.push(make_people(0))
        clock.advance(milliseconds=40)
        (window,) = harness.push(make_people(1))
    assert window.key_frame.ledger["window_ready"] == clock.time_ns
    assert window.people.frame is window.key_frame
    assert "window_ready" not in window.frames[0].ledger


def test_pending_lists_the_frames_that_wait_for_their_future() -> None:
    with Harness("window past=3 future=2") as harness:
        for seq in range(5):
            harness.push(make_people(seq))
        assert list(harness.element.pending()) == [("cam", 3), ("cam", 4)]
        assert harness.element.reach == 3


def test_a_negative_number_of_frames_raises() -> None:
    with pytest.raises(PropertyError) as caught:
        make("window", past=-1)
    assert (
        str(caught.value)
        == "window: past=-1 is not valid: it must be an integer of at least 0; see 'posestream inspect window'"
    )


def redeliver(items: list[People], crash: int, unfinished: set[tuple[str, int]], reach: int) -> list[People]:
    """The items a link sends again after a crash: the unfinished, the later ones, and ``reach`` items before them."""
    oldest = next((at for at, item in enumerate(items) if at >= crash or item.key in unfinished), len(items))
    return items[max(0, oldest - reach) :]


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 6), min_size=1, max_size=14),
    past=st.integers(0, 4),
    future=st.integers(0, 4),
    crash=st.integers(1, 14),
)
def test_a_killed_window_stage_recomputes_the_same_windows(gaps: list[int], past: int, future: int, crash: int) -> None:
    launch = f"window past={past} future={future} max_gap=3"
    items = [make_people(sum(gaps[: at + 1]), size=(4, 4)) for at in range(len(gaps))]
    complete = {window.key: window for window in Harness(launch).push_all(items)}
    with Harness(launch) as first:
        delivered = {window.key: window for item in items[:crash] for window in first.push(item)}
        unfinished = set(first.element.pending())
    second = Harness(launch).push_all(redeliver(items, crash, unfinished, past))
    for window in second:
        delivered.setdefault(window.key, window)  # as a link does: duplicates are dropped
    assert delivered.keys() == complete.keys()
    for key, window in complete.items():
        assert seqs([delivered[key]]) == seqs([window])
        assert delivered[key].states == window.states


@settings(max_examples=60, deadline=None)
@given(gaps=st.lists(st.integers(1, 6), min_size=1, max_size=14), past=st.integers(0, 4), future=st.integers(0, 4))
def test_each_slot_of_a_window_belongs_to_one_frame_number(gaps: list[int], past: int, future: int) -> None:
    items = [make_people(sum(gaps[: at + 1]), size=(4, 4)) for at in range(len(gaps))]
    numbers = [item.frame.seq for item in items]
    windows = Harness(f"window past={past} future={future}").push_all(items)
    assert [window.key[1] for window in windows] == numbers
    for window in windows:
        for place, (frame, state) in enumerate(zip(window.frames, window.states, strict=True)):
            due = window.key[1] + place - past
            assert (state == "real") == (due in numbers) == (frame.seq == due)
            assert (state == "padded") == (not numbers[0] <= due <= numbers[-1])
            assert abs(frame.seq - due) == min(abs(number - due) for number in numbers)
