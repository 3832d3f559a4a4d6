"""Random inputs, tolerances and comparisons that the checks of this package share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor

SEED = 20240607

TOLERANCES = {"float16": 1e-2, "float32": 1e-4}
"""By the least precise type among inputs and outputs, as a share of the largest value. Another batch size may change
the order of sums: a float32 sum of some thousand terms is good to 1e-5 and a network repeats it a hundred times; half
precision rounds each to 5e-4."""


def get_tolerance(description: Description) -> float:
    """The entry of :data:`TOLERANCES` for the least precise floating type among inputs and outputs."""
    types = {tensor.dtype for tensor in (*description.inputs, *description.outputs)}
    return max(TOLERANCES.get(dtype, TOLERANCES["float32"]) for dtype in types)


def is_close(actual: Array, expected: Array, atol: float) -> bool:
    """True if both differ by at most ``atol`` times the largest absolute value of ``expected``, or times 1."""
    largest = max(1.0, float(np.abs(expected).max(initial=0.0)))
    return actual.shape == expected.shape and np.allclose(actual, expected, rtol=0, atol=atol * largest, equal_nan=True)


def raises_engine_error(call: Callable[[], object], *words: str) -> bool:
    """True if ``call`` raises :class:`EngineError` whose message contains all ``words``."""
    try:
        call()
    except EngineError as error:
        return all(word in str(error) for word in words)
    return False


def make_random_feeds(description: Description, batch: int = 1) -> dict[str, Array]:
    """One array for each input, with a fixed seed."""
    random = np.random.default_rng(SEED)
    return {tensor.name: make_random_array(tensor, random, batch) for tensor in description.inputs}


def make_random_array(tensor: Tensor, random: np.random.Generator, batch: int) -> Array:
    """An array that fits ``tensor``: 0..255 for uint8, else 0..4, the order of normalised pixels."""
    shape = [size or (batch if axis == 0 else 1) for axis, size in enumerate(tensor.shape)]
    if tensor.dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.uniform(0, 4, shape).astype(tensor.dtype)


def copy_arrays(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """A deep copy."""
    return {name: array.copy() for name, array in arrays.items()}


def are_equal(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    """True if names and values are bit-identical."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name], equal_nan=True) for name in first
    )
