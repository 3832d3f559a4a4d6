"""A part at work between links in memory: what goes in, what comes out, what is dropped and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from stream.caps import ANY, Caps
from stream.element import Transform
from stream.errors import PartError
from stream.messages import EOS_SEQ, Eos, Frame
from stream.runtime import bus
from stream.runtime.inputs import InboxInput
from stream.testing import make_frame
from tests.stream.runtime.bench import CAMERA, Bench, Memory, Takes, Twice, advance, send


@pytest.fixture
def bench() -> Bench:
    return Bench()


def has_taken(sink: Takes, seqs: list[int]) -> bool:
    return sink.taken == seqs


def test_what_is_consumed_is_acknowledged_and_the_end_flushes_the_sink(bench: Bench) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in")
    outbox, taking = bench.outbox(), InboxInput(runner, None)
    send(outbox, make_frame(0), make_frame(1), Eos(CAMERA))
    advance(taking, outbox, lambda: runner.is_finished)
    assert (sink.taken, sink.flushed) == ([0, 1], 1)
    assert bench.done == [(CAMERA, 0), (CAMERA, 1), (CAMERA, EOS_SEQ)]
    assert bench.posted == [bus.Eos(part="part", camera=CAMERA)]


def test_a_sink_of_two_cameras_is_flushed_when_both_have_ended(bench: Bench) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in", cameras=("hall", "yard"))
    outbox, taking = bench.outbox(), InboxInput(runner, None)
    send(outbox, Eos("hall"))
    advance(taking, outbox, lambda: ("hall", EOS_SEQ) in bench.done)
    assert (sink.flushed, runner.is_finished) == (0, False)
    send(outbox, Eos("yard"))
    advance(taking, outbox, lambda: runner.is_finished)
    assert sink.flushed == 1


def test_an_item_is_not_consumed_again_after_a_restart(bench: Bench) -> None:
    memory = Memory()
    outbox = bench.outbox()
    for start, expected in enumerate(([0, 1], [2])):
        sink = Takes()
        runner = bench.part_runner(sink, inbox="in", memory=memory)
        taking = InboxInput(runner, None)
        send(outbox, *([make_frame(0), make_frame(1)] if start == 0 else [make_frame(2), Eos(CAMERA)]))
        advance(taking, outbox, partial(has_taken, sink, expected))
        if start == 0:
            memory |= {"delivered cam": 1, "finished cam": -1, "released cam": -1}  # killed before it could acknowledge
            assert runner.links.inbox is not None
            runner.links.inbox.close()
    assert memory["delivered cam"] == 2


def test_what_was_lost_is_repeated_after_a_restart(
    bench: Bench,
) -> None:
    memory = Memory()
    runner = bench.part_runner(Takes(), inbox="in", memory=memory)
    outbox, taking = bench.outbox(), InboxInput(runner, None)
    outbox.send((CAMERA, 0), [b"no message"])
    advance(taking, outbox, lambda: bench.done == [(CAMERA, 0)])  # and killed before its next heartbeat
    assert runner.links.inbox is not None
    runner.links.inbox.close()
    restarted = bench.part_runner(Takes(), inbox="in", memory=memory)
    assert restarted.tally.take() == [bus.Qos(camera=CAMERA, reason="malformed", dropped=0, total=1)]
    assert restarted.tally.take() == []


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
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="failed", dropped=5, total=5)]
