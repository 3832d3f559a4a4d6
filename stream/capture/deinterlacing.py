"""Deinterlacing: FFmpeg's ``bwdif`` makes a whole picture of each interlaced frame."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

_log = logging.getLogger(__name__)


class Deinterlacer:
    """Takes the decoded frames of ``stream``, in order, and yields as many.

    From the first interlaced frame on, each comes after the next one was taken, since ``bwdif`` compares neighbours.
    ``name`` is the source's in the message about it.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name
        self._graph: Any = None
        self._shape: tuple[Any, ...] = ()
        self._captured_ns: deque[int] = deque()

    def process(self, frame: Any, captured_ns: int) -> Iterator[tuple[Any, int]]:
        """Take one frame, and yield those that are ready, each with its own ``captured_ns``."""
        if self._graph is None and not frame.interlaced_frame:
            yield frame, captured_ns
            return
        shape = frame.width, frame.height, frame.format.name
        if shape != self._shape:
            yield from self.flush()
            self._open(frame)
            self._shape = shape
        self._captured_ns.append(captured_ns)
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[tuple[Any, int]]:
        """Yield what is held back, at the end of the stream."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph, self._shape = None, ()

    def _open(self, frame: Any) -> None:
        from av.filter import Graph

        if not self._shape:
            _log.info("%s is interlaced; its frames are deinterlaced", self._name)
        self._graph = Graph()
        self._graph.link_nodes(
            self._graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=frame.time_base or self._stream.time_base,
            ),
            self._graph.add("bwdif", "mode=send_frame:deint=interlaced"),
            self._graph.add("buffersink"),
        ).configure()

    def _pull(self) -> Iterator[tuple[Any, int]]:
        from av.error import BlockingIOError as Pending
        from av.error import EOFError as EndOfFile

        while True:
            try:
                frame = self._graph.vpull()
            except (Pending, EndOfFile):
                return
            yield frame, self._captured_ns.popleft()
