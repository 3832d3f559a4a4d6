"""The GPU's primary context, current on a thread only while a call of ours runs.

It is the one context of a GPU and process that TensorRT's own CUDA runtime uses too. What follows from PyCUDA's source
(2026.1) shapes this module: a thread that ends while a context is current on it aborts the process, so every call
pushes and pops; what is freed while the context is not current is leaked by every thread but the one that took it, so
all that frees does so inside :func:`current`; and only that one thread could give the context back, so it is kept until
the process ends, as the CUDA runtime keeps it too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pycuda.driver as cuda

_primary: dict[int, cuda.Context] = {}
_lock = threading.Lock()


@contextmanager
def current(ordinal: int = 0) -> Iterator[None]:
    """Make the primary context of a GPU current on this thread until the end of the block. Nests."""
    _retained(ordinal).push()
    try:
        yield
    finally:
        cuda.Context.pop()


def _retained(ordinal: int) -> cuda.Context:
    """Taken when first asked for: whoever imports this module may still fork."""
    with _lock:
        if ordinal not in _primary:
            cuda.init()
            _primary[ordinal] = cuda.Device(ordinal).retain_primary_context()
        return _primary[ordinal]
