"""A sink that writes a line an item, and each but once: ``tests.stream.toys.notebook``."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from msgspec import Meta

from stream.caps import ANY, Caps
from stream.element import Sink
from stream.messages import Message, Poses


@dataclass
class Notebook(Sink):
    """Appends camera, seq, age in ms and what was seen to ``location``.

    A sink that is killed between writing and saying so finds, when it is restarted, what it wrote last.
    """

    sink = Caps(ANY)

    location: Annotated[str, Meta(description="the file")]
    step_ms: Annotated[float, Meta(ge=0)] = 0.0

    def __enter__(self) -> Self:
        path = Path(self.location)
        if not self.context.incarnation:
            path.unlink(missing_ok=True)
        self._written = {key_of(line) for line in lines_in(path)}
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def consume(self, item: Message) -> None:
        time.sleep(self.step_ms / 1000)
        if item.key not in self._written:
            self._write(f"{item.key[0]} {item.key[1]} {_age_ms(item):.1f} {_seen(item)}\n")

    def flush(self) -> None:
        self._write("end\n")

    def _write(self, line: str) -> None:
        os.write(self._file, line.encode())


def lines_in(path: Path) -> list[str]:
    """The items that were written down."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line != "end"]


def key_of(line: str) -> tuple[str, int]:
    """Which item a line is about."""
    camera, seq, *_ = line.split()
    return camera, int(seq)


def _age_ms(item: Message) -> float:
    frame: Any = getattr(item, "frame", None) or getattr(item, "key_frame", item)
    return (time.time_ns() - frame.wall_ns) / 1e6


def _seen(item: Message) -> str:
    if not isinstance(item, Poses):
        return type(item).__name__
    return " ".join(f"{value:.3f}" for value in (*item.ids, *item.boxes.ravel(), *item.keypoints.ravel()))
