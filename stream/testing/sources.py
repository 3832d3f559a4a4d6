"""The conformance test of sources; part of :func:`stream.testing.check_element`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stream.element import Source
from stream.messages import Frame
from stream.pipeline.wiring import camera_name
from stream.registry import label
from stream.testing.harness import Harness

MAX_FRAMES = 50
PATIENCE_S = 20.0
"""A source must yield twice a second; this is forty times longer, so that a busy machine does not fail the test."""


def check_source(build: Callable[[], Harness], *, quiet: bool = False) -> None:
    """Check that frames are valid, of the source's camera and with rising numbers, that it can be opened again, and
    that it yields a frame or ``None`` at least twice a second."""
    harness = build()
    if quiet:
        _check_yields_none(harness)
        return
    first, again = (_read(harness) for _ in range(2))
    who = label(harness.element)
    assert first, f"{who}: gave no frame; pass quiet=True if it has none"
    assert again, f"{who}: gave frames when first entered, but none the second time"
    camera, last = camera_name(harness.element), -1
    for frame in first:
        _check_frame(who, frame)
        assert frame.camera == camera, f"{who}: a frame of camera {frame.camera!r}, but its camera is {camera!r}"
        assert frame.seq > last, f"{who}: frame {frame.seq} came after frame {last}; seq counts upwards"
        last = frame.seq


def _check_frame(who: str, frame: Any) -> None:
    assert isinstance(frame, Frame), f"{who}: gave a {type(frame).__name__}; a source gives Frame or None"
    pixels = frame.pixels
    is_picture = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    assert is_picture, f"{who}: pixels are {pixels.dtype} {pixels.shape}, not uint8 (height, width, 3)"
    assert "captured" in frame.ledger, f"{who}: the ledger does not say when the frame was 'captured'"
    assert frame.wall_ns > 0, f"{who}: wall_ns is {frame.wall_ns}, not the time of capture"


def _check_yields_none(harness: Harness) -> None:
    who = label(harness.element)
    values = [value for _, value in zip(range(2), _yielded(harness), strict=False)]
    assert values == [None, None], f"{who}: has nothing to give but gave {values}; yield None twice a second"


def _read(harness: Harness) -> list[Any]:
    """The first frames, at most ``MAX_FRAMES``."""
    found: list[Any] = []
    for value in _yielded(harness):
        found += [] if value is None else [value]
        if len(found) == MAX_FRAMES:
            break
    return found


def _yielded(harness: Harness) -> Iterator[Any]:
    """What the source yields; it runs in a thread, so that a source that hangs fails the test."""
    values: queue.Queue[Any] = queue.Queue(maxsize=1)
    enough = threading.Event()
    reader = threading.Thread(target=_run, args=(harness, values, enough), daemon=True)
    reader.start()
    try:
        while (value := _next_value(harness, values)) is not _END:
            if isinstance(value, _Raised):
                raise value.error
            yield value
    finally:
        enough.set()
        reader.join(PATIENCE_S)


_END = object()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _next_value(harness: Harness, values: queue.Queue[Any]) -> Any:
    try:
        return values.get(timeout=PATIENCE_S)
    except queue.Empty:
        who = label(harness.element)
        raise AssertionError(f"{who}: yielded nothing for {PATIENCE_S:g} s; yield None twice a second") from None


def _run(harness: Harness, values: queue.Queue[Any], enough: threading.Event) -> None:
    source: Source = harness.element
    try:
        with harness:
            for value in source.frames():
                _put(values, value, enough)
                if enough.is_set():
                    return
        _put(values, _END, enough)
    except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
        _put(values, _Raised(error), enough)


def _put(values: queue.Queue[Any], value: Any, enough: threading.Event) -> None:
    while not enough.is_set():
        try:
            values.put(value, timeout=0.1)
        except queue.Full:
            continue
        return
