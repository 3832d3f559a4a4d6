"""The black box: push, pull, caps, and a clock in one's hand."""

from __future__ import annotations

import pytest

from stream.caps import Caps
from stream.errors import LaunchError, LinkError
from stream.testing import Clock, Harness, make_frame, make_people, make_poses, make_window, without_people
from tests.toys.find import Find
from tests.toys.src import Src


def test_it_is_made_of_a_launch_string_an_element_or_several() -> None:
    for given in ("tests.toys.find count=1 ! window", [Find(count=1), Harness("window").element]):
        assert [window.key for window in Harness(given).push_all([make_frame(0)])] == [("cam", 0)]
    assert Harness(Find()).push_all([make_frame(3)])[0].key == ("cam", 3)


def test_push_gives_what_comes_out_at_once_and_flush_the_rest() -> None:
    with Harness("window future=1") as harness:
        assert harness.push(make_people(0)) == []
        assert [window.key[1] for window in harness.push(make_people(1))] == [0]
        assert [window.key[1] for window in harness.flush()] == [1]


def test_what_one_element_flushes_goes_through_those_after_it() -> None:
    harness = Harness("window future=2 ! tests.toys.estimate past=0 future=2")
    assert [poses.key[1] for poses in harness.push_all(make_people(seq) for seq in range(3))] == [0, 1, 2]


def test_a_source_is_pulled() -> None:
    harness = Harness("tests.toys.src num_frames=3 missing=1 ! tests.toys.find")
    assert [harness.pull().key[1], harness.pull().key[1], harness.pull()] == [0, 2, None]
    harness.close()
    assert [people.key[1] for people in harness.pull_all()] == [0, 2]
    assert [people.key[1] for people in Harness(Src(num_frames=99)).pull_all(max_items=2)] == [0, 1]


def test_pulling_flushes_at_the_end() -> None:
    harness = Harness("tests.toys.src num_frames=2 ! tests.toys.find ! window future=5")
    assert [window.key[1] for window in harness.pull_all()] == [0, 1]


def test_pushing_into_a_source_and_pulling_from_a_transform_raise() -> None:
    with pytest.raises(TypeError) as refused:
        Harness("tests.toys.src").push(make_frame(0))
    assert str(refused.value) == "src is a source; pull from it instead of pushing"
    with pytest.raises(TypeError) as refused:
        Harness("window").pull()
    assert str(refused.value) == "window is not a source; push items instead"


def test_caps_are_negotiated_with_those_of_the_harness() -> None:
    assert Harness("window", src="people/window, past=2, future=1").caps == (
        Caps("people/boxes"),
        Caps("people/window", past=2, future=1),
    )
    with pytest.raises(LinkError) as refused:
        Harness("window", sink="video/raw")
    assert str(refused.value) == (
        "could not link the harness to window: media type 'video/raw' is not 'people/boxes'; put 'detect' between them"
    )


def test_more_than_one_line_does_not_fit_in() -> None:
    for text in ("queue ; queue", "from a ! queue", ""):
        with pytest.raises(LaunchError) as refused:
            Harness(text)
        assert str(refused.value) == f"a harness takes one line without 'from', not {text!r}"


def test_the_clock_stands_still_until_it_is_advanced() -> None:
    clock = Clock(time_ns=5)
    harness = Harness("tests.toys.find", now_ns=clock)
    (first,) = harness.push(make_frame(0))
    clock.advance(milliseconds=1.5)
    (second,) = harness.push(make_frame(1))
    assert [item.frame.ledger["detected"] for item in (first, second)] == [5, 1_500_005]
    harness.close()


def test_elements_are_closed_when_one_of_them_cannot_be_opened() -> None:
    closed: list[str] = []

    class Opens(Find):
        """Opens, and says when it is closed."""

        def __exit__(self, *_: object) -> None:
            closed.append("first")

    class Fails(Find):
        """Does not open."""

        sink = Caps("people/boxes")

        def __enter__(self) -> Fails:
            raise OSError("no such thing")

    with pytest.raises(OSError, match="no such thing"):
        Harness([Opens(), Fails()]).open()
    assert closed == ["first"]


def test_made_up_items_are_what_messages_say() -> None:
    people, window, poses = make_people(7, count=3), make_window(7, past=2, future=1), make_poses(7, count=1)
    assert (people.boxes.shape, people.scores.shape, list(people.ids)) == ((3, 4), (3,), [1, 2, 3])
    assert ([frame.seq for frame in window.frames], window.key_frame.seq) == ([5, 6, 7, 8], 7)
    assert (poses.keypoints.shape, poses.keypoints.dtype) == ((1, 17, 3), "float32")
    for item in (people, window, poses):
        empty = without_people(item)
        assert empty.key == item.key
    assert len(without_people(people).ids) == len(without_people(poses).ids) == 0  # type: ignore[union-attr]
