"""The heartbeat of a part, on a clock that moves as long as its subscriber waits."""

from __future__ import annotations

import logging

import pytest

from stream.runtime import bus
from stream.runtime.heartbeat import BusHandler, Heartbeat
from tests.stream.runtime.bench import Clock


class Ends:
    """Both sockets of a heartbeat: what was sent and when, and what is to be received at which time."""

    def __init__(self, clock: Clock) -> None:
        self.sent: list[tuple[float, bus.AnyNotice]] = []
        self.targets: list[tuple[float, bytes]] = []
        self.closed = 0
        self._clock = clock

    def send(self, notice: bytes) -> bool:
        decoded = bus.decode(notice)
        assert decoded is not None
        self.sent.append((self._clock.now_s, decoded))
        return True

    def receive(self, max_notices: int = 1000, timeout_ms: int = 0) -> list[bytes]:
        self._clock.now_s += timeout_ms / 1000
        due = [data for at_s, data in self.targets if at_s <= self._clock.now_s]
        self.targets = [(at_s, data) for at_s, data in self.targets if at_s > self._clock.now_s]
        return due

    def close(self) -> None:
        self.closed += 1

    def stats(self) -> list[tuple[float, bus.Stats]]:
        return [(round(at_s, 3), notice) for at_s, notice in self.sent if isinstance(notice, bus.Stats)]


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def ends(clock: Clock) -> Ends:
    return Ends(clock)


@pytest.fixture
def heartbeat(clock: Clock, ends: Ends) -> Heartbeat:
    return Heartbeat("detect", bus.Target(state="PAUSED"), ends, ends, now_s=clock)


def test_it_beats_every_half_second(heartbeat: Heartbeat, ends: Ends) -> None:
    for _ in range(4):
        heartbeat.beat()
    assert [at_s for at_s, _ in ends.stats()] == pytest.approx([0.0, 0.5, 1.0, 1.5], abs=0.01)
    assert {stats.part for _, stats in ends.stats()} == {"detect"}


def test_it_says_that_a_long_step_goes_on_until_the_loop_turns(heartbeat: Heartbeat, ends: Ends) -> None:
    heartbeat.beat()
    heartbeat.beat()
    heartbeat.progress()
    heartbeat.beat()
    heartbeat.beat()
    heartbeat.turned()
    heartbeat.beat()
    assert [stats.idle_ms for _, stats in ends.stats()] == pytest.approx([0, 500, 0, 500, 0])
    assert [stats.in_long_step for _, stats in ends.stats()] == [False, False, True, True, False]


def test_it_says_how_long_ago_the_loop_turned(heartbeat: Heartbeat, ends: Ends, clock: Clock) -> None:
    heartbeat.beat()
    heartbeat.beat()
    heartbeat.turned()
    heartbeat.beat()
    assert [stats.idle_ms for _, stats in ends.stats()] == pytest.approx([0.0, 500.0, 0.0])


def test_it_sends_statistics_and_drops_and_after_the_loop_the_last_statistics(heartbeat: Heartbeat, ends: Ends) -> None:
    drops = [[bus.Qos(camera="hall", reason="late", dropped=2)]]
    items = iter((1, 2, 3))
    with heartbeat.reporting(lambda: bus.Stats(part="detect", items=next(items)), lambda: drops.pop() if drops else []):
        heartbeat.beat()
        heartbeat.beat()
    heartbeat.beat()
    assert [stats.items for _, stats in ends.stats()] == [1, 2, 3]
    assert ends.sent[0][1] == bus.Qos(part="detect", camera="hall", reason="late", dropped=2)


def test_its_target_is_the_last_one_it_received(heartbeat: Heartbeat, ends: Ends) -> None:
    playing, ending = bus.Target(state="PLAYING"), bus.Target(state="PLAYING", ending=True)
    ends.targets = [(0.2, bus.encode(playing)), (0.3, b"noise"), (0.7, bus.encode(ending))]
    seen = [heartbeat.target]
    for _ in range(2):
        heartbeat.beat()
        seen.append(heartbeat.target)
    assert seen == [bus.Target(state="PAUSED"), playing, ending]


def test_its_target_is_null_when_the_run_has_ended(clock: Clock, ends: Ends) -> None:
    heartbeat = Heartbeat(
        "detect", bus.Target(state="PLAYING"), ends, ends, has_run_ended=lambda: clock.now_s >= 1.0, now_s=clock
    )
    states = []
    for _ in range(2):
        heartbeat.beat()
        states.append(heartbeat.target.state)
    assert states == ["PLAYING", "NULL"]


def test_closing_it_beats_once_more_and_then_nothing_is_sent(heartbeat: Heartbeat, ends: Ends) -> None:
    heartbeat.close()
    heartbeat.close()
    heartbeat.post(bus.Eos(part="detect", camera="hall"))
    assert (len(ends.sent), ends.closed) == (1, 2)  # one report; both sockets


def test_what_elements_log_from_warning_on_is_posted() -> None:
    posted: list[bus.AnyNotice] = []
    logger = logging.Logger("mine.blur", logging.DEBUG)
    logger.addHandler(BusHandler("detect", posted.append))
    logger.info("all is well")
    logger.warning("%s is hot", "it")
    logger.error("it burns")
    assert posted == [
        bus.Warning_(part="detect", text="it is hot", logger="mine.blur"),
        bus.Error(part="detect", element="mine.blur", text="it burns"),
    ]
