"""The judge of sources; :func:`stream.testing.check_element` calls it."""

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
"""A source must speak twice a second; forty times that long spares a busy machine a false verdict."""


def check_source(build: Callable[[], Harness], *, quiet: bool = False) -> None:
    """Frames are well formed, numbered upwards, of the camera it names; it starts again when entered again; it speaks
    (a frame or ``None``) at least twice a second."""
    harness = build()
    if quiet:
        _check_it_says_nothing(harness)
        return
    first, again = (_read(harness) for _ in range(2))
    who = label(harness.element)
    assert first, f"{who}: gave no frame; say quiet=True if it has none for now"
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


def _check_it_says_nothing(harness: Harness) -> None:
    who = label(harness.element)
    words = [word for _, word in zip(range(2), _spoken(harness), strict=False)]
    assert words == [None, None], f"{who}: has nothing to give but gave {words}; yield None twice a second"


def _read(harness: Harness) -> list[Any]:
    """The first frames, at most ``MAX_FRAMES``."""
    found: list[Any] = []
    for word in _spoken(harness):
        found += [] if word is None else [word]
        if len(found) == MAX_FRAMES:
            break
    return found


def _spoken(harness: Harness) -> Iterator[Any]:
    """What the source yields; it runs in a thread, so that one that hangs is found out."""
    words: queue.Queue[Any] = queue.Queue(maxsize=1)
    enough = threading.Event()
    listener = threading.Thread(target=_listen, args=(harness, words, enough), daemon=True)
    listener.start()
    try:
        while (word := _next_word(harness, words)) is not _END:
            if isinstance(word, _Raised):
                raise word.error
            yield word
    finally:
        enough.set()
        listener.join(PATIENCE_S)


_END = object()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _next_word(harness: Harness, words: queue.Queue[Any]) -> Any:
    try:
        return words.get(timeout=PATIENCE_S)
    except queue.Empty:
        who = label(harness.element)
        raise AssertionError(f"{who}: said nothing for {PATIENCE_S:g} s; yield None twice a second") from None


def _listen(harness: Harness, words: queue.Queue[Any], enough: threading.Event) -> None:
    source: Source = harness.element
    try:
        with harness:
            for word in source.frames():
                _put(words, word, enough)
                if enough.is_set():
                    return
        _put(words, _END, enough)
    except BaseException as error:  # noqa: BLE001  # handed to the thread that judges
        _put(words, _Raised(error), enough)


def _put(words: queue.Queue[Any], word: Any, enough: threading.Event) -> None:
    while not enough.is_set():
        try:
            words.put(word, timeout=0.1)
        except queue.Full:
            continue
        return
