"""Elements of a part, one after the other, and what an exception costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stream.caps import ANY, Caps
from stream.element import Element, Sink, Transform
from stream.errors import StageError
from stream.messages import Frame, Key
from stream.pipeline.chain import Chain
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


class Failures:
    def __init__(self) -> None:
        self.told: list[tuple[Element, Key | None, str]] = []

    def __call__(self, element: Element, key: Key | None, error: Exception) -> None:
        self.told.append((element, key, str(error)))


def frames(*seqs: int) -> list[Frame]:
    return [make_frame(seq, "cam") for seq in seqs]


def seqs(items: Sequence[Frame]) -> list[int]:
    return [item.seq for item in items]


def test_an_exception_costs_its_item_and_names_it() -> None:
    picky, told = Picky(refused=(1,)), Failures()
    assert seqs(Chain([picky], told).process(frames(0, 1, 2))) == [0, 2]
    assert told.told == [(picky, ("cam", 1), "not 1")]


def test_a_batch_is_as_large_as_its_element_likes() -> None:
    picky = Picky(batch=2)
    chain = Chain([picky], Failures())
    assert chain.max_batch == 2
    assert seqs(chain.process(frames(0, 1, 2))) == [0, 1, 2]
    assert picky.seen == [[0, 1], [2]]


def test_of_a_batch_that_fails_each_item_has_its_own_chance() -> None:
    picky, told = Picky(batch=3, refused=(1,)), Failures()
    assert seqs(Chain([picky], told).process(frames(0, 1, 2))) == [0, 2]
    assert picky.seen == [[0, 1, 2], [0], [1], [2]]
    assert [key for _, key, _ in told.told] == [("cam", 1)]


def test_what_came_before_the_exception_is_kept() -> None:
    @dataclass
    class Halfway(Transform):
        def process(self, item: Frame) -> Iterator[Frame]:
            yield make_frame(item.seq - 1, "cam")
            raise ValueError

    assert seqs(Chain([Halfway()], Failures()).process(frames(5))) == [4]


def test_five_failures_in_a_row_are_the_elements_fault() -> None:
    chain = Chain([Picky(refused=tuple(range(10)))], Failures())
    with pytest.raises(StageError) as broken:
        chain.process(frames(*range(5)))
    assert str(broken.value) == (
        "picky failed on 5 items in a row, last with ValueError: not 4; mend the element, or what feeds it"
    )


def test_a_success_forgives_the_failures_before_it() -> None:
    told = Failures()
    assert seqs(Chain([Picky(refused=(0, 1, 2, 3, 5, 6, 7, 8))], told).process(frames(*range(10)))) == [4, 9]
    assert len(told.told) == 8


def test_what_an_element_held_goes_through_those_after_it() -> None:
    taking = Takes()
    chain = Chain([Picky(is_late=True), Picky(), taking], Failures())
    chain.process(frames(0, 1))
    assert taking.taken == []
    chain.flush("hall")
    assert taking.taken == [("hall", 99)]
    assert taking.flushed == 0
    chain.finish()
    assert taking.flushed == 1


def test_a_sink_takes_what_is_new_and_tells_of_each() -> None:
    taking, delivered = Takes(), list[Key]()
    chain = Chain([taking], Failures(), is_new=lambda key: key[1] > 1, delivered=delivered.append)
    chain.process(frames(0, 1, 2, 3))
    assert taking.taken == delivered == [("cam", 2), ("cam", 3)]


def test_when_an_element_cannot_open_those_before_it_are_closed_again() -> None:
    log: list[str] = []

    @dataclass
    class Opens(Transform):
        title: str = ""
        fails: bool = False

        def __enter__(self) -> Opens:
            if self.fails:
                raise OSError("no such device")
            log.append(f"{self.title} opened")
            return self

        def __exit__(self, *_: object) -> None:
            log.append(f"{self.title} closed")

    with pytest.raises(OSError, match="no such device"):
        Chain([Opens("a"), Opens("b", fails=True)], Failures()).open()
    assert log == ["a opened", "a closed"]
