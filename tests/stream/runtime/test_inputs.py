"""What a part takes in: frames of a source while there is credit, and what an inbox delivers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stream.errors import ShortageError, SourceError, TransportError
from stream.messages import EOS_SEQ, Eos, Frame
from stream.runtime import bus
from stream.runtime.inputs import InboxInput, SourceInput
from stream.runtime.part_runner import PartRunner
from stream.testing import make_frame
from stream.transports import shm_segment
from stream.transports.shm_ring import FrameReader
from stream.transports.wire import FrameRef, pack
from tests.stream.runtime.bench import CAMERA, Bench, Gives, Memory, Takes, advance, send


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- sources ----------------------------------------------------------------------------------------------------------


def frames_input(
    runner: PartRunner, source: Gives, in_flight: int, memory: Memory, *, is_restart: bool = False
) -> SourceInput:
    taking = SourceInput(source, runner, memory, in_flight, is_restart=is_restart)
    taking.open(ExitStack())
    return taking


def test_a_file_waits_when_as_many_frames_are_in_flight_as_may_be(bench: Bench) -> None:
    source = Gives(num_frames=10)
    runner = bench.part_runner(source, outbox="out")
    taking = frames_input(runner, source, 2, Memory())
    assert [taking.advance("PLAYING") for _ in range(4)] == [True, True, False, False]
    assert (runner.unfinished, runner.tally.dropped) == (2, 0)


def test_a_camera_drops_new_frames_when_as_many_are_in_flight_as_may_be(bench: Bench) -> None:
    source = Gives(num_frames=10, is_live=True)
    runner = bench.part_runner(source, outbox="out")
    taking = frames_input(runner, source, 2, Memory())
    assert [taking.advance("PLAYING") for _ in range(5)] == [True] * 5
    assert runner.unfinished == 2
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="no credit", dropped=3, total=3)]


def test_an_acknowledgement_from_the_end_is_credit_for_the_next_frame(bench: Bench) -> None:
    source = Gives(num_frames=10)
    runner = bench.part_runner(source, outbox="out")
    inbox = bench.exchange.open_inbox("out")
    taking = frames_input(runner, source, 1, Memory())
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
        taking = frames_input(runner, source, 5, Memory())
        assert taking.advance("PAUSED") is is_live
        assert (runner.unfinished, runner.tally.dropped) == (0, 0)


def test_a_restarted_file_begins_with_the_first_frame_that_was_not_delivered(bench: Bench) -> None:
    memory = Memory({"finished cam": 6, "released cam": 6})
    source = Gives(num_frames=10)
    runner = bench.part_runner(source, Takes(), memory=memory)
    taking = frames_input(runner, source, 100, memory, is_restart=True)
    while taking.advance("PLAYING"):
        pass
    assert bench.done == [(CAMERA, 7), (CAMERA, 8), (CAMERA, 9), (CAMERA, EOS_SEQ)]
    assert runner.is_finished


def test_a_restarted_camera_goes_on_counting(bench: Bench) -> None:
    memory = Memory({"taken": 41})
    source, sink = Gives(num_frames=3, is_live=True), Takes()
    runner = bench.part_runner(source, sink, memory=memory)
    taking = frames_input(runner, source, 100, memory, is_restart=True)
    while taking.advance("PLAYING"):
        pass
    assert sink.taken == [42, 43, 44]


def test_frames_are_called_after_the_camera_of_their_line(bench: Bench) -> None:
    source = Gives(num_frames=1, camera="something else")
    runner = bench.part_runner(source, Takes())
    taking = frames_input(runner, source, 100, Memory())
    while taking.advance("PLAYING"):
        pass
    assert bench.done == [(CAMERA, 0), (CAMERA, EOS_SEQ)]


def test_a_part_with_neither_source_nor_inbox_is_refused(bench: Bench) -> None:
    with pytest.raises(TransportError, match="part has neither a source nor an inbox; begin its line with one"):
        InboxInput(bench.part_runner(Takes()), None)


class Damaged(Gives):
    """Gives its frames and then fails."""

    def frames(self) -> Iterator[Frame | None]:
        yield from super().frames()
        raise SourceError("clip.mp4 is damaged; copy the file again")


def test_a_damaged_file_ends_its_stream_and_posts_an_error_that_only_the_user_can_correct(bench: Bench) -> None:
    source, sink = Damaged(num_frames=2), Takes()
    runner = bench.part_runner(source, sink)
    taking = frames_input(runner, source, 100, Memory())
    while taking.advance("PLAYING"):
        pass
    assert (sink.taken, runner.is_finished) == ([0, 1], True)
    text = "clip.mp4 is damaged; copy the file again"
    assert bench.posted[0] == bus.Error(part="part", element="damaged", text=text, camera=CAMERA, needs_user=True)


@pytest.mark.parametrize(("states", "is_reported"), [(["PAUSED"] * 4, True), (["PAUSED"] * 2 + ["PLAYING"] * 2, False)])
def test_a_live_stream_that_ends_before_the_line_is_ready_is_an_error(
    bench: Bench, states: list[bus.State], is_reported: bool, caplog: pytest.LogCaptureFixture
) -> None:
    source = Gives(num_frames=3, is_live=True)
    runner = bench.part_runner(source, Takes())
    taking = frames_input(runner, source, 100, Memory())
    for state in states:
        taking.advance(state)
    text = (
        f"the stream of camera {CAMERA!r} ended before all parts of the line were ready, which got none of its frames "
        "(3); begin the stream later, or read a file"
    )
    error = bus.Error(part="part", element="gives", text=text, camera=CAMERA, needs_user=True)
    assert [notice for notice in bench.posted if isinstance(notice, bus.Error)] == ([error] if is_reported else [])
    said = f"2 frames of camera {CAMERA!r} came before all parts of the line were ready"
    assert caplog.messages == ([] if is_reported else [said])


def test_what_came_before_the_line_was_ready_is_counted_over_restarts(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory({"taken": 4, "unused": 13})
    source = Gives(num_frames=3, is_live=True)
    taking = frames_input(bench.part_runner(source, Takes(), memory=memory), source, 100, memory, is_restart=True)
    for state in ("PAUSED", "PAUSED", "PLAYING", "PLAYING"):
        taking.advance(state)
    assert caplog.messages == [f"15 frames of camera {CAMERA!r} came before all parts of the line were ready"]


def test_a_camera_that_fails_ends_its_part(bench: Bench) -> None:
    source = Damaged(num_frames=0, is_live=True)
    taking = frames_input(bench.part_runner(source, Takes()), source, 100, Memory())
    with pytest.raises(SourceError, match="damaged"):
        taking.advance("PLAYING")


# -- inboxes ----------------------------------------------------------------------------------------------------------


def test_items_older_than_the_lateness_allowed_are_dropped_and_done(bench: Bench) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in")
    frames = [make_frame(0), make_frame(1)]
    outbox, taking = bench.outbox(), InboxInput(runner, 10.0, wall_ns=lambda: frames[1].wall_ns + 10_000_000)
    send(outbox, *frames, Eos(CAMERA))
    advance(taking, outbox, lambda: runner.is_finished)
    assert sink.taken == [1]  # exactly 10 ms old, the other one frame older
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="late", dropped=1, total=1)]
    assert (CAMERA, 0) in bench.done


def test_what_waits_is_left_alone_in_the_state_ready(bench: Bench) -> None:
    runner = bench.part_runner(Takes(), inbox="in")
    taking = InboxInput(runner, None)
    outbox = bench.outbox()
    send(outbox, make_frame(0))
    for _ in range(10):
        outbox.take_acknowledged()
        assert not taking.advance("READY")
    assert not taking.can_take
    advance(taking, outbox, lambda: bench.done == [(CAMERA, 0)])


def test_what_a_leaky_inbox_drops_is_counted(bench: Bench) -> None:
    runner = bench.part_runner(Takes())
    runner.links.inbox = bench.exchange.open_inbox("in", leaky="downstream", max_items=1)
    taking = InboxInput(runner, None)
    outbox = bench.outbox()
    send(outbox, *(make_frame(seq) for seq in range(4)))
    advance(taking, outbox, lambda: (CAMERA, 3) in bench.done)
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="leaky", dropped=3, total=3)]


@pytest.mark.parametrize(
    "buffers",
    [[b"no message"], pack(make_frame(7)), pack(Eos("another"))],
    ids=["garbage", "another key", "another camera's end"],
)
def test_what_is_not_the_message_it_says_is_dropped_and_done(
    bench: Bench, buffers: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in")
    outbox, taking = bench.outbox(), InboxInput(runner, None)
    outbox.send((CAMERA, 0), buffers)
    send(outbox, make_frame(1), Eos(CAMERA))
    advance(taking, outbox, lambda: runner.is_finished)
    assert sink.taken == [1]
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="malformed", dropped=1, total=1)]
    (record,) = caplog.records
    assert record.message.startswith(f"frame 0 of camera {CAMERA!r} was dropped (malformed): ")


def test_the_first_frame_of_a_camera_whose_pixels_are_gone_is_named_at_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    runner = bench.part_runner(Takes(), inbox="in")
    runner.links.reader = FrameReader(patience_s=0)
    outbox, taking = bench.outbox(), InboxInput(runner, None)
    gone = FrameRef("posestream-gone-camera-1", 0, 2, (4, 6, 3))
    for seq in range(3):
        outbox.send((CAMERA, seq), pack(make_frame(seq), reference=lambda _frame: gone))
    advance(taking, outbox, lambda: (CAMERA, 2) in bench.done)
    assert runner.tally.take() == [bus.Qos(camera=CAMERA, reason="stale", dropped=3, total=3)]
    path = shm_segment.folder() / gone.ring
    reason = f"shared memory {path} cannot be read: No such file or directory; its owner is gone"
    assert [record.message for record in caplog.records] == [
        f"frame 0 of camera {CAMERA!r} was dropped (stale): {reason}"
    ]


def test_a_part_without_descriptors_ends_and_its_successor_gets_what_it_could_not_read(bench: Bench) -> None:
    sink = Takes()
    runner = bench.part_runner(sink, inbox="in")
    outbox, taking = bench.outbox(), InboxInput(runner, None)
    send(outbox, make_frame(0))
    short = ShortageError("shared memory x cannot be read: Too many open files")

    def unpack_short(_delivery: object) -> None:
        raise short

    runner.links.unpack = unpack_short  # type: ignore[assignment,method-assign]
    with pytest.raises(ShortageError):
        advance(taking, outbox, lambda: bool(bench.done))
    assert bench.done == []
    assert runner.tally.take() == []
