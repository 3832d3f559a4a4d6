"""The judge of rings lets a good one pass and names what each broken one breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.base import check_feeds
from engines.backends.host_cache import HostRing
from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor
from engines.testing.backends import check_backend, check_ring

Slots = NDArray[np.intp]

FRAMES = 3
PIXELS = Tensor("crops", (None, 4, 6, 3), "uint8")
MAPS = (Tensor("maps_0", (None, 2, 4, 6), "float16"), Tensor("maps_1", (None, 1), "float32"))
POINTS = Tensor("points", (None, 5, 3), "float32")


class Toy:
    """A network of numpy: sums of pixels, weighted by the place of their frame in the window."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    def __init__(self) -> None:
        self.is_open = False

    def open(self) -> None:
        self.is_open = True

    def describe(self) -> Description:
        if not self.is_open:
            raise EngineError("toy: it is not open")
        return Description(self.inputs, self.outputs, "cpu")

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        check_feeds("toy", self.describe().inputs, feeds)
        arrays = self.compute(*(feeds[tensor.name] for tensor in self.inputs))
        return {tensor.name: array for tensor, array in zip(self.outputs, arrays, strict=True)}

    def compute(self, *arrays: Array) -> tuple[Array, ...]:
        raise NotImplementedError

    def close(self) -> None:
        self.is_open = False


class Backbone(Toy):
    inputs, outputs = (PIXELS,), MAPS

    def compute(self, *arrays: Array) -> tuple[Array, ...]:
        (crops,) = arrays
        maps = np.moveaxis(crops[..., :2], -1, 1).astype(np.float16) / np.float16(16)
        return maps, crops.reshape(len(crops), -1).mean(1, dtype=np.float32)[:, None]


class Head(Toy):
    inputs = tuple(Tensor(t.name, (None, FRAMES, *t.shape[1:]), t.dtype) for t in MAPS)
    outputs = (POINTS,)

    def compute(self, *arrays: Array) -> tuple[Array, ...]:
        maps, means = arrays
        places = np.arange(1, FRAMES + 1, dtype=np.float32)
        sums = maps.astype(np.float32).sum((2, 3, 4)) @ places + (means[..., 0] ** 2) @ places
        return ((sums[:, None, None] * np.arange(15, dtype=np.float32).reshape(5, 3) / 1000).astype(np.float32),)


class Whole(Toy):
    inputs = (Tensor("crops", (None, FRAMES, 4, 6, 3), "uint8"),)
    outputs = (POINTS,)

    def compute(self, *arrays: Array) -> tuple[Array, ...]:
        (crops,) = arrays
        kept = Backbone().compute(crops.reshape(-1, *crops.shape[2:]))
        return Head().compute(*(array.reshape(len(crops), FRAMES, *array.shape[1:]) for array in kept))


class Ring(HostRing):
    """The good one."""

    def __init__(self, slots: int) -> None:
        super().__init__(Backbone(), Head(), slots)


class Forgetful(Ring):
    """Runs on after it was closed."""

    def close(self) -> None: ...


class Rolling(Ring):
    """Keeps frames in the order in which they come, wherever it is told to."""

    def keep(self, slots: Slots, crops: Array) -> None:
        super().keep(np.sort(slots), crops)


class Sorting(Ring):
    """Reads a window in the order of its slots."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(np.sort(windows, axis=-1))


class Hoarding(Ring):
    """Never fills a slot a second time."""

    def keep(self, slots: Slots, crops: Array) -> None:
        new = np.array([slot for slot in slots if slot not in self.__dict__.setdefault("full", set())], np.intp)
        self.full: set[int]
        if len(new) == len(slots):
            super().keep(slots, crops)
        self.full.update(new.tolist())


class Lazy(Ring):
    """Looks at the crops only when they are read."""

    later: list[Any] | None = None

    def keep(self, slots: Slots, crops: Array) -> None:
        super().keep(slots, crops)
        self.later = [*(self.later or []), (slots, crops)]

    def read(self, windows: Slots) -> dict[str, Array]:
        for slots, crops in self.later or []:
            super().keep(slots, crops)
        return super().read(windows)


class Reusing(Ring):
    """Gives the same memory every time."""

    def read(self, windows: Slots) -> dict[str, Array]:
        outputs = super().read(windows)
        held = self.__dict__.setdefault(f"outputs_{len(windows)}", outputs)
        for name, array in outputs.items():
            held[name][...] = array
        return dict(held)


class Wrapping(Ring):
    """Takes slots modulo their number, as numpy takes -1."""

    def keep(self, slots: Slots, crops: Array) -> None:
        super().keep(slots % self.slots, crops)


class Blind(Ring):
    """Reads slots that are not there."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(windows % self.slots)


class Single(Ring):
    """Reads one window, however many it is asked for."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(windows[:1])


class Cropping(Ring):
    """Reads the beginning of windows that are too long."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(windows[:, :FRAMES])


class Boastful(Ring):
    """Promises a confidence that the whole does not give."""

    def describe(self) -> Description:
        real = super().describe()
        return Description(real.inputs, (*real.outputs, Tensor("confidence", (None, 5), "float32")), real.device)


def test_the_ring_in_host_memory_keeps_every_promise() -> None:
    check_ring(Ring, Whole)


def test_the_toys_it_is_judged_with_are_backends_themselves() -> None:
    for toy in (Backbone, Head, Whole):
        check_backend(toy)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Forgetful, "keep() after close() must raise EngineError"),
        (Rolling, "windows kept frame by frame in any order is not that of the whole"),
        (Sorting, "windows kept frame by frame in any order is not that of the whole"),
        (Hoarding, "slots filled a second time is not that of the whole"),
        (Lazy, "keep() must be done with its crops when it returns"),
        (Reusing, "outputs must not be overwritten by the next read()"),
        (Wrapping, "keep() in slot -1 of 9 must raise EngineError naming it"),
        (Blind, "read() of slot -1 of 9 must raise EngineError naming it"),
        (Single, "is (1, 5, 3) float32, not (2, 5, 3) float32"),
        (Cropping, "read() of 4 frames in place of 3 must raise EngineError naming the shape it was given"),
        (Boastful, "describe(): its outputs are"),
    ],
)
def test_a_broken_promise_is_named(broken: type[Ring], words: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_ring(broken, Whole)
    assert words in str(caught.value)


def test_a_backbone_and_a_head_of_two_exports_are_refused() -> None:
    ring = HostRing(Backbone(), Whole(), slots=4)
    with pytest.raises(EngineError) as caught:
        ring.open()
    assert str(caught.value).endswith("they are not of one export")
