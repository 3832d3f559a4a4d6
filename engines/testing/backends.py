"""Judges: hand ``check_backend`` a new backend, or ``check_ring`` a new ring of kept maps, and it says, in one line,
which promise is broken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend, FeatureRing
from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor

SEED = 20240607

TOLERANCES = {"float16": 1e-2, "float32": 1e-4}
"""By the coarsest type of inputs and outputs, as a share of the largest value. What batching may change: sums are taken
in another order. A float32 sum of some thousand terms is good to 1e-5, and a network repeats it a hundred times; half
precision rounds each to 5e-4."""

SPARE = 3
"""Slots of a ring beyond two windows, so that an order of frames can be unlike the order of slots."""

MakeRing = Callable[[int], FeatureRing]


def check_backend(make: Callable[[], Backend], *, atol: float | None = None) -> None:
    """Raise ``AssertionError`` naming the promise of :class:`engines.backends.base.Backend` that ``make()`` breaks.

    ``make`` gives a fresh, closed backend each time. ``atol``, a share of the largest value (of 1, where all are
    smaller), bounds what batching may change; where a network computes in less than its inputs and outputs show, say it
    here.
    """
    _check_life(make)
    backend = make()
    backend.open()
    try:
        description = backend.describe()
        _check_description(description)
        feeds = random_feeds(description)
        _check_outputs(backend, description, feeds)
        _check_ownership(backend, feeds)
        _check_refusals(backend, description, feeds)
        _check_batching(backend, description, tolerance(description) if atol is None else atol)
    finally:
        backend.close()
    _check_threads(make)


def _check_life(make: Callable[[], Backend]) -> None:
    backend = make()
    assert refuses(backend.describe), "describe() before open() must raise EngineError"
    backend.open()
    first = backend.describe()
    backend.open()
    assert backend.describe() == first, "open() twice must change nothing"
    backend.close()
    backend.close()
    assert refuses(lambda: backend.run(random_feeds(first))), "run() after close() must raise EngineError"
    backend.open()
    assert backend.describe() == first, "a backend that was closed must open again as the same model"
    backend.close()


def _check_threads(make: Callable[[], Backend]) -> None:
    """One thread at a time, not one thread for ever: a line opens, runs and closes from threads of its own."""
    backend = make()
    backend.open()
    feeds = random_feeds(backend.describe())
    here = backend.run(feeds)
    with ThreadPoolExecutor(1) as other:
        there = other.submit(backend.run, feeds)
        assert there.exception() is None, f"run() from another thread than open()'s failed: {there.exception()}"
        assert equal(here, there.result()), "run() from another thread must give the same outputs"
        closed = other.submit(backend.close)
        assert closed.exception() is None, f"close() from another thread than open()'s failed: {closed.exception()}"
    assert refuses(lambda: backend.run(feeds)), "run() after close() in another thread must raise EngineError"


def _check_description(description: Description) -> None:
    for kind, tensors in (("input", description.inputs), ("output", description.outputs)):
        names = [tensor.name for tensor in tensors]
        assert names, f"describe() must list at least one {kind}"
        assert len(set(names)) == len(names), f"describe() lists an {kind} twice: {names}"
        for tensor in tensors:
            known = _is_dtype(tensor.dtype)
            assert known, f"describe(): {kind} {tensor.name!r} has no numpy dtype: {tensor.dtype!r}"
    assert description.device, "describe() must name the device"


def _check_outputs(backend: Backend, description: Description, feeds: Mapping[str, Array]) -> None:
    outputs = backend.run(feeds)
    wanted = [tensor.name for tensor in description.outputs]
    assert sorted(outputs) == sorted(wanted), f"run() gave {sorted(outputs)}, describe() promised {sorted(wanted)}"
    for tensor in description.outputs:
        given = outputs[tensor.name]
        fits = tensor.takes(given.shape) and str(given.dtype) == tensor.dtype
        assert fits, f"output {tensor.name!r} is {given.shape} {given.dtype}, describe() promised {tensor}"


def _check_ownership(backend: Backend, feeds: Mapping[str, Array]) -> None:
    before = copied(feeds)
    outputs = backend.run(feeds)
    kept = copied(outputs)
    assert equal(feeds, before), "run() must not write to its inputs"
    backend.run({name: np.zeros_like(array) for name, array in feeds.items()})
    assert equal(outputs, kept), "outputs must not be overwritten by the next run()"
    assert equal(backend.run(feeds), kept), "the same inputs must give the same outputs"
    writeable = all(array.flags.writeable for array in outputs.values())
    assert writeable, "outputs belong to the caller, who may write to them"


def _check_refusals(backend: Backend, description: Description, feeds: Mapping[str, Array]) -> None:
    first = description.inputs[0]
    others = {name: array for name, array in feeds.items() if name != first.name}
    assert refuses(lambda: backend.run(others)), f"run() without {first.name!r} must raise EngineError"
    unknown = {**feeds, "nobody_asked": feeds[first.name]}
    assert refuses(lambda: backend.run(unknown)), "run() with an unknown input must raise EngineError"
    deep = {**feeds, first.name: feeds[first.name][None]}
    named = refuses(lambda: backend.run(deep), str(deep[first.name].shape))
    assert named, "an input of the wrong shape must raise EngineError naming that shape"
    for other in ("complex64", "float16" if first.dtype == "uint8" else "uint8"):
        wrong = {**feeds, first.name: feeds[first.name].astype(other)}
        named = refuses(partial(backend.run, wrong), other, first.dtype)
        assert named, f"an input of dtype {other} in place of {first.dtype} must raise EngineError naming both"


def _check_batching(backend: Backend, description: Description, atol: float) -> None:
    if description.batch is not None:
        return
    feeds = random_feeds(description, batch=3)
    together = backend.run(feeds)
    for row in range(3):
        alone = backend.run({name: array[row : row + 1] for name, array in feeds.items()})
        for name, array in alone.items():
            same = near(array[0], together[name][row], atol)
            assert same, f"output {name!r} of a sample depends on its company in the batch"


def check_ring(make: MakeRing, whole: Callable[[], Backend], *, atol: float | None = None) -> None:
    """Raise ``AssertionError`` naming the promise of :class:`engines.backends.base.FeatureRing` that is broken.

    ``make(slots)`` gives a fresh, closed ring; ``whole()`` the backend of the same network in one piece, whose one
    input is (N, T, ...) in order of time. ``atol`` is as in :func:`check_backend`: how far kept maps
    may lead from a whole window.
    """
    description, crops, wanted = _of_the_whole(whole)
    frames = crops.shape[1]
    slots = 2 * frames + SPARE
    _check_ring_life(make, slots, crops)
    ring = make(slots)
    ring.open()
    try:
        _check_ring_description(ring.describe(), description)
        bound = tolerance(description) if atol is None else atol
        _check_order(ring, crops, wanted, slots, bound)
        _check_slots_used_again(ring, crops, wanted, bound)
        _check_ring_ownership(ring, crops)
        _check_ring_refusals(ring, crops, slots)
    finally:
        ring.close()


def _of_the_whole(whole: Callable[[], Backend]) -> tuple[Description, Array, dict[str, Array]]:
    """What it says of itself, two random windows, and what it makes of them."""
    backend = whole()
    backend.open()
    try:
        description = backend.describe()
        (image,) = description.inputs
        crops = random_array(image, np.random.default_rng(SEED), 2)
        alone = [backend.run({image.name: window[None]}) for window in crops]
    finally:
        backend.close()
    return description, crops, {name: np.concatenate([outputs[name] for outputs in alone]) for name in alone[0]}


def _check_ring_life(make: MakeRing, slots: int, crops: Array) -> None:
    ring = make(slots)
    one, window = _indices([0]), _indices([range(crops.shape[1])])
    assert refuses(ring.describe), "describe() before open() must raise EngineError"
    ring.open()
    first = ring.describe()
    ring.open()
    assert ring.describe() == first, "open() twice must change nothing"
    ring.close()
    ring.close()
    assert refuses(lambda: ring.keep(one, crops[0, :1])), "keep() after close() must raise EngineError"
    assert refuses(lambda: ring.read(window)), "read() after close() must raise EngineError"
    ring.open()
    assert ring.describe() == first, "a ring that was closed must open again as the same network"
    ring.close()


def _check_ring_description(ring: Description, whole: Description) -> None:
    image, frame = whole.inputs[0], ring.inputs[0]
    same = len(ring.inputs) == 1 and (frame.shape[1:], frame.dtype) == (image.shape[2:], image.dtype)
    assert same, f"describe(): its input must be one frame of {image}, but is {', '.join(map(str, ring.inputs))}"
    outputs = [(tensor.name, tensor.shape[1:], tensor.dtype) for tensor in ring.outputs]
    wanted = [(tensor.name, tensor.shape[1:], tensor.dtype) for tensor in whole.outputs]
    assert outputs == wanted, f"describe(): its outputs are {outputs}, those of the whole are {wanted}"
    assert ring.device, "describe() must name the device"


def _check_order(ring: FeatureRing, crops: Array, wanted: dict[str, Array], slots: int, atol: float) -> None:
    """Frames kept in any order, one or many at once, lead to what a whole window leads to."""
    windows = np.random.default_rng(SEED).permutation(slots)[: 2 * crops.shape[1]].reshape(2, -1)
    places, frames = windows.ravel(), crops.reshape(-1, *crops.shape[2:])
    for some in np.split(np.argsort(-places), [1, 3]):  # the last slot first: no order of frames and none of slots
        ring.keep(places[some], frames[some])
    _check_same(ring, windows, wanted, atol, "windows kept frame by frame in any order")
    _check_same(ring, windows[::-1], _rows(wanted, [1, 0]), atol, "windows in another order")
    _check_same(ring, windows[:1], _rows(wanted, [0]), atol, "one window")
    _check_same(ring, windows[[1, 0, 1]], _rows(wanted, [1, 0, 1]), atol, "a window that is read twice")


def _check_slots_used_again(ring: FeatureRing, crops: Array, wanted: dict[str, Array], atol: float) -> None:
    frames = crops.shape[1]
    first, second = _indices([range(frames)]), _indices([range(frames, 2 * frames)])
    ring.keep(first[0], crops[0])
    ring.keep(second[0], crops[1])
    ring.keep(first[0], crops[1])
    _check_same(ring, first, _rows(wanted, [1]), atol, "slots filled a second time")
    ring.keep(first[0], crops[0])
    _check_same(ring, second, _rows(wanted, [1]), atol, "slots beside those that were filled again")


def _check_same(ring: FeatureRing, windows: NDArray[np.intp], wanted: dict[str, Array], atol: float, what: str) -> None:
    outputs = ring.read(windows)
    assert outputs.keys() == wanted.keys(), f"read() gave {sorted(outputs)}, the whole gives {sorted(wanted)}"
    for name, array in wanted.items():
        given = outputs[name]
        typed = given.shape == array.shape and given.dtype == array.dtype
        assert typed, f"output {name!r} of {what} is {given.shape} {given.dtype}, not {array.shape} {array.dtype}"
        assert near(given, array, atol), (
            f"output {name!r} of {what} is not that of the whole: {np.abs(given - array).max():.3g} apart"
        )


def _check_ring_ownership(ring: FeatureRing, crops: Array) -> None:
    frames = crops.shape[1]
    slots, windows = _indices(range(frames)), _indices([range(frames)])
    given, window = crops[0].copy(), windows.copy()
    ring.keep(slots, given)
    assert np.array_equal(given, crops[0]), "keep() must not write to its crops"
    given[...] = 0
    outputs = ring.read(windows)
    before = copied(outputs)
    assert np.array_equal(window, windows), "read() must not write to its windows"
    ring.keep(slots, crops[1])
    ring.read(windows)
    assert equal(outputs, before), "outputs must not be overwritten by the next read()"
    ring.keep(slots, crops[0])
    assert equal(ring.read(windows), before), "keep() must be done with its crops when it returns"


def _check_ring_refusals(ring: FeatureRing, crops: Array, slots: int) -> None:
    frames = crops.shape[1]
    for wrong in (-1, slots):
        lost, window = _indices([wrong]), _indices([[wrong] * frames])
        assert refuses(partial(ring.keep, lost, crops[0, :1]), str(wrong)), (
            f"keep() in slot {wrong} of {slots} must raise EngineError naming it"
        )
        assert refuses(partial(ring.read, window), str(wrong)), (
            f"read() of slot {wrong} of {slots} must raise EngineError naming it"
        )
    for length in (frames - 1, frames + 1):
        assert refuses(partial(ring.read, _indices([range(length)])), str((1, length))), (
            f"read() of {length} frames in place of {frames} must raise EngineError naming the shape it was given"
        )
    _check_crops_refused(ring, crops)


def _check_crops_refused(ring: FeatureRing, crops: Array) -> None:
    one, crop = _indices([0]), crops[0, :1]
    assert refuses(partial(ring.keep, _indices([0, 1]), crop)), "two slots for one crop must raise EngineError"
    assert refuses(partial(ring.keep, one, crop[None])), "crops of a wrong shape must raise EngineError"
    assert refuses(partial(ring.keep, one, crop.astype(np.float64))), "crops of a wrong dtype must raise EngineError"


def _rows(outputs: dict[str, Array], rows: Sequence[int]) -> dict[str, Array]:
    return {name: array[rows] for name, array in outputs.items()}


def _indices(numbers: Sequence[int] | Sequence[Sequence[int]]) -> NDArray[np.intp]:
    return np.array(numbers, np.intp)


def _is_dtype(name: str) -> bool:
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True


def tolerance(description: Description) -> float:
    """Of the coarsest floating type among its inputs and outputs."""
    types = {tensor.dtype for tensor in (*description.inputs, *description.outputs)}
    return max(TOLERANCES.get(dtype, TOLERANCES["float32"]) for dtype in types)


def near(one: Array, other: Array, atol: float) -> bool:
    """True when they differ by no more than ``atol`` of the largest value of ``other``, or of 1."""
    largest = max(1.0, float(np.abs(other).max(initial=0.0)))
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=atol * largest, equal_nan=True))


def refuses(call: Callable[[], object], *words: str) -> bool:
    """True when ``call`` raises EngineError in one line that says all ``words``."""
    try:
        call()
    except EngineError as error:
        return "\n" not in str(error) and all(word in str(error) for word in words)
    return False


def random_feeds(description: Description, batch: int = 1) -> dict[str, Array]:
    """One array for each input, the same every time."""
    random = np.random.default_rng(SEED)
    return {tensor.name: random_array(tensor, random, batch) for tensor in description.inputs}


def random_array(tensor: Tensor, random: np.random.Generator, batch: int) -> Array:
    """What fits ``tensor``: pixels for bytes, else values of order one, as normalised pixels are."""
    shape = [size or (batch if place == 0 else 1) for place, size in enumerate(tensor.shape)]
    if tensor.dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.uniform(0, 4, shape).astype(tensor.dtype)


def copied(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The same values in memory of their own."""
    return {name: array.copy() for name, array in arrays.items()}


def equal(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """True when names and values are the same, to the bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
