"""Named shared memory: mapped files in ``/dev/shm``, or in the temporary folder on a system without it.

``multiprocessing.shared_memory`` is not used: until Python 3.13 its tracker unlinks segments that other processes still
use, and on macOS its names are limited to 31 characters and cannot be listed, so the segments of a killed run could not
be removed.

Every segment of a run is named ``posestream-<run id>-…``; :func:`unlink_all` removes them, however the run ended.
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

from stream.errors import ShortageError, TransportError
from stream.transports import file_identity
from stream.transports.file_identity import FileIdentity

_SHM = Path("/dev/shm")
_NAME = re.compile(r"posestream-[A-Za-z0-9_.-]{1,180}")
_ZEROS = bytes(1 << 20)
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_SEE_LIMITS = "see 'ulimit -a' for the limits of this process"
_SHARED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # map all pages now, not one fault each at first use


def folder() -> Path:
    """The folder of the segments."""
    return _SHM if _SHM.is_dir() else Path(tempfile.gettempdir())


def segment_prefix(run_id: str) -> str:
    """The prefix of the names of a run's segments."""
    return f"posestream-{sanitise(run_id)}-"


def sanitise(name: str) -> str:
    """Make ``name`` a part of a file name: short, of safe characters, and still unique."""
    plain = re.sub(r"[^A-Za-z0-9_.]", "_", name)[:48]
    return plain if plain == name else f"{plain}_{hashlib.blake2b(name.encode(), digest_size=4).hexdigest()}"


def create(name: str, size: int, owner: str) -> mmap.mmap:
    """Create a segment of ``size`` allocated bytes. Raises :class:`TransportError` if there is no room for it."""
    path = _path(name)
    _check_room(size, owner)
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except OSError as error:
        raise _not_created(path, owner, error) from None
    try:
        _reserve(file, size)
        return mmap.mmap(file, size, flags=_SHARED)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise (_no_room(size, owner) if error.errno == errno.ENOSPC else _not_created(path, owner, error)) from None
    finally:
        os.close(file)


def attach(name: str, *, writable: bool = False) -> mmap.mmap:
    """Attach an existing segment. Raises :class:`TransportError` if there is none of this name, or
    :class:`ShortageError` if this process cannot open or map another one."""
    path = _path(name)
    try:
        file = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW)
    except OSError as error:
        raise _not_attached(path, "read", error) from None
    try:
        if os.fstat(file).st_uid != os.getuid():
            raise TransportError(f"shared memory {path} belongs to another user; have it removed")
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(file, 0, flags=_SHARED, prot=protection)
    except (OSError, ValueError) as error:
        raise _not_attached(path, "mapped", error) from None
    finally:
        os.close(file)


def rename(old: str, new: str, owner: str) -> None:
    """Give a segment another name, in place of another file that has it. Raises :class:`TransportError`."""
    try:
        _path(old).replace(_path(new))
    except OSError as error:
        unlink(old)
        raise _not_created(_path(new), owner, error) from None


def exists(name: str) -> bool:
    """True until the segment is unlinked; processes that have mapped it may use it longer."""
    return _path(name).exists()


def identify(name: str) -> FileIdentity | None:
    """The file that has this name now: another one after the segment was unlinked, or its file exchanged."""
    return file_identity.identify(_path(name))


def unlink(name: str) -> None:
    """Unlink a segment, if it exists; its memory is freed with the last mapping."""
    with contextlib.suppress(FileNotFoundError):
        _path(name).unlink()


def find_names(prefix: str) -> list[str]:
    """Find this user's segments with this prefix, sorted by name. Raises :class:`ShortageError`."""
    try:
        found = list(folder().iterdir())
    except OSError as error:
        raise _not_attached(folder(), "listed", error) from None
    names = (path.name for path in found if path.name.startswith(prefix) and _is_own(path))
    return sorted(filter(_NAME.fullmatch, names))


def sweep(prefix: str) -> list[str]:
    """Unlink all segments with this prefix; return their names.

    ``prefix`` must begin with ``posestream-``, so that no memory of other programs is removed.
    """
    found = find_names(prefix) if prefix.startswith("posestream-") else []
    for name in found:
        unlink(name)
    return found


def unlink_all(run_id: str) -> list[str]:
    """Unlink all segments of a run, however it ended; return their names."""
    return sweep(segment_prefix(run_id))


def _is_own(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # unlinked meanwhile
        return path.lstat().st_uid == os.getuid()
    return False


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise TransportError(f"{name[:60]!r} is not the name of a segment; segment names begin with posestream-")
    return folder() / name


def _check_room(size: int, owner: str) -> None:
    # Checked first, since an allocation that does not fit may fill up the file system before it fails.
    if size > shutil.disk_usage(folder()).free:
        raise _no_room(size, owner)


def _reserve(file: int, size: int) -> None:
    """Allocate every byte now: a page that is missing later would be a bus error, which kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    for start in range(0, size, len(_ZEROS)):
        os.write(file, _ZEROS[: size - start])


def _not_created(path: Path, owner: str, error: OSError) -> TransportError:
    remedy = "stop the program that uses it" if error.errno in (errno.EEXIST, errno.EISDIR) else _SEE_LIMITS
    kind = ShortageError if error.errno in _SHORTAGES else TransportError
    return kind(f"{owner}: shared memory {path} cannot be created: {error.strerror}; {remedy}")


def _not_attached(path: Path, what: str, error: OSError | ValueError) -> TransportError:
    if isinstance(error, OSError) and error.errno in _SHORTAGES:
        return ShortageError(f"shared memory {path} cannot be {what}: {error.strerror}; {_SEE_LIMITS}")
    why = error.strerror if isinstance(error, OSError) else error
    return TransportError(f"shared memory {path} cannot be {what}: {why}; its owner is gone")


def _no_room(size: int, owner: str) -> TransportError:
    free = shutil.disk_usage(folder()).free
    return TransportError(
        f"{owner} needs {size:,} bytes in {folder()} and {free:,} are free; "
        "make it larger (docker run --shm-size=1g), or have fewer or smaller frames in flight"
    )
