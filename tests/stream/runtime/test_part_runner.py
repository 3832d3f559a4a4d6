"""A part at work between links in memory: what goes in, what comes out, what is dropped and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from stream.caps import ANY, Caps
from stream.element import Element, Sink, Source, Transform
from stream.errors import PartError, TransportError
from stream.messages import EOS_SEQ, Eos, Frame, Key
from stream.runtime import bus
from stream.runtime.endpoints import Links
from stream.runtime.inputs import InboxInput, SourceInput
from stream.runtime.part_runner import PartRunner
from stream.testing import make_frame
from stream.transports.endpoint import HopOutbox
from stream.transports.in_process import Exchange
from stream.transports.wire import pack

CAMERA = "cam"


@dataclass
class Gives(Source):
    src = Caps("video/raw")
    num_frames: int = 3
    is_live: bool = False
    camera: str = CAMERA

    @property
    def live(self) -> bool:
        return self.is_live

    def frames(self) -> Iterator[Frame | None]:
        for seq in range(self.num_frames):
            yield make_frame(seq, self.camera)


@dataclass
class Takes(Sink):
    sink = Caps(ANY)
    taken: list[int] = field(default_factory=list)
    flushed: int = 0

    def consume(self, item: Any) -> None:
        self.taken.append(item.key[1])

    def flush(self) -> None:
        self.flushed += 1


@dataclass
class Twice(Transform):
    sink = src = Caps(ANY)

    def process(self, item: Frame) -> Iterator[Frame]:
        yield item
        yield item


class Bench:
    """Parts on one exchange, stepped by hand."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.posted: list[bus.AnyNotice] = []
        self.done: list[Key] = []

    def part_runner(
        self,
        *elements: Element,
        inbox: str = "",
        outbox: str = "",
        memory: dict[str, int] | None = None,
        cameras: tuple[str, ...] = (CAMERA,),
    ) -> PartRunner:
        links = Links(
            self.exchange.open_inbox(inbox) if inbox else None,
            [self.exchange.open_outbox(outbox, "upstream")] if outbox else [],
            [False] if outbox else [],
        )

        def release(key: Key) -> None:
            self.done.append(key)
            if links.inbox is not None:
                links.inbox.acknowledge(key)

        return PartRunner(
            "part", elements, cameras, links, {} if memory is None else memory, self.posted.append, release
        )

    def outbox(self) -> HopOutbox:
        return self.exchange.open_outbox("in", "tester")


def send(outbox: HopOutbox, *items: Frame | Eos) -> None:
    for item in items:
        outbox.send(item.key, pack(item))


def advance(deliveries: InboxInput, outbox: HopOutbox, until: Callable[[], bool]) -> None:
    """Let both ends of a link work until something is so."""
    for _ in range(100):
        if until():
            return
        outbox.take_acknowledged()
        deliveries.advance("PLAYING")
    raise AssertionError("it never came to that")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_is_consumed_is_acknowledged_and_the_end_flushes_the_sink(bench: Bench) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in")
    outbox, deliveries = bench.outbox(), InboxInput(runner, None)
    send(outbox, make_frame(0), make_frame(1), Eos(CAMERA))
    advance(deliveries, outbox, lambda: runner.is_finished)
    assert (sink.taken, sink.flushed) == ([0, 1], 1)
    assert bench.done == [(CAMERA, 0), (CAMERA, 1), (CAMERA, EOS_SEQ)]
    assert bench.posted == [bus.Eos(part="part", camera=CAMERA)]


def test_a_sink_of_two_cameras_is_flushed_when_both_have_ended(bench: Bench) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in", cameras=("hall", "yard"))
    outbox, deliveries = bench.outbox(), InboxInput(runner, None)
    send(outbox, Eos("hall"))
    advance(deliveries, outbox, lambda: ("hall", EOS_SEQ) in bench.done)
    assert (sink.flushed, runner.is_finished) == (0, False)
    send(outbox, Eos("yard"))
    advance(deliveries, outbox, lambda: runner.is_finished)
    assert sink.flushed == 1


def test_an_item_older_than_the_lateness_allowed_is_dropped_and_done(bench: Bench) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in")
    outbox, deliveries = bench.outbox(), InboxInput(runner, lateness_ms=10_000)
    send(outbox, make_frame(0), replace(make_frame(1), wall_ns=2**62), Eos(CAMERA))
    advance(deliveries, outbox, lambda: runner.is_finished)
    assert sink.taken == [1]
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="late", dropped=1)]


@pytest.mark.parametrize(
    "buffers",
    [[b"no message"], pack(make_frame(7)), pack(Eos("another"))],
    ids=["garbage", "another key", "another camera's end"],
)
def test_what_is_not_the_message_it_says_is_dropped_and_done(bench: Bench, buffers: list[bytes]) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in")
    outbox, deliveries = bench.outbox(), InboxInput(runner, None)
    outbox.send((CAMERA, 0), buffers)
    send(outbox, make_frame(1), Eos(CAMERA))
    advance(deliveries, outbox, lambda: runner.is_finished)
    assert sink.taken == [1]
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="malformed", dropped=1)]


