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
from stream.capture.reconnection import Backoff, Policy, Reconnecting, Word
from stream.errors import SourceError

# How long a condition that comes true within milliseconds on a quiet machine is waited for on a busy one.
PATIENCE_S = 30.0
PICTURE = ArrayPicture(np.zeros((2, 2, 3), np.uint8))


class Script:
    """A feed that does what it is told: give so many shots, then raise, or block for ever."""

    def __init__(self, shots: int, then: Exception | None = None) -> None:
        self._left, self._then = shots, then
        self.gate = threading.Event()
        self.is_closed = threading.Event()

    def read(self) -> Shot:
        if self._left == 0:
            if self._then is not None:
                raise self._then
            self.gate.wait(PATIENCE_S)
            raise DisconnectedError("let go")
        self._left -= 1
        return Shot(PICTURE, self._left, 1, 0)

    def close(self) -> None:
        self.is_closed.set()


def camera_of(*connections: Feed | Exception) -> Callable[[], Feed]:
    """What happens at each attempt to connect; the last again and again."""
    attempts = iter([*connections[:-1], *[connections[-1]] * 1000])

    def connect() -> Feed:
        feed = next(attempts)
        if isinstance(feed, Exception):
            raise feed
        return feed

    return connect


def made(connect: Callable[[], Feed], known: bool = False, **policy: object) -> Reconnecting:
    defaults = {"retry": "reconnect", "open_timeout_s": 5.0, "stall_timeout_s": 5.0, "give_up_s": 0.0, "max_items": 50}
    return Reconnecting(
        connect,
        "'rtsp://***@hall/x'",
        Policy(**(defaults | policy)),  # type: ignore[arg-type]
        Backoff(0.01, 0.05),
        is_known=known,
    )


def until(words: Iterator[Word], is_it: Callable[[Word], bool]) -> list[Word]:
    """Words up to the one wanted; fails when it does not come."""
    heard: list[Word] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        heard.append(next(words))
        if is_it(heard[-1]):
            return heard
    raise AssertionError(f"not heard within {PATIENCE_S} s; the last words were {heard[-5:]}")


def number(wanted: int) -> Callable[[Word], bool]:
    return lambda word: isinstance(word, tuple) and word[0] == wanted


def numbers(words: list[Word]) -> list[int]:
    return [word[0] for word in words if isinstance(word, tuple)]


def test_a_lost_camera_is_connected_again_and_its_numbers_go_on() -> None:
    lost = DisconnectedError("the server ended the stream")
    camera = made(camera_of(Script(2, lost), DisconnectedError("refused"), DisconnectedError("refused"), Script(3)))
    heard = until(camera.shots(), number(4))
    camera.close()
    assert numbers(heard) == [0, 1, 2, 3, 4]
    assert next(word for word in heard if word is not None) == "new"
    assert heard.count("new") == 2, "each connection is announced once, and one that failed is not"


