"""What engines and detectors share: they are opened by ``with``, by ``open()``, or by their first use."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Resource:
    """Holds memory or a device between :meth:`open` and :meth:`close`."""

    def open(self) -> None:
        """Take what is needed; idempotent."""
        raise NotImplementedError

    def close(self) -> None:
        """Give it back; idempotent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
