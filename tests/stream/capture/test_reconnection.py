from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest

from stream.capture.decoded_picture import ArrayPicture, Shot
from stream.capture.reader import DisconnectedError, Feed, Reader
from stream.capture.reconnection import Backoff, Event, Policy, Reconnector
from stream.errors import SourceError

# Timeout for conditions that take milliseconds on an idle machine and longer on a busy one.
TIMEOUT_S = 30.0
PICTURE = ArrayPicture(np.zeros((2, 2, 3), np.uint8))


class Script:
    """A feed that delivers ``shots`` shots, then raises ``then``, or blocks."""

    def __init__(self, shots: int, then: Exception | None = None) -> None:
        self._left, self._then = shots, then
        self.is_blocked = False
        self.gate = threading.Event()
        self.is_closed = threading.Event()

    def read(self) -> Shot:
        if self._left == 0:
            if self._then is not None:
                raise self._then
            self.is_blocked = True
            self.gate.wait(TIMEOUT_S)
            raise DisconnectedError("let go")
        self._left -= 1
        return Shot(PICTURE, self._left, 1, 0)

    def close(self) -> None:
        self.is_closed.set()


def make_camera(*connections: Feed | Exception) -> Callable[[], Feed]:
    """The outcome of each attempt to connect; the last one repeats."""
    attempts = iter([*connections[:-1], *[connections[-1]] * 1000])

    def connect() -> Feed:
        feed = next(attempts)
        if isinstance(feed, Exception):
            raise feed
        return feed

    return connect


def make_reconnector(connect: Callable[[], Feed], known: bool = False, **policy: object) -> Reconnector:
    defaults = {"retry": "reconnect", "open_timeout_s": 5.0, "stall_timeout_s": 5.0, "give_up_s": 0.0, "max_items": 50}
    return Reconnector(
        connect,
        "'rtsp://***@hall/x'",
        Policy(**(defaults | policy)),  # type: ignore[arg-type]
        Backoff(0.01, 0.05),
        is_known=known,
    )


def until(events: Iterator[Event], is_last: Callable[[Event], bool]) -> list[Event]:
    """Collect events up to the last one; fails if it does not come."""
    collected: list[Event] = []
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        collected.append(next(events))
        if is_last(collected[-1]):
            return collected
    raise AssertionError(f"no such event within {TIMEOUT_S} s; the last events were {collected[-5:]}")


def number(wanted: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, tuple) and event[0] == wanted


def numbers(events: list[Event]) -> list[int]:
    return [event[0] for event in events if isinstance(event, tuple)]


def test_a_lost_camera_is_reconnected_and_its_numbers_continue() -> None:
    lost = DisconnectedError("the server ended the stream")
    camera = make_reconnector(
        make_camera(Script(2, lost), DisconnectedError("refused"), DisconnectedError("refused"), Script(3))
    )
    events = until(camera.shots(), number(4))
    camera.close()
    assert numbers(events) == [0, 1, 2, 3, 4]
    assert next(event for event in events if event is not None) == "new"
    assert events.count("new") == 2, "each connection is announced once, and one that failed is not"


