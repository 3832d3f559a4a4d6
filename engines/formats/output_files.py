"""Files written where others may write too: opened alone, through no planted link, and replaced in one step."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_log = logging.getLogger(__name__)

Opener = Callable[[str, int], int]
"""Opens a file by its path and flags, as :func:`open` lets a caller choose; returns the descriptor."""


def open_alone(path: str, flags: int) -> int:
    """An ``opener`` for :func:`open` that raises where a pipe has no reader, instead of waiting for one, and where
    another program has opened the file in this way, before anything in it is removed."""
    handle = os.open(path, flags & ~os.O_TRUNC | os.O_NONBLOCK, 0o666)
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            _lock(handle)
            if flags & os.O_TRUNC:
                os.ftruncate(handle, 0)
        os.set_blocking(handle, True)
    except BaseException:
        os.close(handle)
        raise
    return handle


def open_temporary(path: str, flags: int) -> int:
    """As :func:`open_alone`, for names of our own in folders where others may write: it raises at a symbolic link,
    which could lead to any file of this user."""
    try:
        return open_alone(path, flags | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "symbolic links are followed only from names that you gave") from None
        raise


def replace_file(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a new file beside ``target`` and move it there in one step. Raises ``OSError``."""
    beside = target.with_name(f".{target.name}.part")  # a part that is restarted uses the name again
    try:
        with open(beside, "wb", opener=open_temporary) as file:
            write(file)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _lock(handle: int) -> None:
    """Lock a file until it is closed, where its file system can."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another sink is writing to it") from None
    except OSError:
        _log.debug("the file system has no locks")
