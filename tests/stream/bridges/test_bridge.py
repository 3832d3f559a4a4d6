"""The loop of a bridge, its rate limit and its buffer, between a subscriber and an outlet that are played."""

from __future__ import annotations

from collections import deque

import pytest

from engines.url import Url
from stream.bridges.bridge import Bridge
from stream.bridges.outlet import Outlet
from stream.bridges.rate_limit import RateLimit
from stream.errors import TransportError
from stream.protocol.pose_message import PoseMessage
from tests.stream.bridges.frames import make_message


class Played:
    """Delivers messages, then has finished."""

    def __init__(self, *messages: PoseMessage) -> None:
        self.messages = deque(messages)

    @property
    def finished(self) -> bool:
        return not self.messages

    def poll(self, _timeout_s: float) -> PoseMessage:
        return self.messages.popleft()


class Broker(Outlet):
    """Takes messages except in the polls that ``away`` names."""

    def __init__(self, away: range = range(0)) -> None:
        self.away, self.polls = away, 0
        self.taken: list[int] = []

    def send(self, message: PoseMessage) -> bool:
        self.polls += 1
        if self.trouble:
            return False
        self.taken.append(message.seq)
        return True

    @property
    def trouble(self) -> str:
        return "gone" if self.polls in self.away else ""

    def close(self) -> None:
        pass


def pass_on(outlet: Outlet, *messages: PoseMessage, max_waiting: int = 3) -> tuple[Bridge, list[str]]:
    lines: list[str] = []
    to = Url("mqtt://me:geheim@broker/poses")
    bridge = Bridge(
        Played(*messages),  # type: ignore[arg-type]
        outlet,
        to,
        limit=RateLimit(None),
        max_waiting=max_waiting,
        report=lines.append,
    )
    bridge.run(lambda: False)
    return bridge, lines


def test_everything_passes_in_order_but_what_was_kept_from_before() -> None:
    broker = Broker()
    bridge, lines = pass_on(broker, make_message(4, retained=True), make_message(5), make_message(6))
    assert (broker.taken, lines, dict(bridge.sent), bridge.undelivered) == ([5, 6], [], {"hall": 2}, 0)


def test_what_a_snapshot_has_after_a_reconnection_passes() -> None:
    broker = Broker()
    pass_on(broker, make_message(4, retained=True), make_message(5), make_message(9, retained=True))
    assert broker.taken == [5, 9]


def test_an_absence_is_reported_once_with_what_it_cost_and_costs_the_oldest() -> None:
    broker = Broker(away=range(2, 8))
    bridge, lines = pass_on(broker, *map(make_message, range(9)))
    # 0 passes; 1 to 6 are refused while three may wait, and 7 takes the place of 4 before the broker is back.
    assert broker.taken == [0, 5, 6, 7, 8]
    assert dict(bridge.dropped) == {"hall": 4}
    assert lines[0] == "mqtt://***@broker/poses takes nothing: gone; 3 messages wait for it, older ones are dropped"
    assert lines[1].startswith("mqtt://***@broker/poses is back after ")
    assert lines[1].endswith(" s; 4 messages dropped")
    assert len(lines) == 2


def test_where_nothing_waits_for_the_other_side_no_waiting_is_promised() -> None:
    class Refuser(Broker):
        keeps = False

    _, lines = pass_on(Refuser(away=range(1, 99)), make_message(0))
    assert lines == ["mqtt://***@broker/poses takes nothing: gone; what it refuses is lost"]


def test_what_waits_at_the_end_is_undelivered() -> None:
    bridge, _ = pass_on(Broker(away=range(99)), *map(make_message, range(5)))
    assert bridge.undelivered == 5


def test_a_rate_limit_passes_the_newest_of_each_camera_at_its_turn() -> None:
    limit = RateLimit(5)
    passed = []
    for tick in range(30):  # a message each 41 ms: every fifth has its turn
        for camera in ("hall", "yard"):
            passed += limit.offer(make_message(tick, camera), tick * 0.041)
    hall = [message.seq for message in passed if message.camera == "hall"]
    assert hall == [message.seq for message in passed if message.camera == "yard"] == [0, 5, 10, 15, 20, 25]
    assert [message.seq for message in limit.flush()] == [29, 29]
    assert limit.thinned == 2 * 30 - 2 * 7


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "mqtt",
            "'mqtt' is no address of a bridge; write one that begins with mqtt://, mqtts://, kafka://, osc://, ws://",
        ),
        ("http://a", "'http://a' is no address of a bridge; write one that begins with "),
        ("osc://", "osc:// has no host; write osc://HOST:9000"),
        ("mqtt://me:geheim@:1", "mqtt://***@:1 has no host; write mqtt://HOST:1883"),
        (
            "mqtt://me:geheim@h:99999",
            "mqtt://***@h:99999 has no valid port; write a number from 1 to 65535 after the host",
        ),
        (
            "ws://0.0.0.0:80",
            "ws://0.0.0.0:80 is open to other hosts; use ws://127.0.0.1:80 behind a proxy that has TLS",
        ),
        ("osc://no.such.host.invalid", "osc://no.such.host.invalid: the host is unknown: "),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(address: str, message: str) -> None:
    from stream.bridges.opening import open_outlet

    with pytest.raises(TransportError) as caught:
        open_outlet(Url(address))
    assert str(caught.value).startswith(message)
