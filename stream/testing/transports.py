"""The judge of transports: what :mod:`stream.transports.base` promises, as checks that any implementation must pass.

    def make_link() -> Link:
        exchange = Exchange()
        return Link(
            open_outbox=lambda sender: exchange.open_outbox("people", sender),
            open_inbox=lambda leaky, max_items: exchange.open_inbox("people", leaky=leaky, max_items=max_items),
        )

    check_transport(make_link)

Both ends are driven from one thread, so an implementation must do with being called now and then. To *restart* an end,
the judge closes it and opens it anew under the same name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from stream.errors import TransportError
from stream.messages import EOS_SEQ, Key
from stream.transports.base import Delivery, Inbox, Leaky, LinkStatistics, Outbox


@dataclass(frozen=True)
class Link:
    """How to open the ends of one link; ``open_outbox`` takes the sender's name, which outlives restarts."""

    open_outbox: Callable[[str], Outbox]
    open_inbox: Callable[[Leaky, int], Inbox]


MakeLink = Callable[[], Link]


def check_transport(make_link: MakeLink, patience_s: float = 20.0) -> None:
    """Judge a transport; ``make_link`` gives a fresh link each time it is called.

    ``patience_s`` is how long anything that must happen may take. Raises ``AssertionError`` naming the broken promise.
    """
    for check in CHECKS:
        with _Bench(make_link(), patience_s) as bench:
            check(bench)


@dataclass
class _Bench:
    """A link on trial: its open ends, and what they have said."""

    link: Link
    patience_s: float
    senders: dict[str, Outbox] = field(default_factory=dict)
    inbox: Inbox | None = None
    received: list[Delivery] = field(default_factory=list)
    acknowledged: dict[str, list[Key]] = field(default_factory=dict)

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *_error: object) -> None:
        for end in [*self.senders.values(), self.inbox]:
            if end is not None:
                end.close()

    def start_sender(self, sender: str = "track") -> Outbox:
        if sender in self.senders:
            self.senders[sender].close()
        self.senders[sender] = self.link.open_outbox(sender)
        self.acknowledged.setdefault(sender, [])
        return self.senders[sender]

    def start_receiver(self, leaky: Leaky = "no", max_items: int = 1) -> Inbox:
        if self.inbox is not None:
            self.inbox.close()
        self.inbox = self.link.open_inbox(leaky, max_items)
        return self.inbox

    def forget(self) -> None:
        """Leave the ends as they are."""
        self.senders, self.inbox = {}, None

    def start(self) -> tuple[Outbox, Inbox]:
        return self.start_sender(), self.start_receiver()

    def turn(self, max_items: int = 100) -> None:
        """Let every sender and the receiver work once."""
        for sender, outbox in self.senders.items():
            self.acknowledged[sender] += outbox.take_acknowledged(1)
        if self.inbox is not None:
            self.received += self.inbox.receive(max_items, 1)

    def until(self, happened: Callable[[], bool], promise: str, max_items: int = 100) -> None:
        """Let all work until the condition holds. Raises ``AssertionError`` where it does not."""
        deadline = time.monotonic() + self.patience_s
        while not happened():
            assert time.monotonic() < deadline, f"{promise}; {self._situation()}"
            self.turn(max_items)

    def receive(self, keys: list[Key], promise: str) -> None:
        """Expect exactly these items, in this order, and no other for a while."""
        self.until(lambda: len(self.received) >= len(keys), promise)
        self.settle()
        got, self.received = [one.key for one in self.received], []
        assert got == keys, f"{promise}: expected {keys}, got {got}"

    def expect_acknowledged(self, keys: list[Key], promise: str, sender: str = "track") -> None:
        """Expect exactly these acknowledgements, in any order, and no other for a while."""
        self.until(lambda: len(self.acknowledged[sender]) >= len(keys), promise)
        self.settle()
        got, self.acknowledged[sender] = sorted(self.acknowledged[sender]), []
        assert got == sorted(keys), f"{promise}: expected {sorted(keys)}, got {got}"

    def take_in(self, items: int, promise: str) -> None:
        """Let so many items arrive without handing any out."""
        assert self.inbox is not None
        inbox = self.inbox
        self.until(lambda: inbox.statistics().items >= items, promise, max_items=0)

    def settle(self) -> None:
        """Give what must not happen the time to happen: a few turns, which any local transport needs for a hop."""
        for _ in range(10):
            self.turn()

    def _situation(self) -> str:
        said = {sender: outbox.statistics() for sender, outbox in self.senders.items()}
        return f"received {[one.key for one in self.received]}, acknowledged {self.acknowledged}, {said}"


