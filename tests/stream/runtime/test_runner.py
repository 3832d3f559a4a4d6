"""The loop of a part between links in memory: its states, its end, and what it reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.element import Element
from stream.errors import FullDiskError, StartError
from stream.messages import EOS_SEQ, Eos, Frame
from stream.pipeline.launch import parse_launch
from stream.pipeline.wiring import Part
from stream.runtime import bus
from stream.runtime.run_dir import claim
from stream.runtime.runner import Options, PartLoop, run_part
from stream.testing import make_frame
from tests.stream.runtime.bench import CAMERA, Bench, Clock, Gives, Memory, Takes, send


class Reporter:
    """The part's end of the bus: the target that the test sets, and what the part posts."""

    def __init__(self, state: bus.State = "PLAYING") -> None:
        self.target = bus.Target(state=state)
        self.posted: list[bus.AnyNotice] = []
        self.turns = 0

    def post(self, notice: bus.AnyNotice) -> None:
        self.posted.append(notice)

    def turned(self) -> None:
        self.turns += 1

    def progress(self) -> None:
        pass

    def states(self) -> list[str]:
        return [notice.new for notice in self.posted if isinstance(notice, bus.StateChanged)]


class Loop:
    """A part's loop and all that it is made of; the clock moves by 0.1 s whenever the loop waits."""

    def __init__(self, *elements: Element, inbox: str = "", is_supervised: bool = True, in_flight: int = 100) -> None:
        self.bench, self.clock, self.reporter = Bench(), Clock(), Reporter()
        self.memory = Memory()
        self.is_stopping = False
        self.waits = 0
        links = self.bench.links(inbox)
        links.wait = self._wait
        part = Part(elements, inbox or None, name="part", cameras=(CAMERA,))
        self.loop = PartLoop(
            part,
            links,
            self.memory,
            self.reporter,
            in_flight,
            Options(is_supervised=is_supervised),
            is_stopping=lambda: self.is_stopping,
            now_s=self.clock,
        )

    def _wait(self, inboxes: object, outboxes: object, timeout_ms: int) -> bool:
        self.clock.now_s += timeout_ms / 1000
        self.waits += 1
        if self.waits > 50:  # nothing more will happen
            self.reporter.target = bus.Target(state="NULL")
        return False


def test_a_part_goes_through_every_state_and_back_to_null() -> None:
    sink = Takes()
    loop = Loop(Gives(num_frames=3), sink)
    loop.loop.run()
    assert sink.taken == [0, 1, 2]
    assert loop.reporter.states() == ["READY", "PAUSED", "PLAYING", "NULL"]
    assert bus.Eos(part="part", camera=CAMERA) in loop.reporter.posted


def test_a_paused_part_takes_nothing_of_a_file() -> None:
    sink = Takes()
    loop = Loop(Gives(num_frames=3), sink)
    loop.reporter.target = bus.Target(state="PAUSED")
    loop.loop.run()
    assert (sink.taken, loop.reporter.states()) == ([], ["READY", "PAUSED", "NULL"])


def test_a_target_of_null_ends_a_part_whatever_it_does() -> None:
    loop = Loop(Gives(num_frames=1000), Takes())
    loop.reporter.target = bus.Target(state="NULL")
    loop.loop.run()
    assert (loop.reporter.turns, loop.reporter.states()) == (0, ["READY", "NULL"])


def test_a_finished_part_stays_until_its_supervisor_tells_it_to_end() -> None:
    loop = Loop(Gives(num_frames=1), Takes())
    loop.loop.run()
    assert loop.loop.statistics().finished
    assert loop.waits == 51


def test_a_finished_part_without_a_supervisor_ends_after_two_seconds() -> None:
    loop = Loop(Gives(num_frames=1), Takes(), is_supervised=False)
    loop.loop.run()
    assert 2.0 < loop.clock.now_s - 100.0 < 2.3


@pytest.mark.parametrize("how", ["a signal", "the target"])
def test_a_source_that_is_asked_to_end_ends_its_stream_and_sinks_finish(how: str) -> None:
    class Asks(Takes):
        def consume(self, item: Frame) -> None:
            super().consume(item)
            if item.seq == 2:
                loop.is_stopping = how == "a signal"
                loop.reporter.target = bus.Target(state="PLAYING", ending=how == "the target")

    sink = Asks()
    loop = Loop(Gives(num_frames=1000), sink)
    loop.loop.run()
    assert (sink.taken, sink.flushed) == ([0, 1, 2], 1)
    assert loop.loop.part_runner.flow.has_ended(CAMERA)


def test_a_part_without_a_source_ends_at_once_when_it_is_asked_to() -> None:
    loop = Loop(Takes(), inbox="in")
    loop.is_stopping = True
    loop.loop.run()
    assert loop.waits == 0


