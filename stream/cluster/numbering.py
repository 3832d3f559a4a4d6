"""Numbers of placements, which rise: who receives from two placements of a camera believes the one with the higher.

A host that was cut off does not know that its cameras run elsewhere by now. When the cable is back, what it sends has
an old number, and is refused.
"""

from __future__ import annotations

import os
from pathlib import Path

from stream.errors import TransportError
from stream.runtime.private_files import read_own

_BLOCK = 1000


class Fence:
    """The highest number that was seen of each camera.

    >>> fence = Fence()
    >>> [fence.admit("hall", number) for number in (3, 3, 5, 4)]
    [True, True, True, False]
    """

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}

    def admit(self, camera: str, number: int) -> bool:
        """True unless a higher number was seen of this camera."""
        if number < self._highest.get(camera, 0):
            return False
        self._highest[camera] = number
        return True


class Numbering:
    """Gives rising numbers, also after a restart of the process or of the machine: ``file`` holds a bound of those that
    were given, and is on the disk before a number above it is. Without a file, for this process alone.

    Raises :class:`TransportError` if the file cannot be read or written.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._last = self._bound = _read(file) if file is not None else 0

    def next(self) -> int:
        """The next number, from 1."""
        if self._last == self._bound:
            self._bound += _BLOCK
            if self._file is not None:
                _write(self._file, self._bound)
        self._last += 1
        return self._last


def _read(file: Path) -> int:
    try:
        text = read_own(file).decode()
    except FileNotFoundError:
        return 0
    except (OSError, ValueError) as error:
        raise TransportError(f"the last number of a placement cannot be read from {file}: {error}") from None
    if not text.strip().isdecimal():
        raise TransportError(
            f"{file} holds {text[:20]!r}, not the last number of a placement; write one that is above all that "
            "'posestream cluster status' has shown"
        )
    return int(text)


def _write(file: Path, number: int) -> None:
    draft = file.with_suffix(".draft")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as opened:
            opened.write(f"{number}\n")
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise TransportError(f"{file} cannot be written: {error.strerror}; make room, or mend its folder") from None
