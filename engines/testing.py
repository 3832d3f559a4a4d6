"""Judges: hand ``check_backend`` a new backend and it says, in one line, which promise is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from engines.backends.base import Array, Backend, Description, Tensor
from engines.errors import EngineError

SEED = 20240607


def check_backend(make: Callable[[], Backend], *, atol: float = 1e-4) -> None:
    """Raise ``AssertionError`` naming the promise of :class:`engines.backends.base.Backend` that ``make()`` breaks.

    ``make`` gives a fresh, closed backend each time. ``atol`` bounds what batching may change: the sums of a
    single-precision network are taken in another order.
    """
    _check_life(make)
    backend = make()
    backend.open()
    try:
        description = backend.describe()
        _check_description(description)
        feeds = _random_feeds(description)
        _check_outputs(backend, description, feeds)
        _check_ownership(backend, feeds)
        _check_refusals(backend, description, feeds)
        _check_batching(backend, description, atol)
    finally:
        backend.close()


def _check_life(make: Callable[[], Backend]) -> None:
    backend = make()
    assert _refuses(backend.describe), "describe() before open() must raise EngineError"
    backend.open()
    first = backend.describe()
    backend.open()
    assert backend.describe() == first, "open() twice must change nothing"
    backend.close()
    backend.close()
    assert _refuses(lambda: backend.run(_random_feeds(first))), "run() after close() must raise EngineError"
    backend.open()
    assert backend.describe() == first, "a backend that was closed must open again as the same model"
    backend.close()


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
    before = {name: array.copy() for name, array in feeds.items()}
    outputs = backend.run(feeds)
    kept = {name: array.copy() for name, array in outputs.items()}
    assert _equal(feeds, before), "run() must not write to its inputs"
    backend.run({name: np.zeros_like(array) for name, array in feeds.items()})
    assert _equal(outputs, kept), "outputs must not be overwritten by the next run()"
    assert _equal(backend.run(feeds), kept), "the same inputs must give the same outputs"


def _check_refusals(backend: Backend, description: Description, feeds: Mapping[str, Array]) -> None:
    first = description.inputs[0]
    others = {name: array for name, array in feeds.items() if name != first.name}
    assert _refuses(lambda: backend.run(others)), f"run() without {first.name!r} must raise EngineError"
    unknown = {**feeds, "nobody_asked": feeds[first.name]}
    assert _refuses(lambda: backend.run(unknown)), "run() with an unknown input must raise EngineError"
    deep = {**feeds, first.name: feeds[first.name][None]}
    named = _refuses(lambda: backend.run(deep), str(deep[first.name].shape))
    assert named, "an input of the wrong shape must raise EngineError naming that shape"
    wrong = {**feeds, first.name: feeds[first.name].astype(np.complex64)}
    assert _refuses(lambda: backend.run(wrong)), "a wrong dtype must raise EngineError"


def _check_batching(backend: Backend, description: Description, atol: float) -> None:
    if description.batch is not None:
        return
    feeds = _random_feeds(description, batch=3)
    together = backend.run(feeds)
    for row in range(3):
        alone = backend.run({name: array[row : row + 1] for name, array in feeds.items()})
        for name, array in alone.items():
            same = np.allclose(array[0], together[name][row], atol=atol)
            assert same, f"output {name!r} of a sample depends on its company in the batch"


def _is_dtype(name: str) -> bool:
    try:
        np.dtype(name)
    except TypeError:
        return False
    return True


def _refuses(call: Callable[[], object], *words: str) -> bool:
    """True when ``call`` raises EngineError in one line that says all ``words``."""
    try:
        call()
    except EngineError as error:
        return "\n" not in str(error) and all(word in str(error) for word in words)
    return False


def _random_feeds(description: Description, batch: int = 1) -> dict[str, Array]:
    random = np.random.default_rng(SEED)
    return {tensor.name: _random_array(tensor, random, batch) for tensor in description.inputs}


def _random_array(tensor: Tensor, random: np.random.Generator, batch: int) -> Array:
    shape = [size or (batch if place == 0 else 1) for place, size in enumerate(tensor.shape)]
    return random.uniform(0, 4, shape).astype(tensor.dtype)


def _equal(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
