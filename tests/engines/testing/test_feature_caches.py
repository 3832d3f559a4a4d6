"""``check_feature_cache`` accepts a correct cache and names what each broken one breaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.backends.base import check_feeds
from engines.backends.host_cache import HostFeatureCache
from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor
from engines.testing.backends import check_backend
from engines.testing.feature_caches import check_feature_cache

Slots = NDArray[np.intp]

FRAMES = 3
PIXELS = Tensor("crops", (None, 4, 6, 3), "uint8")
MAPS = (Tensor("maps_0", (None, 2, 4, 6), "float16"), Tensor("maps_1", (None, 1), "float32"))
POINTS = Tensor("points", (None, 5, 3), "float32")


class Toy:
    """A network in numpy: sums of pixels, weighted by the position of their frame in the window."""

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


class Cache(HostFeatureCache):
    """A correct cache."""

    def __init__(self, slots: int) -> None:
        super().__init__(Backbone(), Head(), slots)


class WorksAfterClose(Cache):
    """Still works after ``close()``."""

    def close(self) -> None: ...


class IgnoresSlots(Cache):
    """Stores frames in order of arrival, whatever slots are given."""

    def store(self, slots: Slots, crops: Array) -> None:
        super().store(np.sort(slots), crops)


class SortsWindows(Cache):
    """Reads a window in order of slot numbers."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(np.sort(windows, axis=-1))


class NeverRefills(Cache):
    """Never refills a slot."""

    def store(self, slots: Slots, crops: Array) -> None:
        new = np.array([slot for slot in slots if slot not in self.__dict__.setdefault("full", set())], np.intp)
        self.full: set[int]
        if len(new) == len(slots):
            super().store(slots, crops)
        self.full.update(new.tolist())


class ReadsCropsLate(Cache):
    """Reads the crops when the windows are read."""

    later: list[Any] | None = None

    def store(self, slots: Slots, crops: Array) -> None:
        super().store(slots, crops)
        self.later = [*(self.later or []), (slots, crops)]

    def read(self, windows: Slots) -> dict[str, Array]:
        for slots, crops in self.later or []:
            super().store(slots, crops)
        return super().read(windows)


class ReusesOutputs(Cache):
    """Returns the same arrays on every call."""

    def read(self, windows: Slots) -> dict[str, Array]:
        outputs = super().read(windows)
        held = self.__dict__.setdefault(f"outputs_{len(windows)}", outputs)
        for name, array in outputs.items():
            held[name][...] = array
        return dict(held)


class WrapsSlots(Cache):
    """Takes slots modulo their number, so that -1 is the last one."""

    def store(self, slots: Slots, crops: Array) -> None:
        super().store(slots % self.slots, crops)


class ReadsAnySlot(Cache):
    """Reads slots that do not exist."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(windows % self.slots)


class ReadsOneWindow(Cache):
    """Reads only the first window."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(windows[:1])


class TruncatesWindows(Cache):
    """Cuts off windows that are too long."""

    def read(self, windows: Slots) -> dict[str, Array]:
        return super().read(windows[:, :FRAMES])


class ExtraOutput(Cache):
    """Describes an output that the whole network does not have."""

    def describe(self) -> Description:
        real = super().describe()
        return Description(real.inputs, (*real.outputs, Tensor("confidence", (None, 5), "float32")), real.device)


def test_the_cache_in_host_memory_passes() -> None:
    check_feature_cache(Cache, Whole)


def test_the_toy_networks_are_valid_backends() -> None:
    for toy in (Backbone, Head, Whole):
        check_backend(toy)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (WorksAfterClose, "store() after close() must raise EngineError"),
        (IgnoresSlots, "windows stored frame by frame in any order differs from the whole window's"),
        (SortsWindows, "windows stored frame by frame in any order differs from the whole window's"),
        (NeverRefills, "refilled slots differs from the whole window's"),
        (ReadsCropsLate, "store() must not use its crops after it returned"),
        (ReusesOutputs, "outputs must not be overwritten by the next read()"),
        (WrapsSlots, "store() in slot -1 of 9 must raise EngineError naming it"),
        (ReadsAnySlot, "read() of slot -1 of 9 must raise EngineError naming it"),
        (ReadsOneWindow, "is (1, 5, 3) float32, not (2, 5, 3) float32"),
        (TruncatesWindows, "read() of 4 frames in place of 3 must raise EngineError naming the shape it was given"),
        (ExtraOutput, "describe(): its outputs are"),
    ],
)
def test_a_broken_cache_is_named(broken: type[Cache], words: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_feature_cache(broken, Whole)
    assert words in str(caught.value)


def test_a_backbone_and_a_head_of_two_exports_raise() -> None:
    cache = HostFeatureCache(Backbone(), Whole(), slots=4)
    with pytest.raises(EngineError) as caught:
        cache.open()
    assert str(caught.value).endswith("they must be of the same export")