def _keys(camera: str, *seqs: int) -> list[Key]:
    return [(camera, seq) for seq in seqs]


def _send(outbox: Outbox, *keys: Key) -> None:
    for key in keys:
        outbox.send(key, [f"{key}".encode(), memoryview(bytes(1000))])


@contextmanager
def _refused(promise: str) -> Iterator[None]:
    try:
        yield
    except TransportError:
        return
    raise AssertionError(promise)


# -- the checks -------------------------------------------------------------------------------------------------------


def _items_arrive_whole_and_in_order(bench: _Bench) -> None:
    outbox, _ = bench.start()
    keys = [key for seq in range(20) for key in (("hall", seq), ("door", 3 * seq))]
    _send(outbox, *keys, ("hall", EOS_SEQ))
    bench.until(lambda: len(bench.received) >= 41, "every item arrives")
    first = bench.received[0]
    assert [bytes(one) for one in first.buffers] == [b"('hall', 0)", bytes(1000)], "items arrive with their very bytes"
    assert abs(first.arrived_ns - time.time_ns()) < 3600e9, "arrived_ns is the wall clock in ns"
    bench.receive([*keys, ("hall", EOS_SEQ)], "items arrive in order, each once, the end of stream last")


def _items_sent_before_the_receiver_exists_arrive(bench: _Bench) -> None:
    _send(bench.start_sender(), *_keys("hall", *range(50)))
    bench.settle()
    bench.start_receiver()
    bench.receive(_keys("hall", *range(50)), "items wait for a receiver that does not exist yet")


def _at_most_max_items_are_handed_out(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, *_keys("hall", 0, 1, 2, 3))
    bench.take_in(4, "items arrive")
    got = [[one.key for one in inbox.receive(count, 1)] for count in (0, 1, 2, 9, 9)]
    expected = [[], _keys("hall", 0), _keys("hall", 1, 2), _keys("hall", 3), []]
    assert got == expected, f"receive(max_items) gives at most so many: expected {expected}, got {got}"


def _only_finished_items_are_acknowledged(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, *_keys("hall", 0, 1, 2, 3))
    bench.receive(_keys("hall", 0, 1, 2, 3), "items arrive")
    bench.expect_acknowledged([], "no item is acknowledged before it is finished")
    for seq in (2, 0, 0):
        inbox.acknowledge(("hall", seq))
    bench.expect_acknowledged(_keys("hall", 0, 2), "finished items are acknowledged, in any order, once")


def _senders_receive_acknowledgements_of_their_own_items(bench: _Bench) -> None:
    inbox = bench.start_receiver()
    _send(bench.start_sender("one"), *_keys("hall", 0, 1))
    _send(bench.start_sender("two"), *_keys("door", 0, 1))
    bench.until(lambda: len(bench.received) == 4, "several senders reach one receiver")
    for delivery in bench.received:
        inbox.acknowledge(delivery.key)
    bench.expect_acknowledged(_keys("hall", 0, 1), "a sender receives the acknowledgements of its own items", "one")
    bench.expect_acknowledged(_keys("door", 0, 1), "a sender receives the acknowledgements of its own items", "two")


