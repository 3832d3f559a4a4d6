"""Rings of frames for tests."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from stream.messages import Frame
from stream.transports.shm_ring import FrameRing
from stream.transports.wire import FrameRef

SHAPE = (4, 6, 3)


def fill(ring: FrameRing, seq: int, shape: tuple[int, int, int] = SHAPE, camera: str = "hall") -> Frame:
    pixels = ring.allocate(shape)
    pixels[:] = seq
    return Frame(camera, seq, 0, 0, pixels)


def send(ring: FrameRing, seq: int, shape: tuple[int, int, int] = SHAPE) -> FrameRef:
    """Fill and reference a frame, which the source then deletes; it stays in flight."""
    ref = ring.reference(fill(ring, seq, shape))
    assert ref is not None
    return ref


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process may open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
