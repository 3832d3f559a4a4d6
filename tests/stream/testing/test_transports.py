"""The conformance test of transports fails for each fault that it is to detect."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from stream.errors import TransportError
from stream.messages import Key
from stream.testing.transports import CHECKS, Link, check_transport
from stream.transports.base import Buffers, Delivery, LinkStatistics
from stream.transports.endpoint import HopInbox
from stream.transports.in_process import Exchange

# A judge that waits in vain waits this long; nothing that a sound transport does is measured by it.
PATIENCE_S = 0.5


@pytest.fixture(autouse=True)
def _greet_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts are noticed sooner, so that forty trials take seconds."""
    monkeypatch.setattr("stream.transports.endpoint.PING_MS", 10)


class _End:
    """A sound end, to be spoilt by a subclass."""

    def __init__(self, end: Any) -> None:
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._end, name)


class LosesEveryTenth(_End):
    def send(self, key: Key, buffers: Buffers) -> None:
        if key[1] % 10 != 9:
            self._end.send(key, buffers)


class ChangesBytes(_End):
    def send(self, key: Key, buffers: Buffers) -> None:
        self._end.send(key, [*buffers[:1], bytes(len(buffers[1]) - 1)])


class NeverSendsAgain(_End):
    def take_acknowledged(self, timeout_ms: int = 0) -> list[Key]:
        if self._end._sender._epoch:
            self._end._sender._start_session = lambda: None
        return list(self._end.take_acknowledged(timeout_ms))


class HearsTwice(_End):
    def take_acknowledged(self, timeout_ms: int = 0) -> list[Key]:
        return [key for key in self._end.take_acknowledged(timeout_ms) for _ in range(2)]


class AcceptsAnyOrder(_End):
    def send(self, key: Key, buffers: Buffers) -> None:
        try:
            self._end.send(key, buffers)
        except TransportError:
            return


class ClosesOnce(_End):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise OSError("closed already")
        self.closed = True
        self._end.close()


class CountsResentAsItems(_End):
    def statistics(self) -> LinkStatistics:
        said = self._end.statistics()
        return dataclasses.replace(said, items=said.items + said.resent)


class SwapsNeighbours(_End):
    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        return list(reversed(self._end.receive(max_items, timeout_ms)))


class GivesTwice(_End):
    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        return [one for one in self._end.receive(max_items, timeout_ms) for _ in range(2)]


class GivesTooMany(_End):
    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        return list(self._end.receive(max_items and max_items + 1, timeout_ms))


class AcknowledgesOnReceipt(_End):
    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        got = self._end.receive(max_items, timeout_ms)
        for one in got:
            self._end.acknowledge(one.key)
        return list(got)


class NeverAcknowledges(_End):
    def acknowledge(self, key: Key) -> None:
        return


class TakesEverythingAgain(_End):
    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        got = self._end.receive(max_items, timeout_ms)
        self._end._receiver._last.clear()
        return list(got)


class HidesDrops(_End):
    def take_dropped(self) -> list[Key]:
        self._end.take_dropped()
        return []


class ReportsDropsForEver(_End):
    def __init__(self, end: HopInbox) -> None:
        super().__init__(end)
        self._all: list[Key] = []

    def take_dropped(self) -> list[Key]:
        self._all += self._end.take_dropped()
        return self._all


class CountsNoDrops(_End):
    def statistics(self) -> LinkStatistics:
        return dataclasses.replace(self._end.statistics(), dropped=0)


class ForgetsToCountDuplicates(_End):
    def statistics(self) -> LinkStatistics:
        return dataclasses.replace(self._end.statistics(), duplicates=0)


def _sound(end: Any) -> Any:
    return end


def make(outbox: Callable[[Any], Any] = _sound, inbox: Callable[[Any], Any] = _sound) -> Callable[[], Link]:
    def make_link() -> Link:
        exchange = Exchange()
        return Link(
            lambda sender: outbox(exchange.open_outbox("people", sender)),
            lambda leaky, max_items: inbox(exchange.open_inbox("people", leaky=leaky, max_items=max_items)),
        )

    return make_link


@pytest.mark.parametrize(
    ("outbox", "words"),
    [
        (LosesEveryTenth, "every item arrives"),
        (ChangesBytes, "items arrive with their very bytes"),
        (NeverSendsAgain, "a restarted receiver gets, in order, what was not done"),
        (HearsTwice, "finished items are acknowledged, in any order, once"),
        (AcceptsAnyOrder, "an item whose seq does not rise is refused"),
        (ClosesOnce, "close is idempotent, but raised OSError"),
        (CountsResentAsItems, "statistics are exact"),
    ],
)
def test_a_broken_outbox_is_caught(outbox: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_transport(make(outbox=outbox), PATIENCE_S)


@pytest.mark.parametrize(
    ("inbox", "words"),
    [
        (SwapsNeighbours, "items arrive in order|items arrive with their very bytes"),
        (GivesTwice, "items arrive in order, each once"),
        (GivesTooMany, "gives at most so many"),
        (AcknowledgesOnReceipt, "no item is acknowledged before it is finished"),
        (NeverAcknowledges, "finished items are acknowledged"),
        (TakesEverythingAgain, "given each item once, however often its sender is restarted"),
        (HidesDrops, "drops the oldest of a camera, dropped \\[\\]"),
        (ReportsDropsForEver, "a dropped item is reported once"),
        (CountsNoDrops, "drops are counted: 4, not 0"),
        (ForgetsToCountDuplicates, "statistics are exact"),
    ],
)
def test_a_broken_inbox_is_caught(inbox: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_transport(make(inbox=inbox), PATIENCE_S)


@pytest.mark.parametrize(
    ("leaky", "taken_for"), [("upstream", "downstream"), ("downstream", "upstream"), ("no", "downstream")]
)
def test_a_queue_that_leaks_at_the_wrong_end_is_caught(leaky: Any, taken_for: Any) -> None:
    def make_link() -> Link:
        exchange = Exchange()
        wrong = {leaky: taken_for}
        return Link(
            lambda sender: exchange.open_outbox("people", sender),
            lambda asked, count: exchange.open_inbox("people", leaky=wrong.get(asked, asked), max_items=count),
        )

    with pytest.raises(AssertionError, match=f"leaky={leaky}|every item arrives|items arrive"):
        check_transport(make_link, PATIENCE_S)


def test_every_promise_has_a_name_that_says_it() -> None:
    assert len(CHECKS) == len({check.__name__ for check in CHECKS}) >= 15
