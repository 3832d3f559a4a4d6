"""Lines to stdout: each is written whole, or not at all, or ends before the next one begins."""

from __future__ import annotations

import io
import os
import select
import stat
import sys
from contextlib import suppress


class StandardOutput:
    """Writes lines to stdout, past the buffer of ``sys.stdout``, which would keep what did not fit and write it later.

    What a full disk takes of a line is removed again. Where that is impossible, since stdout is a device or another
    program has written behind it, the next line begins with a newline.
    """

    def __init__(self) -> None:
        self._is_torn = False

    def write(self, line: bytes) -> None:
        """Write one line, which ends in a newline. Raises ``OSError``."""
        try:
            sys.stdout.flush()
            descriptor = sys.stdout.fileno()
        except (AttributeError, io.UnsupportedOperation):  # replaced, as in a notebook
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            return
        self._write(descriptor, b"\n" + line if self._is_torn else line)
        self._is_torn = False

    def _write(self, descriptor: int, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[_write_some(descriptor, rest) :]
        except OSError:
            written = len(line) - len(rest)
            self._is_torn = self._is_torn or (bool(written) and not _is_undone(descriptor, written))
            raise


def _write_some(descriptor: int, data: memoryview) -> int:
    """Write what there is room for, of a pipe that does not block when there is any."""
    while True:
        with suppress(BlockingIOError):
            return os.write(descriptor, data)
        poller = select.poll()
        poller.register(descriptor, select.POLLOUT)
        poller.poll()


def _is_undone(descriptor: int, written: int) -> bool:
    """Remove the last bytes of a file, unless another program has written behind them."""
    with suppress(OSError):
        found, end = os.fstat(descriptor), os.lseek(descriptor, 0, os.SEEK_CUR)
        if stat.S_ISREG(found.st_mode) and found.st_size == end:
            os.ftruncate(descriptor, end - written)
            os.lseek(descriptor, end - written, os.SEEK_SET)
            return True
    return False
