"""The base class of objects that hold memory, a device or other objects while they are open."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Resource:
    """A context manager with :meth:`open` and :meth:`close`."""

    def open(self) -> None:
        """Acquire what is held; does nothing if already open."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what is held; does nothing if already closed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
