"""Elements of a part, one after the other, and what an exception costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

from stream.caps import ANY, Caps
from stream.element import Element, Sink, Source, Transform
from stream.elements.queue import Queue
from stream.elements.tee import Tee
from stream.errors import EngineError, FullDiskError, PartError, SourceError, StartError, describe_error
from stream.messages import Eos, Frame, Key
from stream.pipeline.executor import Executor, through
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.wiring import Line
from stream.registry import error_context, label
from stream.testing import make_frame


@dataclass
class Picky(Transform):
    """Refuses some; holds the last one back until the end if it is ``late``."""

    sink = src = Caps(ANY)
    refused: tuple[int, ...] = ()
    batch: int = 1
    is_late: bool = False
    seen: list[list[int]] = field(default_factory=list)

    @property
    def max_batch(self) -> int:
        return self.batch

    def process_many(self, items: Sequence[Frame]) -> Iterator[Frame]:
        self.seen.append([item.seq for item in items])
        for item in items:
            if item.seq in self.refused:
                raise ValueError(f"not {item.seq}")
            if not self.is_late:
                yield item

    def flush(self, camera: str | None = None) -> Iterator[Frame]:
        if self.is_late:
            yield make_frame(99, camera or "cam")


@dataclass
class Takes(Sink):
    sink = Caps(ANY)
    taken: list[Key] = field(default_factory=list)
    flushed: int = 0

    def consume(self, item: Any) -> None:
        self.taken.append(item.key)

    def flush(self) -> None:
        self.flushed += 1


@dataclass
class Opens(Element):
    title: str
    log: list[str]
    fails: bool = False

    def __enter__(self) -> Self:
        if self.fails:
            raise OSError("no such device")
        self.log.append(f"{self.title} opened")
        return self

    def __exit__(self, *_: object) -> None:
        self.log.append(f"{self.title} closed")


class Camera(Opens, Source):
    def frames(self) -> Iterator[Frame | None]:
        yield from (make_frame(0, self.title), None, make_frame(1, self.title))


class Failures:
    def __init__(self) -> None:
        self.calls: list[tuple[Element, Key | None, str]] = []

    def __call__(self, element: Element, key: Key | None, error: Exception) -> None:
        self.calls.append((element, key, str(error)))


def frames(*seqs: int) -> list[Frame]:
    return [make_frame(seq, "cam") for seq in seqs]


def seqs(items: Sequence[Frame]) -> list[int]:
    return [item.seq for item in items]


def test_an_exception_costs_its_item_and_names_it() -> None:
    picky, failures = Picky(refused=(1,)), Failures()
    assert seqs(Executor([picky], on_failure=failures).process(frames(0, 1, 2))) == [0, 2]
    assert failures.calls == [(picky, ("cam", 1), "not 1")]


def test_a_batch_is_at_most_as_large_as_max_batch() -> None:
    picky = Picky(batch=2)
    executor = Executor([picky], on_failure=Failures())
    assert executor.max_batch == 2
    assert seqs(executor.process(frames(0, 1, 2))) == [0, 1, 2]
    assert picky.seen == [[0, 1], [2]]


def test_a_failed_batch_is_repeated_item_by_item() -> None:
    picky, failures = Picky(batch=3, refused=(1,)), Failures()
    assert seqs(Executor([picky], on_failure=failures).process(frames(0, 1, 2))) == [0, 2]
    assert picky.seen == [[0, 1, 2], [0], [1], [2]]
    assert [key for _, key, _ in failures.calls] == [("cam", 1)]


def test_outputs_before_the_exception_are_kept() -> None:
    @dataclass
    class Halfway(Transform):
        def process(self, item: Frame) -> Iterator[Frame]:
            yield make_frame(item.seq - 1, "cam")
            raise ValueError

    assert seqs(Executor([Halfway()], on_failure=Failures()).process(frames(5))) == [4]


def test_five_failures_in_a_row_raise() -> None:
    executor = Executor([Picky(refused=tuple(range(10)))], on_failure=Failures())
    with pytest.raises(PartError) as broken:
        executor.process(frames(*range(5)))
    assert str(broken.value) == (
        "picky failed on 5 items in a row, last with ValueError: not 4; fix the element or what feeds it"
    )


def test_a_disk_that_is_full_for_five_items_raises_its_own_error() -> None:
    full = FullDiskError("picky cannot write out.jsonl: No space left on device; make room")

    class Full(Picky):
        def process_many(self, items: Sequence[Frame]) -> Iterator[Frame]:
            raise full
            yield

    with pytest.raises(FullDiskError) as raised:
        Executor([Full()], on_failure=Failures()).process(frames(*range(9)))
    assert raised.value is full


def test_an_error_that_no_restart_helps_is_raised_at_once() -> None:
    replaced = StartError("picky was replaced")

    class Replaced(Picky):
        def process_many(self, items: Sequence[Frame]) -> Iterator[Frame]:
            raise replaced
            yield

    with pytest.raises(StartError) as raised:
        Executor([Replaced()], on_failure=Failures()).process(frames(0))
    assert raised.value is replaced


def test_a_success_resets_the_count_of_failures() -> None:
    failures = Failures()
    executor = Executor([Picky(refused=(0, 1, 2, 3, 5, 6, 7, 8))], on_failure=failures)
    assert seqs(executor.process(frames(*range(10)))) == [4, 9]
    assert len(failures.calls) == 8


def test_without_on_failure_an_exception_is_the_callers() -> None:
    with pytest.raises(ValueError, match="not 1"):
        Executor([Picky(batch=3, refused=(1,))]).process(frames(0, 1, 2))


def test_flushed_items_pass_through_the_elements_after_it() -> None:
    taking = Takes()
    executor = Executor([Picky(is_late=True), Picky(), taking], on_failure=Failures())
    executor.process(frames(0, 1))
    assert taking.taken == []
    executor.flush("hall")
    assert taking.taken == [("hall", 99)]
    assert taking.flushed == 0
    executor.finish()
    assert taking.flushed == 1


def test_sinks_are_flushed_once_when_the_last_camera_has_ended() -> None:
    taking = Takes()
    executor = Executor([Picky(is_late=True), taking], ["hall", "yard", "door"], ended=["door"])
    assert [executor.end(camera) for camera in ("hall", "door", "hall")] == [[], [], []]
    assert (taking.taken, taking.flushed) == ([("hall", 99)], 0)
    executor.end("yard")
    assert (taking.taken, taking.flushed) == ([("hall", 99), ("yard", 99)], 1)


def test_a_sink_consumes_new_items_and_reports_each() -> None:
    taking, delivered = Takes(), list[Key]()
    executor = Executor([taking], on_failure=Failures(), is_new=lambda key: key[1] > 1, on_delivered=delivered.append)
    executor.process(frames(0, 1, 2, 3))
    assert taking.taken == delivered == [("cam", 2), ("cam", 3)]


def test_when_an_element_cannot_open_those_before_it_are_closed_again() -> None:
    log: list[str] = []
    with pytest.raises(OSError, match="no such device"):
        Executor([Opens("a", log), Opens("b", log, fails=True)]).open()
    assert log == ["a opened", "a closed"]


def test_a_source_is_opened_last() -> None:
    log: list[str] = []
    with Executor([Camera("camera", log), Opens("network", log)]):
        assert log == ["network opened", "camera opened"]
    assert log[2:] == ["camera closed", "network closed"]


def test_through_yields_each_result_before_it_takes_the_next_item() -> None:
    taken: list[int] = []

    def items() -> Iterator[Frame]:
        for item in frames(0, 1, 2):
            taken.append(item.seq)
            yield item

    results = through(Picky(), items())
    assert (next(results).seq, taken) == (0, [0])
    assert (seqs(list(results)), taken) == ([1, 2], [0, 1, 2])


def test_through_a_source_yields_its_frames_and_flushes() -> None:
    assert [frame.key for frame in through(Camera("camera", []))] == [("camera", 0), ("camera", 1)]
    assert [frame.key for frame in through(Picky(is_late=True), frames(0))] == [("cam", 99)]


def test_through_a_sink_yields_nothing_and_flushes_it() -> None:
    taking = Takes()
    assert list(through(taking, frames(0, 1))) == []
    assert (taking.taken, taking.flushed) == ([("cam", 0), ("cam", 1)], 1)


class Album(Source):
    """Two cameras, one after the other."""

    src = Caps("video/raw")

    def frames(self) -> Iterator[Any]:
        for camera in ("first", "second"):
            yield make_frame(0, camera)
            yield Eos(camera)


def test_a_source_of_several_cameras_may_end_each_before_the_next() -> None:
    found = Pipeline(Album(), Picky(is_late=True), Queue(), Picky()).run()
    # Picky gives an item at every end, that of the camera that the source is called after included.
    assert [frame.key for frame in found] == [("first", 99), ("second", 99), ("album", 99)]


# -- names in errors --------------------------------------------------------------------------------------------------


def test_an_exception_of_a_users_element_has_a_note_with_its_name() -> None:
    with pytest.raises(ValueError, match="not 0") as caught:
        list(through(Picky(refused=(0,)).rename("fussy"), frames(0)))
    assert caught.value.__notes__ == [f"in element 'fussy' ({__name__})"]
    assert describe_error(caught.value) == f"ValueError: not 0, in element 'fussy' ({__name__})"


def test_the_note_comes_with_what_opening_and_reading_a_source_raise_too() -> None:
    class Broken(Camera):
        def frames(self) -> Iterator[Frame | None]:
            raise OSError("no signal")

    for camera in (Broken("camera", []), Camera("camera", [], fails=True)):
        with pytest.raises(OSError, match="no s") as caught:
            list(through(camera))
        assert caught.value.__notes__ == [f"in element {label(camera)!r} ({__name__})"]


def test_an_error_of_the_engines_begins_with_the_element_once() -> None:
    class Network(Transform):
        sink = src = Caps(ANY)

        def process(self, item: Frame) -> Iterator[Frame]:
            raise EngineError("model 'm' is damaged")

    with pytest.raises(EngineError) as caught:
        list(through(Network().rename("pose"), frames(0)))
    with pytest.raises(EngineError) as again, error_context(Network().rename("pose")):
        raise caught.value
    assert str(again.value) == "pose: model 'm' is damaged"


# -- several frames in one turn ---------------------------------------------------------------------------------------


class Reel(Source):
    """Five frames, and then a fault if it is ``damaged``."""

    src = Caps("video/raw")

    def __init__(self, *, is_damaged: bool = False, reads_ahead: bool = True) -> None:
        self._is_damaged, self._reads_ahead = is_damaged, reads_ahead

    @property
    def reads_ahead(self) -> bool:
        return self._reads_ahead

    def frames(self) -> Iterator[Any]:
        for seq in range(5):
            yield make_frame(seq)
        if self._is_damaged:
            raise SourceError("damaged")


@pytest.mark.parametrize(("reads_ahead", "seen"), [(True, [[0, 1, 2], [3, 4]]), (False, [[0], [1], [2], [3], [4]])])
def test_a_source_that_reads_ahead_fills_the_batches_of_a_line_in_one_process(
    reads_ahead: bool, seen: list[list[int]]
) -> None:
    near, far = Picky(batch=3), Picky(batch=3)
    found = Pipeline(Reel(reads_ahead=reads_ahead), near, Queue(), far).run()
    assert [frame.seq for frame in found] == [0, 1, 2, 3, 4]
    assert near.seen == far.seen == seen


def test_all_frames_before_a_damage_come_out_first() -> None:
    run = Pipeline(Reel(is_damaged=True), Picky(batch=3)).run()
    assert [next(run).seq for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(SourceError, match="damaged"):
        next(run)


def test_branches_yield_each_frame_before_the_next() -> None:
    line = Pipeline(
        Line(Reel(), Picky(batch=3), Tee(name="both")),
        Line(Queue(), Picky(), from_queue="both"),
        Line(Queue(), Picky(batch=2), from_queue="both"),
    )
    assert [frame.seq for frame in line.run()] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
