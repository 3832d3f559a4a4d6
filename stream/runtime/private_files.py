"""Folders and files that belong to this user alone, and locks on folders.

Others may write to the folder around them. So links are not followed, and nothing is believed that others could change.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stream.errors import TransportError

_LOCK_S = 1.0
"""How long to wait for a lock: a sweep, a list of runs or a part that starts holds it for a moment."""

_MAX_REMOVED = 3
"""How often a draft may be removed before it is in its place, by a program that empties folders."""


def find_fault(directory: Path) -> str:
    """Why others may enter or exchange a directory, with the remedy; empty where it is this user's alone."""
    try:
        found = directory.lstat()
    except OSError as error:
        return f"cannot be read: {error.strerror}; make it"
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link; name the folder that it leads to"
    if not stat.S_ISDIR(found.st_mode):
        return "is a file; remove it"
    if found.st_uid != os.getuid():
        return f"belongs to user {found.st_uid}, not to you ({os.getuid()}); have it removed"
    if stat.S_IMODE(found.st_mode) & 0o077:
        return f"is open to others (mode {stat.S_IMODE(found.st_mode):o}); chmod 700 it if it is yours"
    return ""


def read_own(path: Path) -> bytes:
    """The content of a regular file of this user, its first MiB at most; links are not followed."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise OSError(f"{path} is no file of user {os.getuid()}")
        return file.read(1024**2)


def create(path: Path, text: str) -> None:
    """Write a new file, complete from the start. Raises ``FileExistsError``."""
    _place(path, text.encode(), os.link)


def write(path: Path, content: str | bytes) -> None:
    """Write a file at once, so that no reader sees half of it; it may hold a password or a token."""
    _place(path, content.encode() if isinstance(content, str) else content, os.replace)


def _place(path: Path, content: bytes, place: Callable[[Path, Path], None]) -> None:
    """Write a draft beside ``path`` and ``place`` it there, again if another program removes the draft meanwhile."""
    for is_last in (*[False] * _MAX_REMOVED, True):
        draft = path.with_suffix(f".{secrets.token_hex(4)}.draft")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
            return place(draft, path)
        except FileNotFoundError:
            if is_last or not path.parent.is_dir():
                raise
        finally:
            draft.unlink(missing_ok=True)
    return None


def holds(path: Path, text: str) -> bool:
    try:
        return read_own(path) == text.encode()
    except (OSError, ValueError):
        return False


def take_lock(directory: Path) -> int | None:
    """A descriptor that holds the lock of a directory, or None when another process does."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def wait_for_lock(directory: Path) -> int:
    """A descriptor that holds the lock of a directory. Raises :class:`TransportError` when another process keeps it."""
    until_s = time.monotonic() + _LOCK_S
    while (lock := take_lock(directory)) is None:
        if not directory.is_dir():
            raise TransportError(f"run directory {directory} was removed; leave it alone while a line runs")
        if time.monotonic() > until_s:
            raise TransportError(f"run directory {directory} is in use by another line; end it, or choose another")
        time.sleep(0.01)
    return lock


@contextlib.contextmanager
def locked(file: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock of ``file``, which is made if it is missing, against other threads and other processes.

    Raises :class:`TransportError` when another keeps it for longer than ``wait_s``, and ``OSError`` where the file
    cannot be made.
    """
    until_s = time.monotonic() + wait_s
    while (lock := _try_lock(file)) is None:
        if time.monotonic() > until_s:
            raise TransportError(f"{file} has been locked by another program for {wait_s:g} s; end it, or try again")
        time.sleep(0.005)
    with holding(lock):
        yield


def _try_lock(file: Path) -> int | None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), file.lstat()):  # else it was removed, and its successor is the lock
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@contextlib.contextmanager
def holding(lock: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(lock)