def _a_restarted_receiver_gets_unfinished_items(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, *_keys("hall", *range(6)))
    bench.receive(_keys("hall", *range(6)), "items arrive")
    for seq in (0, 1, 3):
        inbox.acknowledge(("hall", seq))
    bench.expect_acknowledged(_keys("hall", 0, 1, 3), "finished items are acknowledged")
    bench.start_receiver()
    _send(outbox, *_keys("hall", 6))
    bench.receive(_keys("hall", 2, 4, 5, 6), "a restarted receiver gets, in order, what was not done, and what is new")


def _items_sent_while_the_receiver_is_away_arrive(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, ("hall", 0))
    bench.receive(_keys("hall", 0), "items arrive")
    inbox.close()
    bench.inbox = None
    _send(outbox, *_keys("hall", *range(1, 30)))
    bench.settle()
    bench.start_receiver()
    bench.receive(
        _keys("hall", *range(30)), "what was sent while the receiver was away arrives, after what it had open"
    )


def _items_of_a_restarted_sender_are_delivered_once(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, *_keys("hall", *range(6)))
    bench.receive(_keys("hall", *range(6)), "items arrive")
    for seq in (0, 1):
        inbox.acknowledge(("hall", seq))
    bench.expect_acknowledged(_keys("hall", 0, 1), "finished items are acknowledged")
    _send(bench.start_sender(), *_keys("hall", *range(1, 9)))
    bench.receive(_keys("hall", 6, 7, 8), "a receiver is given each item once, however often its sender is restarted")
    bench.expect_acknowledged(_keys("hall", 1), "a restarted sender receives the acknowledgements of finished items")
    for seq in range(2, 9):
        inbox.acknowledge(("hall", seq))
    bench.expect_acknowledged(
        _keys("hall", *range(2, 9)), "a restarted sender receives the acknowledgements of earlier items"
    )


def _a_restart_of_both_loses_nothing(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, *_keys("hall", 0, 1, 2))
    bench.receive(_keys("hall", 0, 1, 2), "items arrive")
    inbox.acknowledge(("hall", 0))
    bench.expect_acknowledged(_keys("hall", 0), "finished items are acknowledged")
    _send(bench.start_sender(), *_keys("hall", 1, 2, 3))
    bench.start_receiver()
    bench.receive(_keys("hall", 1, 2, 3), "when both ends are restarted, what is sent again arrives")


def _leaky_downstream_keeps_the_newest(bench: _Bench) -> None:
    outbox, inbox = bench.start_sender(), bench.start_receiver("downstream", 2)
    _send(outbox, *_keys("hall", *range(6)), *_keys("door", 0), ("hall", EOS_SEQ))
    bench.take_in(8, "items arrive")
    dropped = inbox.take_dropped()
    assert dropped == _keys("hall", 0, 1, 2, 3), f"leaky=downstream drops the oldest of a camera, dropped {dropped}"
    assert not inbox.take_dropped(), "a dropped item is reported once"
    kept = [*_keys("hall", 4, 5), ("door", 0), ("hall", EOS_SEQ)]
    bench.receive(kept, "leaky=downstream keeps max_items of each camera, the newest, and every end of stream")
    bench.expect_acknowledged(_keys("hall", 0, 1, 2, 3), "a dropped item is acknowledged")
    assert inbox.statistics().dropped == 4, f"drops are counted: 4, not {inbox.statistics().dropped}"


def _leaky_upstream_refuses_the_newest(bench: _Bench) -> None:
    outbox, inbox = bench.start_sender(), bench.start_receiver("upstream", 2)
    _send(outbox, *_keys("hall", *range(6)), ("hall", EOS_SEQ))
    bench.take_in(7, "items arrive")
    dropped = inbox.take_dropped()
    assert dropped == _keys("hall", 2, 3, 4, 5), f"leaky=upstream refuses the newest of a camera, dropped {dropped}"
    bench.receive([*_keys("hall", 0, 1), ("hall", EOS_SEQ)], "leaky=upstream keeps what waits, and the end of stream")
    bench.expect_acknowledged(_keys("hall", 2, 3, 4, 5), "a refused item is acknowledged")


