"""A camera that fails on request: ``tests.stream.toys.unruly``."""

from __future__ import annotations

import faulthandler
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from stream.errors import SourceError
from stream.messages import Frame
from tests.stream.toys.painted import Painted

_log = logging.getLogger(__name__)


@dataclass
class Unruly(Painted):
    """A live ``painted`` that does once what the file ``orders`` says: end, lost, warn, hang or crash."""

    is_live: bool = True
    interval_ms: float = 20.0
    num_frames: int = 100_000

    orders: Annotated[str, Meta(description="the file, which it removes")] = ""

    def frames(self) -> Iterator[Frame | None]:
        for frame in super().frames():
            order = self._take_order()
            if order == "end":
                return
            self._fail(order)
            yield frame

    def _take_order(self) -> str:
        path = Path(self.orders)
        if not path.is_file():
            return ""
        order = path.read_text()
        path.unlink()
        return order

    def _fail(self, order: str) -> None:
        match order:
            case "lost":
                raise SourceError(f"lost {self.camera!r}; plug it in")
            case "warn":
                _log.warning("%s is dark", self.camera)
            case "hang":
                time.sleep(3600)
            case "crash":
                faulthandler._sigsegv()  # type: ignore[attr-defined]  # typeshed does not have it