def test_a_finished_part_acknowledges_what_is_sent_again() -> None:
    sink = Takes()
    loop = Loop(sink, inbox="in")
    outbox = loop.bench.outbox()
    send(outbox, make_frame(0), Eos(CAMERA))
    acknowledged = []
    for _ in range(20):
        loop.loop.turn()
        acknowledged += outbox.take_acknowledged()
    assert acknowledged == [(CAMERA, 0), (CAMERA, EOS_SEQ)]
    outbox = loop.bench.outbox()  # the sender was restarted
    send(outbox, make_frame(1))
    again = []
    for _ in range(20):
        loop.loop.turn()
        again += outbox.take_acknowledged()
    assert (again, sink.taken) == ([(CAMERA, 1)], [0])


def test_drops_and_errors_are_counted_in_its_statistics() -> None:
    class Fails(Takes):
        def consume(self, item: Frame) -> None:
            raise ValueError("no luck")

    loop = Loop(Gives(num_frames=3, is_live=True), Fails(), in_flight=100)
    loop.loop.run()
    stats = loop.loop.statistics()
    assert (stats.items, stats.dropped, stats.errors, stats.finished) == (3, 3, 3, True)


def test_its_statistics_hold_what_its_elements_report_on_themselves() -> None:
    class Reports(Takes):
        def status(self) -> str:
            return f"{len(self.taken)} taken"

    class Faulty(Gives):
        def status(self) -> str:
            raise ValueError("odd")

    loop = Loop(Faulty(num_frames=2), Reports())
    loop.loop.run()
    assert loop.loop.statistics().status == "faulty: status() failed: ValueError: odd; 2 taken"


def test_its_statistics_say_that_a_live_source_is_silent() -> None:
    loop = Loop(Gives(is_live=True), Takes())
    silence = loop.loop.part_runner.executor.silence
    assert silence is not None
    assert loop.loop.statistics().status == ""
    silence.describe = lambda: "silent for 6 s: connecting"  # type: ignore[method-assign]
    assert loop.loop.statistics().status == "silent for 6 s: connecting"


def test_every_start_of_a_part_has_a_number_that_its_elements_see() -> None:
    loop = Loop(Gives(), Takes())
    again = Bench()
    source = Gives()
    part = Part((source, Takes()), name="part", cameras=(CAMERA,))
    PartLoop(part, again.links(), loop.memory, Reporter(), 1, Options())
    assert (loop.memory["incarnation"], source.context.incarnation) == (1, 1)


def test_an_exception_of_a_source_ends_the_loop_in_the_state_null() -> None:
    class Broken(Gives):
        def frames(self) -> Iterator[Frame | None]:
            raise RuntimeError("broken")
            yield

    loop = Loop(Broken(), Takes())
    with pytest.raises(RuntimeError, match="broken"):
        loop.loop.run()
    assert (loop.reporter.states()[-1], loop.loop.has_begun) == ("NULL", False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize(("realtime", "expected"), [("false", StartError), ("true", FullDiskError)])
def test_a_full_disk_ends_a_line_over_files_at_once_and_is_tried_again_by_a_camera(
    realtime: str, expected: type[Exception], tmp_path: Path
) -> None:
    line = f"testsrc width=64 height=64 fps=200 num_frames=9 realtime={realtime} ! detect ! track ! window ! toy"
    ends = "benchmarks.faults.tally past=0 future=0 batch=1 ! jsonsink location=/dev/full"
    pipeline = parse_launch(line.replace("toy", ends))
    with pytest.raises((StartError, FullDiskError)) as raised:
        run_part(pipeline, pipeline.parts[0].name, claim(tmp_path / "run"), Options(is_supervised=False))
    assert type(raised.value) is expected
    assert str(raised.value) == (
        "jsonsink cannot write /dev/full: No space left on device; make room, or choose another location="
    )


@pytest.mark.parametrize("left", [None, b"", b"\xff" * 1000], ids=["removed", "truncated", "overwritten"])
def test_a_restarted_part_without_its_memory_ends_the_line(left: bytes | None, tmp_path: Path) -> None:
    run_dir = claim(tmp_path / "run")
    if left is not None:
        (run_dir / "testsrc.memory").write_bytes(left)
    pipeline = parse_launch("testsrc num_frames=1 ! fakesink")
    with pytest.raises(StartError) as raised:
        run_part(pipeline, "testsrc", run_dir, Options(is_restart=True))
    assert str(raised.value) == (
        f"testsrc.memory in {run_dir} was removed or damaged while the line ran, so that what it had finished "
        "is unknown; run the line again, and leave the files of its run directory alone"
    )
