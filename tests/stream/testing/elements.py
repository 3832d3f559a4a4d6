"""Elements that keep the contract, and for each of its clauses one that breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Sink, Transform
from stream.messages import Frame, Key, People, Window
from tests.toys.src import Src


class Same(Transform):
    """Passes people on: a good element, and the base of all bad ones here."""

    sink = src = Caps("people/boxes")

    def process(self, item: People) -> Iterator[Any]:
        yield item


class Later(Same):
    """Holds each item until the next of its camera has come: a good element."""

    def __enter__(self) -> Later:
        self.held: dict[str, People] = {}
        return self

    def pending(self) -> list[Key]:
        return [item.key for item in self.held.values()]

    def process(self, item: People) -> Iterator[People]:
        if held := self.held.get(item.frame.camera):
            yield held
        self.held[item.frame.camera] = item

    def flush(self, camera: str | None = None) -> Iterator[People]:
        for name in list(self.held) if camera is None else [camera]:
            if name in self.held:
                yield self.held.pop(name)


class NoDoc(Same):
    __doc__ = None


@dataclass
class MadeUpDoc(Same):  # the dataclass decorator gives it a docstring that is no docstring
    speed: Annotated[int, Meta(description="how fast")] = 1


@dataclass
class NoDescription(Same):
    """Has a property without a description."""

    speed: int = 1


@dataclass
class WrongDefault(Same):
    """Has a default that it would refuse."""

    speed: Annotated[int, Meta(ge=1, description="how fast")] = 0


class NoSrc(Same):
    """A transform that gives nothing, by its pads."""

    src = None  # type: ignore[assignment]


class SinkThatGives(Sink):
    """A sink with a src pad."""

    sink = src = Caps(ANY)


class SourceThatTakes(Src):
    """A source with a sink pad."""

    sink = Caps(ANY)


class GivesFrames(Same):
    """Promises people, gives frames."""

    def process(self, item: People) -> Iterator[Frame]:
        yield item.frame


class OtherKeys(Same):
    """Yields keys that are not of its inputs."""

    def process(self, item: People) -> Iterator[People]:
        yield replace(item, frame=replace(item.frame, seq=item.frame.seq + 100))


class Twice(Same):
    """Gives everything twice."""

    def process(self, item: People) -> Iterator[People]:
        yield item
        yield item


class WritesPixels(Same):
    """Writes to the pixels of its input."""

    def process(self, item: People) -> Iterator[People]:
        item.frame.pixels[0, 0] = 255
        yield item


class WritesReadOnly(Same):
    """Writes to an array of its input that is read-only."""

    def process(self, item: People) -> Iterator[People]:
        item.boxes.setflags(write=True)
        item.boxes[0] += 1
        yield item


class WritesLedger(Same):
    """Writes into the ledger of its input."""

    def process(self, item: People) -> Iterator[People]:
        item.frame.ledger["detected"] = 1  # type: ignore[index]
        yield item


class NeedsPeople(Same):
    """Cannot do with an empty picture."""

    def process(self, item: People) -> Iterator[People]:
        item.scores.max()
        yield item


class NeverDone(Later):
    """Flushes what it holds again and again."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from [item for item in self.held.values() if camera in (None, item.frame.camera)]

    def pending(self) -> list[Key]:
        return []


class KeepsAtEnd(Later):
    """Keeps what it holds at the end of the stream."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from ()


class FlushesAll(Later):
    """Flushes all cameras when one ends."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from super().flush()


class LosesOthers(Later):
    """Loses the other cameras' items when one ends."""

    def flush(self, camera: str | None = None) -> Iterator[People]:
        yield from super().flush(camera)
        self.held.clear()


class PendingAfterOutput(Same):
    """Says that an item is pending whose output has come."""

    def __enter__(self) -> PendingAfterOutput:
        self.last: list[Key] = []
        return self

    def pending(self) -> list[Key]:
        return self.last

    def process(self, item: People) -> Iterator[People]:
        self.last = [item.key]
        yield item

    def flush(self, camera: str | None = None) -> Iterator[People]:
        self.last = [key for key in self.last if camera not in (None, key[0])]
        yield from ()


class PendingUnknown(Same):
    """Says that an item is pending that never was."""

    def pending(self) -> list[Key]:
        return [] if self.is_flushed else [("nowhere", 3)]

    is_flushed = False

    def flush(self, camera: str | None = None) -> Iterator[People]:
        self.is_flushed = camera is None
        yield from ()


class OnceOnly(Same):
    """Does nothing the second time."""

    times = 0

    def __enter__(self) -> OnceOnly:
        self.times += 1
        return self

    def process(self, item: People) -> Iterator[People]:
        if self.times < 2:
            yield item


class LosesBatches(Same):
    """Loses items when it gets many."""

    max_batch = 4

    def process_many(self, items: Any) -> Iterator[People]:
        yield from items[:1]


class NotPending(Later):
    """Does not say that it still holds an item, and so loses it when it is killed."""

    def pending(self) -> list[Key]:
        return []


class WithoutReach(Transform):
    """Makes windows of two frames, but says that it needs no earlier item."""

    sink = Caps("people/boxes")
    src = Caps("people/window", past=1, future=0)

    def __enter__(self) -> WithoutReach:
        self.last: dict[str, Frame] = {}
        return self

    def process(self, item: People) -> Iterator[Window]:
        before = self.last.get(item.frame.camera, item.frame)
        self.last[item.frame.camera] = item.frame
        yield Window((before, item.frame), ("real", "real"), 1, item)

    def flush(self, camera: str | None = None) -> Iterator[Window]:
        self.last.clear()
        yield from ()


class WithReach(WithoutReach):
    """The same, and says so: a good element."""

    reach = 1


class LongWindows(WithReach):
    """Makes windows longer than agreed."""

    src = Caps("people/window", past=0, future=0)


class OffCentre(WithReach):
    """Puts the key frame elsewhere than agreed."""

    src = Caps("people/window", past=0, future=1)


class SinkFlushedOnce(Sink):
    """A sink that bears one flush only."""

    sink = Caps(ANY)
    is_over = False

    def __enter__(self) -> SinkFlushedOnce:
        self.is_over = False
        return self

    def consume(self, item: Any) -> None:
        """Take it."""

    def flush(self) -> None:
        if self.is_over:
            raise RuntimeError("flushed twice")
        self.is_over = True


class SinkThatWrites(Sink):
    """A sink that writes to what it takes."""

    sink = Caps(ANY)

    def consume(self, item: Frame) -> None:
        item.ledger["published"] = 1  # type: ignore[index]
