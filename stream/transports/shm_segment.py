"""Named pieces of shared memory: files in ``/dev/shm`` (in the temporary folder where a system has none), mapped.

Not ``multiprocessing.shared_memory``: until Python 3.13 its tracker unlinks segments that other processes still use,
and on macOS its names end after 31 characters and cannot be listed, so nobody could sweep up after a killed run.

Every segment of a run is called ``posestream-<run id>-…``; :func:`unlink_all` removes them, however the run ended.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import re
import shutil
import tempfile
from pathlib import Path

from stream.errors import TransportError

_SHM = Path("/dev/shm")
_NAME = re.compile(r"posestream-[A-Za-z0-9_.-]{1,180}")
_ZEROS = bytes(1 << 20)
_SHARED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # all pages now, not one fault each at first use


def folder() -> Path:
    """Where segments live."""
    return _SHM if _SHM.is_dir() else Path(tempfile.gettempdir())


def prefix_of(run_id: str) -> str:
    """How the names of a run's segments begin."""
    return f"posestream-{clean(run_id)}-"


def clean(name: str) -> str:
    """``name`` as part of a file name: short, without odd characters, and still its own."""
    plain = re.sub(r"[^A-Za-z0-9_.]", "_", name)[:48]
    return plain if plain == name else f"{plain}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def create(name: str, size: int, who: str) -> mmap.mmap:
    """A new segment of ``size`` bytes, all there. Raises :class:`TransportError` when there is no room for it."""
    path = _path(name)
    _check_room(size, who)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError as error:
        raise TransportError(
            f"{who}: shared memory {path} cannot be made: {error.strerror}; end what uses it"
        ) from None
    try:
        _reserve(file, size)
        return mmap.mmap(file, size, flags=_SHARED)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise (_no_room(size, who) if error.errno == errno.ENOSPC else error) from None
    finally:
        os.close(file)


def attach(name: str, *, writable: bool = False) -> mmap.mmap:
    """An existing segment. Raises :class:`TransportError` when there is none of this name."""
    path = _path(name)
    try:
        file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW)
    except OSError as error:
        raise TransportError(f"shared memory {path} cannot be read: {error.strerror}; its owner is gone") from None
    try:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(file, 0, flags=_SHARED, prot=protection)
    except (OSError, ValueError) as error:
        raise TransportError(f"shared memory {path} cannot be mapped: {error}; its owner is gone") from None
    finally:
        os.close(file)


def exists(name: str) -> bool:
    """True while the segment has its name; it lives on without, for those who have it."""
    return _path(name).exists()


def unlink(name: str) -> None:
    """Take away a segment's name; its memory goes with the last mapping. Does nothing when it has none."""
    with contextlib.suppress(FileNotFoundError):
        _path(name).unlink()


def names(prefix: str) -> list[str]:
    """The segments whose names begin like this, in order of name."""
    return sorted(path.name for path in folder().glob(f"{prefix}*") if _NAME.fullmatch(path.name))


def sweep(prefix: str) -> list[str]:
    """Take away the names of all segments that begin like this; returns them.

    ``prefix`` must begin with ``posestream-``, lest somebody else's memory goes.
    """
    found = names(prefix) if prefix.startswith("posestream-") else []
    for name in found:
        unlink(name)
    return found


def unlink_all(run_id: str) -> list[str]:
    """Sweep up after a run, however it ended; returns the names of what it had left."""
    return sweep(prefix_of(run_id))


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise TransportError(f"{name[:60]!r} is not the name of shared memory of ours; it begins with posestream-")
    return folder() / name


def _check_room(size: int, who: str) -> None:
    # Asked first, since a file system may fill itself up before it finds that the rest does not fit.
    if size > shutil.disk_usage(folder()).free:
        raise _no_room(size, who)


def _reserve(file: int, size: int) -> None:
    """Make every byte exist now: a page that cannot be had later would be a bus error, which no program survives."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    for start in range(0, size, len(_ZEROS)):
        os.write(file, _ZEROS[: size - start])


def _no_room(size: int, who: str) -> TransportError:
    free = shutil.disk_usage(folder()).free
    return TransportError(
        f"{who} needs {size:,} bytes in {folder()} and {free:,} are free; "
        "make it larger (docker run --shm-size=1g), or let fewer or smaller frames be in flight"
    )
