"""Files of bounded size, their text, and the error of all readers of formats."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from engines.errors import PosestreamError

BOM = b"\xef\xbb\xbf"


class FormatError(PosestreamError):
    """A file or message is not of its format, or exceeds a limit. ``line`` and ``column`` count from 1; 0: unknown."""

    def __init__(self, why: str, line: int = 0, column: int = 0) -> None:
        super().__init__(why)
        self.line, self.column = line, column

    def within(self, name: str) -> str:
        """The message, with the place in what is called ``name``.

        >>> FormatError("'rate' is given twice", 3, 5).within("recipe a.yaml")
        "recipe a.yaml line 3, column 5: 'rate' is given twice"
        """
        return f"{name}{_place(self.line, self.column)}: {self}"


def _place(line: int, column: int) -> str:
    return (f" line {line}" if line else "") + (f", column {column}" if line and column else "")


def stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    """What differs once a file was replaced, written to or made readable. The time of its modification alone does not:
    copies and archives keep it, or set it."""
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file or pipe of at most ``limit`` bytes. Raises :class:`FormatError`."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISFIFO(found.st_mode)):
                raise FormatError("it is a device, not a file")
            content = b"" if found.st_size > limit else file.read(min(found.st_size or limit, limit) + 1)
    except OSError as error:
        raise FormatError("it is a folder, not a file" if path.is_dir() else error.strerror or str(error)) from error
    if max(found.st_size, len(content)) > limit:
        raise FormatError(f"it has more than {limit // 1024:,} KiB, the most that is read")
    return content


def decode_text(content: bytes) -> str:
    """UTF-8 text, without a byte order mark. Raises :class:`FormatError` with the line of the first other byte."""
    try:
        return content.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("it is not UTF-8 text", *line_of(content, error.start)) from error


def line_of(content: bytes, offset: int) -> tuple[int, int]:
    """Line and column of a byte, from 1."""
    before = content[:offset]
    return before.count(b"\n") + 1, offset - before.rfind(b"\n")