def test_an_item_is_not_consumed_again_in_a_later_life(bench: Bench) -> None:
    memory: dict[str, int] = {}
    outbox = bench.outbox()
    for life, expected in enumerate(([0, 1], [2])):
        sink = Takes()
        runner = bench.part_runner(sink, inbox="in", memory=memory)
        deliveries = InboxInput(runner, None)
        send(outbox, *([make_frame(0), make_frame(1)] if life == 0 else [make_frame(2), Eos(CAMERA)]))
        advance(deliveries, outbox, lambda sink=sink, expected=expected: sink.taken == expected)
        if life == 0:
            memory["delivered cam"], memory["finished cam"] = 1, -1  # killed before it could say so
            assert runner.links.inbox is not None
            runner.links.inbox.close()
    assert memory["delivered cam"] == 2


def test_a_second_item_of_one_frame_is_not_sent_and_warned_of_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    runner = bench.part_runner(Twice(), outbox="out")
    inbox = bench.exchange.open_inbox("out")
    runner.process([make_frame(0), make_frame(1)])
    runner.receive_acknowledgements()
    for _ in range(5):
        inbox.receive()
        runner.receive_acknowledgements()
    assert inbox.statistics().items == 2
    assert caplog.messages == [
        "part gives item 0 of 'cam' twice or late; yield one item for a frame, in order",
        "part gives item 1 of 'cam' twice or late; yield one item for a frame, in order",
    ]


def test_an_element_that_gives_no_messages_is_at_fault(bench: Bench) -> None:
    @dataclass
    class Mute(Transform):
        sink = src = Caps(ANY)

        def process(self, item: Frame) -> Iterator[Frame]:
            yield replace(item, pixels=item.pixels.astype(np.float64))

    runner = bench.part_runner(Mute(), outbox="out")
    with pytest.raises(PartError, match=r"^mute gave 5 bad messages in a row: .* pixels are float64"):
        runner.process([make_frame(seq) for seq in range(9)])
    errors = [notice for notice in bench.posted if isinstance(notice, bus.Error)]
    assert [(error.element, error.seq) for error in errors] == [("mute", seq) for seq in range(5)]
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="failed", dropped=5)]


# -- sources ----------------------------------------------------------------------------------------------------------


def frames_input(
    runner: PartRunner, source: Gives, in_flight: int, memory: dict[str, int], *, is_restart: bool = False
) -> SourceInput:
    taking = SourceInput(source, runner, memory, in_flight, is_restart=is_restart)
    taking.open(ExitStack())
    return taking


def test_a_file_waits_when_as_many_frames_are_in_flight_as_may_be(bench: Bench) -> None:
    source = Gives(num_frames=10)
    runner = bench.part_runner(source, outbox="out")
    taking = frames_input(runner, source, 2, {})
    assert [taking.advance("PLAYING") for _ in range(4)] == [True, True, False, False]
    assert (runner.unfinished, runner.tally.dropped) == (2, 0)


def test_a_camera_drops_new_frames_when_as_many_are_in_flight_as_may_be(bench: Bench) -> None:
    source = Gives(num_frames=10, is_live=True)
    runner = bench.part_runner(source, outbox="out")
    taking = frames_input(runner, source, 2, {})
    assert [taking.advance("PLAYING") for _ in range(5)] == [True] * 5
    assert runner.unfinished == 2
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="no credit", dropped=3)]


def test_an_acknowledgement_from_the_end_is_credit_for_the_next_frame(bench: Bench) -> None:
    source = Gives(num_frames=10)
    runner = bench.part_runner(source, outbox="out")
    inbox = bench.exchange.open_inbox("out")
    taking = frames_input(runner, source, 1, {})
    for seq in range(4):
        while not taking.advance("PLAYING"):
            runner.receive_acknowledgements()
            for delivery in inbox.receive():
                inbox.acknowledge(delivery.key)
        assert runner.unfinished == 1, seq


def test_a_paused_file_holds_and_a_paused_camera_is_read_on(bench: Bench) -> None:
    for is_live in (False, True):
        source = Gives(num_frames=10, is_live=is_live)
        runner = bench.part_runner(source, outbox=f"out{is_live}")
        taking = frames_input(runner, source, 5, {})
        assert taking.advance("PAUSED") is is_live
        assert (runner.unfinished, runner.tally.dropped) == (0, 0)


def test_a_restarted_file_begins_with_the_first_frame_that_was_not_delivered(bench: Bench) -> None:
    memory = {"finished cam": 6}
    source = Gives(num_frames=10)
    runner = bench.part_runner(source, Takes(), memory=memory)
    taking = frames_input(runner, source, 100, memory, is_restart=True)
    while taking.advance("PLAYING"):
        pass
    assert bench.done == [(CAMERA, 7), (CAMERA, 8), (CAMERA, 9), (CAMERA, EOS_SEQ)]
    assert runner.is_finished


def test_a_restarted_camera_goes_on_counting(bench: Bench) -> None:
    memory = {"taken": 41}
    source, sink = Gives(num_frames=3, is_live=True), Takes()
    runner = bench.part_runner(source, sink, memory=memory)
    taking = frames_input(runner, source, 100, memory, is_restart=True)
    while taking.advance("PLAYING"):
        pass
    assert sink.taken == [42, 43, 44]


def test_frames_are_called_after_the_camera_of_their_line(bench: Bench) -> None:
    source = Gives(num_frames=1, camera="something else")
    runner = bench.part_runner(source, Takes())
    taking = frames_input(runner, source, 100, {})
    while taking.advance("PLAYING"):
        pass
    assert bench.done == [(CAMERA, 0), (CAMERA, EOS_SEQ)]


def test_a_part_with_neither_source_nor_inbox_is_refused(bench: Bench) -> None:
    with pytest.raises(TransportError, match="part has neither a source nor an inbox; begin its line with one"):
        InboxInput(bench.part_runner(Takes()), None)
