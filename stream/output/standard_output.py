"""Lines to stdout, past the buffer of ``sys.stdout``, which would keep what did not fit and write it later."""

from __future__ import annotations

import io
import sys

from stream.element import Context
from stream.output.line_writer import LineWriter
from stream.output.locations import write_error


class StandardOutput:
    """Writes lines to stdout for the element ``owner`` of ``context``, as :class:`LineWriter` does.

    ``elsewhere`` says in errors how to write to another place.
    """

    def __init__(self, owner: str, context: Context, elsewhere: str = "choose another location=") -> None:
        self._owner, self._elsewhere = owner, elsewhere
        self._lines = LineWriter(owner, "stdout", context)

    def write(self, line: bytes, key: int = 0) -> None:
        """Write one line, which ends in a newline, or several of one ``key``.

        Raises ``BrokenPipeError`` where the reader has gone, :class:`TransportError` where it cannot be written, and
        what :class:`LineWriter` raises.
        """
        try:
            self._write(line, key)
        except BrokenPipeError:  # its reader has seen enough
            raise
        except OSError as error:
            raise write_error(self._owner, "to stdout", error, self._elsewhere) from None

    def _write(self, line: bytes, key: int) -> None:
        try:
            sys.stdout.flush()
            descriptor = sys.stdout.fileno()
        except (AttributeError, io.UnsupportedOperation):  # replaced, as in a notebook
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            return
        self._lines.write(descriptor, line, key)
