"""Viewers: each is sent the newest it can take, none costs the others anything."""

from __future__ import annotations

from stream.web.hub import Hub, Viewer


def make_viewer(*shown: int) -> Viewer:
    viewer = Viewer("{}")
    viewer.show(frozenset(shown))
    return viewer


def test_a_viewer_that_lags_skips_frames_and_is_at_most_two_behind() -> None:
    viewer = make_viewer(0)
    for number in range(10):
        viewer.offer(0, b"%d" % number)
        if number < 3:
            sent = viewer.take()
            assert sent == (b"%d" % number if number < 2 else None)
    assert viewer.take() is None, "two are on their way"
    viewer.drawn(0)
    assert viewer.take() == b"9"
    assert viewer.take() is None


def test_a_camera_that_lags_does_not_hold_up_another() -> None:
    viewer = make_viewer(0, 1)
    for number in range(3):
        viewer.offer(0, b"a%d" % number)
        viewer.take()
    viewer.offer(1, b"b")
    assert viewer.take() == b"b"


def test_a_viewer_is_offered_what_it_shows() -> None:
    viewer = make_viewer(0)
    viewer.offer(0, b"a")
    viewer.offer(1, b"b")
    viewer.show(frozenset({1}))
    assert viewer.take() is None
    viewer.offer(1, b"b")
    assert viewer.take() == b"b"


def test_ten_viewers_share_the_bytes_of_one_frame() -> None:
    hub = Hub(lambda _: None)
    viewers = [make_viewer(0) for _ in range(10)]
    hub.viewers.update(viewers)
    packet = bytes(100)
    hub.publish(0, packet)
    assert all(viewer.take() is packet for viewer in viewers)


def test_the_last_frame_waits_for_new_viewers_until_its_camera_is_forgotten() -> None:
    hub = Hub(lambda _: None)
    hub.publish(0, b"a")
    hub.publish(1, b"b")
    hub.forget([1, 7])
    viewer = Viewer("{}")
    hub.viewers.add(viewer)
    hub._show(viewer, frozenset({0, 1}))
    assert [viewer.take(), viewer.take()] == [b"a", None]


def test_words_of_a_viewer_about_frames_that_it_was_not_sent_change_nothing() -> None:
    viewer = make_viewer(0)
    for _ in range(5):
        viewer.drawn(0)
    for number in range(3):
        viewer.offer(0, b"%d" % number)
        assert viewer.take() == (b"%d" % number if number < 2 else None)


def test_a_viewer_that_names_cameras_without_end_fills_no_memory() -> None:
    viewer = make_viewer(0)
    for number in range(10_000):
        viewer.drawn(number)
    assert len(viewer._in_flight) == 0


def test_watching_begins_with_the_first_camera_that_is_shown_and_ends_with_the_last() -> None:
    heard: list[bool] = []
    hub = Hub(heard.append)
    one, other = Viewer("{}"), Viewer("{}")
    hub.viewers.update((one, other))
    hub._show(one, frozenset())
    assert heard == []
    hub._show(one, frozenset({3}))
    hub._show(other, frozenset({4}))
    hub._show(one, frozenset())
    assert heard == [True]
    hub._show(other, frozenset())
    assert heard == [True, False]
