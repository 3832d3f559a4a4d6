"""``check_feature_cache``: conformance tests for an implementation of :class:`engines.backends.base.FeatureCache`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend, FeatureCache
from engines.spec.tensors import Array, Description
from engines.testing.arrays import (
    SEED,
    are_equal,
    copy_arrays,
    get_tolerance,
    is_close,
    make_random_array,
    raises_engine_error,
)

SPARE_SLOTS = 3
"""Slots beyond two windows, so that the order of frames can differ from the order of slots."""

MakeCache = Callable[[int], FeatureCache]


def check_feature_cache(make: MakeCache, whole: Callable[[], Backend], *, atol: float | None = None) -> None:
    """Check a :class:`engines.backends.base.FeatureCache`; raise ``AssertionError`` naming what fails.

    ``make(slots)`` returns a new, closed cache. ``whole()`` returns a backend of the same network as one graph, whose
    only input is (N, T, ...), oldest frame first; its outputs are the reference. ``atol`` is as in
    :func:`engines.testing.backends.check_backend`.
    """
    description, crops, wanted = _run_whole_windows(whole)
    frames = crops.shape[1]
    slots = 2 * frames + SPARE_SLOTS
    _check_lifecycle(make, slots, crops)
    cache = make(slots)
    cache.open()
    try:
        _check_description(cache.describe(), description)
        bound = get_tolerance(description) if atol is None else atol
        _check_order(cache, crops, wanted, slots, bound)
        _check_reused_slots(cache, crops, wanted, bound)
        _check_ownership(cache, crops)
        _check_errors(cache, crops, slots)
    finally:
        cache.close()


def _run_whole_windows(whole: Callable[[], Backend]) -> tuple[Description, Array, dict[str, Array]]:
    """Its description, two random windows (2, T, ...) and its outputs for them."""
    backend = whole()
    backend.open()
    try:
        description = backend.describe()
        (image,) = description.inputs
        crops = make_random_array(image, np.random.default_rng(SEED), 2)
        alone = [backend.run({image.name: window[None]}) for window in crops]
    finally:
        backend.close()
    return description, crops, {name: np.concatenate([outputs[name] for outputs in alone]) for name in alone[0]}


def _check_lifecycle(make: MakeCache, slots: int, crops: Array) -> None:
    cache = make(slots)
    one, window = _make_indices([0]), _make_indices([range(crops.shape[1])])
    assert raises_engine_error(cache.describe), "describe() before open() must raise EngineError"
    cache.open()
    first = cache.describe()
    cache.open()
    assert cache.describe() == first, "open() twice must change nothing"
    cache.close()
    cache.close()
    assert raises_engine_error(lambda: cache.store(one, crops[0, :1])), "store() after close() must raise EngineError"
    assert raises_engine_error(lambda: cache.read(window)), "read() after close() must raise EngineError"
    cache.open()
    assert cache.describe() == first, "a cache that was closed must open again as the same network"
    cache.close()


def _check_description(cache: Description, whole: Description) -> None:
    image, frame = whole.inputs[0], cache.inputs[0]
    same = len(cache.inputs) == 1 and (frame.shape[1:], frame.dtype) == (image.shape[2:], image.dtype)
    assert same, f"describe(): its input must be one frame of {image}, but is {', '.join(map(str, cache.inputs))}"
    outputs = [(tensor.name, tensor.shape[1:], tensor.dtype) for tensor in cache.outputs]
    wanted = [(tensor.name, tensor.shape[1:], tensor.dtype) for tensor in whole.outputs]
    assert outputs == wanted, f"describe(): its outputs are {outputs}, those of the whole network are {wanted}"
    assert cache.device, "describe() must name the device"


def _check_order(cache: FeatureCache, crops: Array, wanted: dict[str, Array], slots: int, atol: float) -> None:
    """Frames stored in any order, one or many at a time, give the outputs of a whole window."""
    windows = np.random.default_rng(SEED).permutation(slots)[: 2 * crops.shape[1]].reshape(2, -1)
    places, frames = windows.ravel(), crops.reshape(-1, *crops.shape[2:])
    for some in np.split(np.argsort(-places), [1, 3]):  # last slot first: neither the order of frames nor that of slots
        cache.store(places[some], frames[some])
    _check_outputs(cache, windows, wanted, atol, "windows stored frame by frame in any order")
    _check_outputs(cache, windows[::-1], _select_rows(wanted, [1, 0]), atol, "windows in another order")
    _check_outputs(cache, windows[:1], _select_rows(wanted, [0]), atol, "one window")
    _check_outputs(cache, windows[[1, 0, 1]], _select_rows(wanted, [1, 0, 1]), atol, "a window read twice")


def _check_reused_slots(cache: FeatureCache, crops: Array, wanted: dict[str, Array], atol: float) -> None:
    frames = crops.shape[1]
    first, second = _make_indices([range(frames)]), _make_indices([range(frames, 2 * frames)])
    cache.store(first[0], crops[0])
    cache.store(second[0], crops[1])
    cache.store(first[0], crops[1])
    _check_outputs(cache, first, _select_rows(wanted, [1]), atol, "refilled slots")
    cache.store(first[0], crops[0])
    _check_outputs(cache, second, _select_rows(wanted, [1]), atol, "slots beside refilled ones")


def _check_outputs(
    cache: FeatureCache, windows: NDArray[np.intp], wanted: dict[str, Array], atol: float, what: str
) -> None:
    outputs = cache.read(windows)
    assert outputs.keys() == wanted.keys(), f"read() gave {sorted(outputs)}, the whole network gives {sorted(wanted)}"
    for name, array in wanted.items():
        given = outputs[name]
        typed = given.shape == array.shape and given.dtype == array.dtype
        assert typed, f"output {name!r} of {what} is {given.shape} {given.dtype}, not {array.shape} {array.dtype}"
        largest = np.abs(given - array).max()
        assert is_close(given, array, atol), (
            f"output {name!r} of {what} differs from the whole window's by {largest:.3g}"
        )


def _check_ownership(cache: FeatureCache, crops: Array) -> None:
    frames = crops.shape[1]
    slots, windows = _make_indices(range(frames)), _make_indices([range(frames)])
    given, window = crops[0].copy(), windows.copy()
    cache.store(slots, given)
    assert np.array_equal(given, crops[0]), "store() must not write to its crops"
    given[...] = 0
    outputs = cache.read(windows)
    before = copy_arrays(outputs)
    assert np.array_equal(window, windows), "read() must not write to its windows"
    cache.store(slots, crops[1])
    cache.read(windows)
    assert are_equal(outputs, before), "outputs must not be overwritten by the next read()"
    cache.store(slots, crops[0])
    assert are_equal(cache.read(windows), before), "store() must not use its crops after it returned"


def _check_errors(cache: FeatureCache, crops: Array, slots: int) -> None:
    frames = crops.shape[1]
    for wrong in (-1, slots):
        lost, window = _make_indices([wrong]), _make_indices([[wrong] * frames])
        assert raises_engine_error(partial(cache.store, lost, crops[0, :1]), str(wrong)), (
            f"store() in slot {wrong} of {slots} must raise EngineError naming it"
        )
        assert raises_engine_error(partial(cache.read, window), str(wrong)), (
            f"read() of slot {wrong} of {slots} must raise EngineError naming it"
        )
    for length in (frames - 1, frames + 1):
        assert raises_engine_error(partial(cache.read, _make_indices([range(length)])), str((1, length))), (
            f"read() of {length} frames in place of {frames} must raise EngineError naming the shape it was given"
        )
    _check_crop_errors(cache, crops)


def _check_crop_errors(cache: FeatureCache, crops: Array) -> None:
    one, crop = _make_indices([0]), crops[0, :1]
    assert raises_engine_error(partial(cache.store, _make_indices([0, 1]), crop)), (
        "two slots for one crop must raise EngineError"
    )
    assert raises_engine_error(partial(cache.store, one, crop[None])), "crops of a wrong shape must raise EngineError"
    assert raises_engine_error(partial(cache.store, one, crop.astype(np.float64))), (
        "crops of a wrong dtype must raise EngineError"
    )


def _select_rows(outputs: dict[str, Array], rows: Sequence[int]) -> dict[str, Array]:
    return {name: array[rows] for name, array in outputs.items()}


def _make_indices(numbers: Sequence[int] | Sequence[Sequence[int]]) -> NDArray[np.intp]:
    return np.array(numbers, np.intp)