def test_every_loss_and_return_is_told_without_credentials(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    camera = made(camera_of(Script(1, DisconnectedError("gone")), Script(1)))
    until(camera.shots(), number(1))
    camera.close()
    assert "'rtsp://***@hall/x' is not there: gone; trying again in 0.0 s" in caplog.text
    assert "'rtsp://***@hall/x' is back after" in caplog.text


def test_a_camera_that_blocks_for_ever_is_noticed_and_left_to_itself() -> None:
    stuck, fresh = Script(1), Script(1)
    camera = made(camera_of(stuck, fresh), stall_timeout_s=0.2)
    until(camera.shots(), number(1))
    assert not stuck.is_closed.is_set(), "its thread is still in the read, and nobody waits for it"
    stuck.gate.set()
    assert stuck.is_closed.wait(PATIENCE_S), "when its read returns, the connection is given back"
    camera.close()
    fresh.gate.set()


def test_a_word_comes_at_least_twice_a_second_whatever_the_camera_does() -> None:
    release = threading.Event()

    def connect() -> Feed:
        release.wait(PATIENCE_S)  # a connection that neither opens nor fails
        raise DisconnectedError("let go")

    camera = made(connect, known=True)
    words, times = camera.shots(), [time.monotonic()]
    for _ in range(5):
        assert next(words) is None
        times.append(time.monotonic())
    release.set()
    camera.close()
    # A tenth of a second each on a quiet machine: four of five pauses may be late, the middle one tells.
    assert sorted(after - before for before, after in pairwise(times))[2] < 0.5


def test_a_source_that_is_closed_while_it_connects_does_not_wait_for_the_connection() -> None:
    release = threading.Event()

    def connect() -> Feed:
        release.wait(PATIENCE_S)
        raise DisconnectedError("let go")

    camera = made(connect, known=True)
    next(camera.shots())
    begun_s = time.monotonic()
    camera.close()
    assert time.monotonic() - begun_s < PATIENCE_S / 2, "half a second on a quiet machine"
    release.set()


def test_shots_that_nobody_takes_are_dropped_and_leave_a_gap() -> None:
    script = Script(100)
    reader = Reader(lambda: script, max_items=3, name="test")
    deadline_s = time.monotonic() + PATIENCE_S
    while reader.silent_s < 0.3 or not reader.has_delivered:  # it has read all it will
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    taken = [reader.newest(0.1) for _ in range(4)]
    assert [item and item[0] for item in taken] == [98, 99, 100, None]
    script.gate.set()
    reader.stop(PATIENCE_S)
    assert script.is_closed.is_set()


# -- when it is given up ----------------------------------------------------------------------------------------------


def refused(camera: Reconnecting) -> str:
    with pytest.raises(SourceError) as caught:
        until(camera.shots(), lambda word: False)
    return str(caught.value)


def test_a_first_connection_that_fails_ends_the_source() -> None:
    camera = made(camera_of(DisconnectedError("Connection refused")))
    assert refused(camera) == "cannot reach 'rtsp://***@hall/x': Connection refused; check the address"


def test_a_first_connection_that_fails_is_waited_for_when_asked() -> None:
    camera = made(camera_of(DisconnectedError("refused"), DisconnectedError("refused"), Script(1)), retry="always")
    assert numbers(until(camera.shots(), number(0))) == [0]


def test_a_first_connection_after_a_restart_is_waited_for() -> None:
    camera = made(camera_of(DisconnectedError("refused"), Script(1)), known=True)
    assert numbers(until(camera.shots(), number(0))) == [0]


def test_a_mistake_in_the_address_is_not_waited_for_even_when_asked_but_a_restarting_server_is() -> None:
    mistake = DisconnectedError("nothing is at this path", is_mistake=True)
    assert "nothing is at this path" in refused(made(camera_of(mistake), retry="always"))
    camera = made(camera_of(Script(1, DisconnectedError("gone")), mistake, Script(1)))
    assert numbers(until(camera.shots(), number(1))) == [0, 1]


def test_what_no_patience_helps_ends_the_source_at_once() -> None:
    refusal = SourceError("'rtsp://***@hall/x' refuses this user and password")
    assert refused(made(camera_of(refusal), retry="always", known=True)) == str(refusal)


def test_a_loss_ends_a_source_that_is_not_to_reconnect() -> None:
    camera = made(camera_of(Script(2, DisconnectedError("gone"))), retry="never")
    assert refused(camera) == "lost 'rtsp://***@hall/x': gone; retry=reconnect would wait for it"


def test_patience_may_have_an_end() -> None:
    camera = made(camera_of(Script(1, DisconnectedError("gone")), DisconnectedError("refused")), give_up_s=0.2)
    assert refused(camera).startswith("gave up 'rtsp://***@hall/x', 0 s without a picture: refused; check the address")


def test_a_fault_in_our_own_code_is_raised_as_it_is() -> None:
    camera = made(camera_of(Script(1, ZeroDivisionError("ours"))))
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
