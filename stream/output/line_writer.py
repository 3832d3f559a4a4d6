"""Lines to a file, a pipe or a device: each is written whole, or not at all, or ends before the next one begins.

A pipe is full while its reader does something else. The writer waits for it in short turns, so that a part that waits
is not taken for one that hangs, and can be asked to end.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stream.element import Context
from stream.errors import StartError

_log = logging.getLogger(__name__)

_TURN_MS = 500
_WARN_S = 5.0
_END_S = 1.5


class LineWriter:
    """Writes lines to a descriptor of ``name``, for ``owner``.

    What a full disk takes of a line is removed again. Where that is impossible, since it is a pipe or a device, or
    another program has written behind it, the next line begins with a newline; so does the first one after a restart
    inside a line, which the memory of ``context`` shows. Of lines that are written together, such as the rows of a
    frame, those that were complete before a restart are not written again, if they come with the same ``key``.
    """

    def __init__(self, owner: str, name: str, context: Context, mark: str = "torn") -> None:
        self._owner, self._name, self._context, self._mark = owner, name, context, mark
        self._memory = context.memory
        self._key_mark = f"{mark} key"
        if not context.incarnation:
            self._memory.pop(mark, None)
        self._has_warned = False

    def write(self, descriptor: int, line: bytes, key: int = 0) -> None:
        """Write one line, which ends in a newline, or several.

        Raises ``OSError``, and :class:`StartError` where the line is asked to end while its reader takes nothing.
        """
        was_torn = self._memory.get(self._mark, 0)
        start, prefix = self._find_start(line, key)
        data = memoryview(prefix + line[start:])
        rest = data
        self._memory[self._key_mark] = key
        try:
            with _writable(descriptor) as (handle, most):
                while rest:
                    self._wait(handle)
                    done = max(0, start + len(data) - len(rest) - len(prefix))
                    self._memory[self._mark] = 2 * done + 1  # if the process is killed from here on
                    with suppress(BlockingIOError):
                        rest = rest[os.write(handle, rest[:most]) :]
                        self._memory[self._mark] = 2 * (start + len(data) - len(rest) - len(prefix)) + 2
        except OSError:
            written = len(data) - len(rest)
            self._memory[self._mark] = int(bool(was_torn) or (bool(written) and not _is_undone(descriptor, written)))
            raise
        self._memory[self._mark] = 0

    def _find_start(self, lines: bytes, key: int) -> tuple[int, bytes]:
        """Where to begin in ``lines``, and what ends the torn line before.

        The mark in the memory is twice the bytes that were written, and 2, or 1 if more may have been written.
        """
        mark = self._memory.get(self._mark, 0)
        if not mark:
            return 0, b""
        if not key or self._memory.get(self._key_mark) != key:
            return 0, b"\n"
        done, is_exact = (mark - 1) // 2, mark % 2 == 0
        start = lines.rfind(b"\n", 0, done) + 1
        return start, b"" if is_exact and start == done else b"\n"

    def _wait(self, handle: int) -> None:
        """Wait until there is room."""
        poller = select.poll()
        poller.register(handle, select.POLLOUT)
        began_s = time.monotonic()
        while not poller.poll(_TURN_MS):
            self._context.progress()
            waited_s = time.monotonic() - began_s
            if waited_s > _END_S and self._context.is_ending():
                raise StartError(
                    f"{self._owner}: {self._name} cannot take the last lines: the program that reads it has read "
                    f"nothing for {waited_s:.0f} s; end the line while that program reads"
                )
            if waited_s > _WARN_S and not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "%s: the line waits for the program that reads %s, which has read nothing for %.0f s; let it read, "
                    "or end the line",
                    self._owner,
                    self._name,
                    waited_s,
                )


@contextmanager
def _writable(descriptor: int) -> Iterator[tuple[int, int]]:
    """A descriptor that can be written without blocking once it is polled as ready, and the most bytes to write to it
    at a time. A pipe is opened anew, since other processes share the flags of a descriptor that was inherited."""
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        yield descriptor, _UNLIMITED
        return
    own = _open_anew(descriptor) if stat.S_ISFIFO(kind) else None
    if own is None:
        yield descriptor, select.PIPE_BUF
        return
    try:
        yield own, _UNLIMITED
    finally:
        os.close(own)


_UNLIMITED = 1 << 62


def _open_anew(descriptor: int) -> int | None:
    with suppress(OSError):  # no /proc, not allowed, or no reader, which the write will say
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK)
    return None


def _is_undone(descriptor: int, written: int) -> bool:
    """Remove the last bytes of a file, unless another program has written behind them."""
    with suppress(OSError):
        found, end = os.fstat(descriptor), os.lseek(descriptor, 0, os.SEEK_CUR)
        if stat.S_ISREG(found.st_mode) and found.st_size == end:
            os.ftruncate(descriptor, end - written)
            os.lseek(descriptor, end - written, os.SEEK_SET)
            return True
    return False