def test_every_loss_and_reconnection_is_logged_without_credentials(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    camera = make_reconnector(make_camera(Script(1, DisconnectedError("gone")), Script(1)))
    until(camera.shots(), number(1))
    camera.close()
    assert "'rtsp://***@hall/x' is unavailable: gone; retrying in 0.0 s" in caplog.text
    assert "'rtsp://***@hall/x' is back after" in caplog.text


def test_a_reason_is_warned_of_once_until_the_camera_is_back(caplog: pytest.LogCaptureFixture) -> None:
    refused, gone = DisconnectedError("refused"), DisconnectedError("gone")
    camera = make_reconnector(
        make_camera(Script(1, gone), refused, refused, refused, Script(1, gone), refused, Script(1))
    )
    until(camera.shots(), number(2))
    camera.close()
    said = [record.getMessage().partition(" is ")[2].split(";")[0] for record in caplog.records]
    away = ["unavailable: gone", "unavailable: refused"]
    assert [text.partition(" after")[0] for text in said] == [*away, "back", *away, "back"]


def test_a_camera_that_blocks_is_detected_and_abandoned() -> None:
    stuck, fresh = Script(1), Script(1)
    camera = make_reconnector(make_camera(stuck, fresh), stall_timeout_s=0.2)
    until(camera.shots(), number(1))
    assert not stuck.is_closed.is_set(), "its thread is still in the read and has been abandoned"
    stuck.gate.set()
    assert stuck.is_closed.wait(TIMEOUT_S), "when its read returns, the connection is closed"
    camera.close()
    fresh.gate.set()


@pytest.mark.parametrize("closing_s", [0.0, TIMEOUT_S])
def test_a_port_is_free_before_it_is_opened_again(closing_s: float) -> None:
    blocked, is_free = Script(1), []

    def connect() -> Feed:
        is_free.append(blocked.is_closed.is_set())
        return blocked if len(is_free) == 1 else Script(1)

    camera = make_reconnector(connect, stall_timeout_s=0.2, closing_s=closing_s)
    threading.Timer(0.6, blocked.gate.set).start()
    until(camera.shots(), number(1))
    camera.close()
    assert is_free == [False, closing_s > 0]


def test_an_event_comes_at_least_twice_a_second_also_from_a_blocked_camera() -> None:
    release = threading.Event()

    def connect() -> Feed:
        release.wait(TIMEOUT_S)  # a connection that neither opens nor fails
        raise DisconnectedError("let go")

    camera = make_reconnector(connect, known=True)
    events, times = camera.shots(), [time.monotonic()]
    for _ in range(5):
        assert next(events) is None
        times.append(time.monotonic())
    release.set()
    camera.close()
    # A tenth of a second each on an idle machine; the median allows for a busy one.
    assert sorted(after - before for before, after in pairwise(times))[2] < 0.5


def test_a_source_that_is_closed_while_it_connects_does_not_wait_for_the_connection() -> None:
    release = threading.Event()

    def connect() -> Feed:
        release.wait(TIMEOUT_S)
        raise DisconnectedError("let go")

    camera = make_reconnector(connect, known=True)
    next(camera.shots())
    start_s = time.monotonic()
    camera.close()
    assert time.monotonic() - start_s < TIMEOUT_S / 2, "half a second on a quiet machine"
    release.set()


def test_shots_that_are_not_taken_are_dropped_and_leave_a_gap() -> None:
    script = Script(100)
    reader = Reader(lambda: script, max_items=3, name="test")
    deadline_s = time.monotonic() + TIMEOUT_S
    while not script.is_blocked:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    taken = [reader.read(0.1) for _ in range(4)]
    assert [item and item[0] for item in taken] == [98, 99, 100, None]
    script.gate.set()
    reader.stop(TIMEOUT_S)
    assert script.is_closed.is_set()


# -- giving up --------------------------------------------------------------------------------------------------------


def catch_error(camera: Reconnector) -> str:
    with pytest.raises(SourceError) as caught:
        until(camera.shots(), lambda event: False)
    return str(caught.value)


def test_a_first_connection_that_fails_ends_the_source() -> None:
    camera = make_reconnector(make_camera(DisconnectedError("Connection refused")))
    assert catch_error(camera) == "cannot reach 'rtsp://***@hall/x': Connection refused; check the address"


def test_a_first_connection_that_fails_is_waited_for_when_asked() -> None:
    camera = make_reconnector(
        make_camera(DisconnectedError("refused"), DisconnectedError("refused"), Script(1)), retry="always"
    )
    assert numbers(until(camera.shots(), number(0))) == [0]


def test_a_first_connection_after_a_restart_is_waited_for() -> None:
    camera = make_reconnector(make_camera(DisconnectedError("refused"), Script(1)), known=True)
    assert numbers(until(camera.shots(), number(0))) == [0]


def test_a_wrong_path_is_not_retried_but_a_restarting_server_is() -> None:
    mistake = DisconnectedError("nothing is at this path", is_mistake=True)
    assert "nothing is at this path" in catch_error(make_reconnector(make_camera(mistake), retry="always"))
    camera = make_reconnector(make_camera(Script(1, DisconnectedError("gone")), mistake, Script(1)))
    assert numbers(until(camera.shots(), number(1))) == [0, 1]


def test_a_permanent_error_ends_the_source_at_once() -> None:
    refusal = SourceError("'rtsp://***@hall/x' refuses this user and password")
    assert catch_error(make_reconnector(make_camera(refusal), retry="always", known=True)) == str(refusal)


def test_without_retry_a_loss_ends_the_source() -> None:
    camera = make_reconnector(make_camera(Script(2, DisconnectedError("gone"))), retry="never")
    assert catch_error(camera) == "lost 'rtsp://***@hall/x': gone; set retry=reconnect to wait for it"


def test_the_source_gives_up_after_give_up_s() -> None:
    camera = make_reconnector(
        make_camera(Script(1, DisconnectedError("gone")), DisconnectedError("refused")), give_up_s=0.2
    )
    assert catch_error(camera).startswith(
        "gave up on 'rtsp://***@hall/x' after 0 s without a picture: refused; check the address"
    )


def test_other_exceptions_are_raised_unchanged() -> None:
    camera = make_reconnector(make_camera(Script(1, ZeroDivisionError("ours"))))
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(camera.shots())


# -- pauses -----------------------------------------------------------------------------------------------------------


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 5.0, jitter=0.0)
    assert [backoff.next_s() for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_a_pause_is_shortened_at_random_and_never_lengthened() -> None:
    draws = iter([0.0, 1.0, 0.5])
    backoff = Backoff(1.0, 1.0, jitter=0.25, random=lambda: next(draws))
    assert [backoff.next_s() for _ in range(3)] == [1.0, 0.75, 0.875]


def test_a_camera_that_is_away_for_weeks_does_not_overflow_the_pause() -> None:
    backoff = Backoff(0.5, 5.0, jitter=0.0)
    assert max(backoff.next_s() for _ in range(5000)) == 5.0


def test_it_says_why_no_picture_comes() -> None:
    gate = threading.Event()

    def connect() -> Feed:
        gate.wait(TIMEOUT_S)
        raise DisconnectedError("Connection refused")

    reconnector = make_reconnector(connect, retry="always")
    shots = reconnector.shots()
    assert next(shots) is None
    assert reconnector.describe() == "connecting to 'rtsp://***@hall/x'"
    gate.set()
    until_s = time.monotonic() + TIMEOUT_S
    while reconnector.describe() != "Connection refused; reconnecting":
        next(shots)
        assert time.monotonic() < until_s
    reconnector.close()


def test_a_connection_without_pictures_is_said_to_be_one() -> None:
    feed = Script(0)
    reconnector = make_reconnector(make_camera(feed))
    shots = reconnector.shots()
    until_s = time.monotonic() + TIMEOUT_S
    while reconnector.describe() != "connected, but no picture comes":
        assert next(shots) is None
        assert time.monotonic() < until_s
    feed.gate.set()
    reconnector.close()
