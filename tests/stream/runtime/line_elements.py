"""Elements of the modelled line: what leaves them shows which items they have seen, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from stream.caps import ANY, Caps
from stream.element import Sink, Source, Transform
from stream.messages import Frame, Key
from stream.testing import make_frame

_PRIME = 2**61 - 1


def chain(number: int, seq: int) -> int:
    """A number that depends on every item before it, and on their order."""
    return (number * 31 + seq + 1) % _PRIME


@dataclass
class Gives(Source):
    src = Caps("video/raw")
    num_frames: int = 3
    camera: str = "a"

    def frames(self) -> Iterator[Frame]:
        for seq in range(self.num_frames):
            yield make_frame(seq, self.camera, (4, 4))


@dataclass
class Remembers(Transform):
    """Chains the numbers of each camera in its memory, as a tracker does with boxes and ids."""

    sink = src = Caps(ANY)

    def process(self, item: Frame) -> Iterator[Frame]:
        memory = self.context.memory
        memory[item.camera] = chain(memory.get(item.camera, 0), item.seq)
        yield replace(item, ledger={"chain": memory[item.camera]})

    def flush(self, camera: str | None = None) -> Iterator[Frame]:
        if camera is not None:
            self.context.memory.pop(camera, None)
        yield from ()


@dataclass
class Batches(Transform):
    """Takes several items at once, as a network does."""

    sink = src = Caps(ANY)
    batch: int = 4

    @property
    def max_batch(self) -> int:
        return self.batch

    def process(self, item: Frame) -> Iterator[Frame]:
        yield item


@dataclass
class Windows(Transform):
    """Looks back on ``past`` items and holds each one back until ``future`` more have come."""

    sink = src = Caps(ANY)
    past: int = 1
    future: int = 1

    def __post_init__(self) -> None:
        self._seen: dict[str, list[Frame]] = {}
        self._held: dict[str, list[Frame]] = {}

    @property
    def reach(self) -> int:
        return self.past

    def pending(self) -> list[Key]:
        return [frame.key for held in self._held.values() for frame in held]

    def process(self, item: Frame) -> Iterator[Frame]:
        self._held.setdefault(item.camera, []).append(item)
        while len(self._held[item.camera]) > self.future:
            yield self._next(item.camera)

    def flush(self, camera: str | None = None) -> Iterator[Frame]:
        while camera is not None and self._held.get(camera):
            yield self._next(camera)

    def _next(self, camera: str) -> Frame:
        frame = self._held[camera].pop(0)
        seen = self._seen.setdefault(camera, [])
        past = tuple(one.seq for one in seen[-self.past :]) if self.past else ()
        seen.append(frame)
        return replace(frame, ledger={**frame.ledger, "past": sum(seq + 1 for seq in past)})


@dataclass
class Records(Sink):
    """What has been consumed, which outlives its process as a file does."""

    sink = Caps(ANY)
    records: list[tuple[Key, dict[str, int]]] = field(default_factory=list)

    def consume(self, item: Frame) -> None:
        self.records.append((item.key, dict(item.ledger)))
