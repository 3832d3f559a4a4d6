"""``check_backend``: conformance tests for an implementation of :class:`engines.backends.base.Backend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from engines.backends.base import Backend
from engines.spec.tensors import Array, Description
from engines.testing.arrays import (
    are_equal,
    copy_arrays,
    get_tolerance,
    is_close,
    make_random_feeds,
    raises_engine_error,
)


def check_backend(make: Callable[[], Backend], *, atol: float | None = None) -> None:
    """Check a :class:`engines.backends.base.Backend`; raise ``AssertionError`` naming what fails.

    ``make`` returns a new, closed backend on each call. ``atol`` bounds how far a sample's outputs may change with the
    batch size, relative to the largest output value or to 1; pass it if the network computes in a lower precision than
    its inputs and outputs have. By default it follows from their dtypes.
    """
    _check_lifecycle(make)
    backend = make()
    backend.open()
    try:
        description = backend.describe()
        _check_description(description)
        feeds = make_random_feeds(description)
        _check_outputs(backend, description, feeds)
        _check_ownership(backend, feeds)
        _check_errors(backend, description, feeds)
        _check_batching(backend, description, get_tolerance(description) if atol is None else atol)
    finally:
        backend.close()
    _check_threads(make)


def _check_lifecycle(make: Callable[[], Backend]) -> None:
    backend = make()
    assert raises_engine_error(backend.describe), "describe() before open() must raise EngineError"
    backend.open()
    first = backend.describe()
    backend.open()
    assert backend.describe() == first, "open() twice must change nothing"
    backend.close()
    backend.close()
    assert raises_engine_error(lambda: backend.run(make_random_feeds(first))), (
        "run() after close() must raise EngineError"
    )
    backend.open()
    assert backend.describe() == first, "a backend that was closed must open again as the same model"
    backend.close()


def _check_threads(make: Callable[[], Backend]) -> None:
    """A pipeline opens, runs and closes a backend from different threads, and runs it in ``side_by_side`` at once."""
    backend = make()
    backend.open()
    feeds = make_random_feeds(backend.describe())
    here = backend.run(feeds)
    with ThreadPoolExecutor(1) as other:
        there = other.submit(backend.run, feeds)
        assert there.exception() is None, f"run() from another thread than open()'s failed: {there.exception()}"
        assert are_equal(here, there.result()), "run() from another thread must give the same outputs"
        _check_side_by_side(backend, feeds, here)
        closed = other.submit(backend.close)
        assert closed.exception() is None, f"close() from another thread than open()'s failed: {closed.exception()}"
    assert raises_engine_error(lambda: backend.run(feeds)), (
        "run() after close() in another thread must raise EngineError"
    )


def _check_side_by_side(backend: Backend, feeds: Mapping[str, Array], alone: Mapping[str, Array]) -> None:
    count = backend.describe().side_by_side
    assert count >= 1, f"describe().side_by_side is {count}; at least one thread runs a backend"
    if count > 1:
        with ThreadPoolExecutor(min(count, 4)) as others:
            runs = [others.submit(backend.run, feeds) for _ in range(8)]
            assert all(are_equal(run.result(), alone) for run in runs), (
                "run() in several threads at once must give the outputs of one, or describe().side_by_side be 1"
            )


def _check_description(description: Description) -> None:
    for kind, tensors in (("input", description.inputs), ("output", description.outputs)):
        names = [tensor.name for tensor in tensors]
        assert names, f"describe() must list at least one {kind}"
        assert len(set(names)) == len(names), f"describe() lists an {kind} twice: {names}"
        for tensor in tensors:
            known = _is_numpy_dtype(tensor.dtype)
            assert known, f"describe(): {kind} {tensor.name!r} has no numpy dtype: {tensor.dtype!r}"
    assert description.device, "describe() must name the device"


def _check_outputs(backend: Backend, description: Description, feeds: Mapping[str, Array]) -> None:
    outputs = backend.run(feeds)
    wanted = [tensor.name for tensor in description.outputs]
    assert sorted(outputs) == sorted(wanted), f"run() gave {sorted(outputs)}, describe() says {sorted(wanted)}"
    for tensor in description.outputs:
        given = outputs[tensor.name]
        fits = tensor.accepts(given.shape) and str(given.dtype) == tensor.dtype
        assert fits, f"output {tensor.name!r} is {given.shape} {given.dtype}, describe() says {tensor}"


def _check_ownership(backend: Backend, feeds: Mapping[str, Array]) -> None:
    before = copy_arrays(feeds)
    outputs = backend.run(feeds)
    kept = copy_arrays(outputs)
    assert are_equal(feeds, before), "run() must not write to its inputs"
    backend.run({name: np.zeros_like(array) for name, array in feeds.items()})
    assert are_equal(outputs, kept), "outputs must not be overwritten by the next run()"
    assert are_equal(backend.run(feeds), kept), "the same inputs must give the same outputs"
    writeable = all(array.flags.writeable for array in outputs.values())
    assert writeable, "outputs belong to the caller, who may write to them"


def _check_errors(backend: Backend, description: Description, feeds: Mapping[str, Array]) -> None:
    first = description.inputs[0]
    others = {name: array for name, array in feeds.items() if name != first.name}
    assert raises_engine_error(lambda: backend.run(others)), f"run() without {first.name!r} must raise EngineError"
    unknown = {**feeds, "unknown": feeds[first.name]}
    assert raises_engine_error(lambda: backend.run(unknown)), "run() with an unknown input must raise EngineError"
    deep = {**feeds, first.name: feeds[first.name][None]}
    named = raises_engine_error(lambda: backend.run(deep), str(deep[first.name].shape))
    assert named, "an input of the wrong shape must raise EngineError naming that shape"
    for other in ("complex64", "float16" if first.dtype == "uint8" else "uint8"):
        wrong = {**feeds, first.name: feeds[first.name].astype(other)}
        named = raises_engine_error(partial(backend.run, wrong), other, first.dtype)
        assert named, f"an input of dtype {other} in place of {first.dtype} must raise EngineError naming both"


def _check_batching(backend: Backend, description: Description, atol: float) -> None:
    if description.batch is not None:
        return
    feeds = make_random_feeds(description, batch=3)
    together = backend.run(feeds)
    for row in range(3):
        alone = backend.run({name: array[row : row + 1] for name, array in feeds.items()})
        for name, array in alone.items():
            same = is_close(array[0], together[name][row], atol)
            assert same, f"output {name!r} of a sample depends on the other samples of the batch"


def _is_numpy_dtype(name: str) -> bool:
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True