def _dropped_items_are_not_sent_again(bench: _Bench) -> None:
    outbox, inbox = bench.start_sender(), bench.start_receiver("downstream", 1)
    _send(outbox, *_keys("hall", *range(4)))
    bench.take_in(4, "items arrive")
    bench.expect_acknowledged(_keys("hall", 0, 1, 2), "a dropped item is acknowledged")
    assert len(inbox.take_dropped()) == 3, "a dropped item is reported"
    bench.received.clear()
    bench.start_receiver("downstream", 1)
    bench.receive(_keys("hall", 3), "what was dropped is not sent again to a restarted receiver")


def _a_link_that_is_not_leaky_drops_nothing(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, *_keys("hall", *range(300)))
    bench.take_in(300, "items arrive")
    bench.receive(_keys("hall", *range(300)), "leaky=no drops nothing, whatever max_items is")
    assert not inbox.take_dropped(), "leaky=no drops nothing"


def _statistics_are_exact(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, *_keys("hall", 0, 1, 2))
    bench.take_in(3, "items arrive")
    bench.received += inbox.receive(1)
    _expect(inbox, LinkStatistics(items=3, waiting=2, unacknowledged=3))
    _expect(outbox, LinkStatistics(items=3, unacknowledged=3))
    inbox.acknowledge(("hall", 0))
    bench.until(lambda: bench.acknowledged["track"] == [("hall", 0)], "finished items are acknowledged", max_items=0)
    _expect(inbox, LinkStatistics(items=3, waiting=2, unacknowledged=2))
    _expect(outbox, LinkStatistics(items=3, unacknowledged=2))
    inbox = bench.start_receiver()
    bench.take_in(2, "a restarted receiver gets what was not done")
    _expect(outbox, LinkStatistics(items=3, unacknowledged=2, resent=2))
    _send(bench.start_sender(), *_keys("hall", 1, 2, 3))
    bench.take_in(3, "items of a restarted sender arrive")
    _expect(inbox, LinkStatistics(items=3, waiting=3, unacknowledged=3, duplicates=2))


def _expect(end: Inbox | Outbox, expected: LinkStatistics) -> None:
    assert end.statistics() == expected, f"statistics are exact: expected {expected}, got {end.statistics()}"


def _items_out_of_order_are_refused(bench: _Bench) -> None:
    outbox, _ = bench.start()
    _send(outbox, ("hall", 5))
    for seq in (5, 4):
        with _refused(f"an item whose seq does not rise is refused: {seq} after 5"):
            _send(outbox, ("hall", seq))
    bench.receive(_keys("hall", 5), "a refused item is not sent")


def _close_is_idempotent(bench: _Bench) -> None:
    outbox, inbox = bench.start()
    _send(outbox, ("hall", 0))
    for end in (outbox, inbox, outbox, inbox):
        try:
            end.close()
        except Exception as error:
            bench.forget()
            raise AssertionError(f"close is idempotent, but raised {error!r}") from error


CHECKS: tuple[Callable[[_Bench], None], ...] = (
    _items_arrive_whole_and_in_order,
    _items_sent_before_the_receiver_exists_arrive,
    _at_most_max_items_are_handed_out,
    _only_finished_items_are_acknowledged,
    _senders_receive_acknowledgements_of_their_own_items,
    _a_restarted_receiver_gets_unfinished_items,
    _items_sent_while_the_receiver_is_away_arrive,
    _items_of_a_restarted_sender_are_delivered_once,
    _a_restart_of_both_loses_nothing,
    _leaky_downstream_keeps_the_newest,
    _leaky_upstream_refuses_the_newest,
    _dropped_items_are_not_sent_again,
    _a_link_that_is_not_leaky_drops_nothing,
    _statistics_are_exact,
    _items_out_of_order_are_refused,
    _close_is_idempotent,
)
"""All checks, each a function of the bench."""
