"""The cameras of a site as files, one each: what they say is what runs, also after a restart."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from engines.formats.files import FormatError, decode_text, stamp
from engines.formats.yaml import decode_yaml
from engines.redaction import mask_credentials
from stream.errors import LaunchError, PropertyError, TransportError
from stream.runtime.private_files import create, find_fault, locked, read_own, take_lock, write
from stream.site.template import Properties, Value, spell

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
"""What a camera of a site may be called, since files are called after it."""

_SUFFIX = ".yaml"
_LINE = "line"
"""The file of the line itself, which no camera's can be, since it has no suffix."""

_LOCK = "lock"
"""The file that is locked while a camera is changed: the lock of the folder itself belongs to the site that runs."""

_LOCK_S = 5.0
"""How long to wait for it: a change takes milliseconds."""

MAX_CAMERAS = 64
"""The most cameras of a site on one host."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    properties: dict[str, Value] = {}
    paused: bool = False


@dataclass(frozen=True)
class CameraSettings:
    """The ``properties`` of a camera's source, and whether it is ``paused``; ``fault``: why its file cannot be used."""

    properties: tuple[tuple[str, str], ...] = ()
    paused: bool = False
    fault: str = ""


class CameraFolder:
    """The files ``NAME.yaml`` in ``folder``, which is made if it is missing.

    Anything may edit them; what is written here is whole at once, and for this user alone, since addresses may hold
    passwords. Changes follow one another, also those of other processes. ``most`` cameras can run. Raises
    :class:`TransportError` if others may enter the folder.
    """

    def __init__(self, folder: Path, most: int = MAX_CAMERAS) -> None:
        self.path, self._most = folder, most
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise TransportError(f"the folder of cameras {folder} cannot be made: {error.strerror}") from None
        if fault := find_fault(folder):
            raise TransportError(f"the folder of cameras {folder} {fault}, or choose another with --cameras")
        self._seen: dict[str, tuple[tuple[int, ...], CameraSettings]] = {}

    def read(self) -> dict[str, CameraSettings]:
        """The cameras by name; files that have not changed are not read again."""
        found = {}
        paths = sorted(self.path.glob(f"*{_SUFFIX}"))
        for path in paths[: self._most]:
            with contextlib.suppress(FileNotFoundError):
                state = stamp(path.lstat())
                before = self._seen.get(path.stem)
                found[path.stem] = before if before and before[0] == state else (state, _read(path))
        self._seen = found
        cameras = {name: settings for name, (_, settings) in found.items()}
        why = f"it does not run: {self._describe_excess(len(paths))}"
        return cameras | {path.stem: CameraSettings(fault=why) for path in paths[self._most : self._most + MAX_CAMERAS]}

    def add(self, name: str, properties: Properties, check: Callable[[], object]) -> None:
        """Write the file of a new camera, after ``check``. Raises :class:`PropertyError` if there is one of that name
        or there are too many."""
        check_camera(name)
        with self._changing():
            if name in (known := self.read()):
                raise CameraExistsError(f"there is a camera {name!r} already; remove it first, or choose another name")
            if len(known) >= self._most:
                raise PropertyError(self._describe_excess(len(known)))
            check()
            with _writing(self._file(name)):
                create(self._file(name), _dump(properties, paused=False))

    def remove(self, name: str) -> None:
        """Remove the file of a camera."""
        with self._changing():
            self._find(name)
            with _writing(self._file(name), "removed"):
                self._file(name).unlink(missing_ok=True)

    def pause(self, name: str, is_paused: bool) -> None:
        """Pause a camera, or let it go on."""
        with self._changing():
            settings = self._find(name)
            if settings.fault:
                raise LaunchError(settings.fault)
            with _writing(self._file(name)):
                write(self._file(name), _dump(dict(settings.properties), paused=is_paused))

    def has_site(self) -> bool:
        """True while a site runs with these cameras."""
        lock = take_lock(self.path)
        if lock is not None:
            os.close(lock)
        return lock is None

    def read_line(self) -> str:
        """The line that the site runs, or is to run; empty where it was never started."""
        try:
            return decode_text(read_own(self.path / _LINE))
        except (OSError, FormatError):
            return ""

    def write_line(self, text: str) -> None:
        """Let the site run another line."""
        with _writing(self.path / _LINE):
            write(self.path / _LINE, text)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock for a change, from reading to writing; without it, a camera that is removed while it is paused
        would be written again."""
        file = self.path / _LOCK
        with contextlib.ExitStack() as held:
            with _writing(file):
                held.enter_context(locked(file, _LOCK_S))
            yield

    def _find(self, name: str) -> CameraSettings:
        known = self.read()
        if name not in known:
            raise UnknownCameraError(f"there is no camera {name!r}; there are: {', '.join(known) or 'none'}")
        return known[name]

    def _describe_excess(self, count: int) -> str:
        return f"there are {count} cameras, and a site has {self._most} at most; start another site"

    def _file(self, name: str) -> Path:
        return self.path / f"{name}{_SUFFIX}"


class CameraExistsError(PropertyError):
    """A camera whose name is taken."""


class UnknownCameraError(PropertyError):
    """A camera that the site does not have."""


_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EISDIR: "it is a folder, so move it away",
}


@contextlib.contextmanager
def _writing(file: Path, what: str = "written") -> Iterator[None]:
    try:
        yield
    except FileExistsError:  # a program that does not lock has added it at the same moment
        raise CameraExistsError(f"there is a camera {file.stem!r} already; choose another name") from None
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, f"mend the folder {file.parent}")
        raise TransportError(f"{file} cannot be {what}: {error.strerror}; {remedy}") from None


def check_camera(name: str) -> None:
    """Raise :class:`PropertyError` for a name that a camera of a site cannot have, since files are called after it."""
    if not NAME.fullmatch(name):
        raise PropertyError(f"{name!r} is no name for a camera: write at most 32 letters, digits, '-' and '_'")


def _read(path: Path) -> CameraSettings:
    try:
        check_camera(path.stem)
        text = decode_text(read_own(path))
        mask_credentials(text)
        found = decode_yaml(text, _File) if text.strip() else _File()
    except FormatError as error:
        return CameraSettings(fault=error.within(str(path)))
    except PropertyError as error:
        return CameraSettings(fault=f"{path}: {error}")
    except OSError as error:
        return CameraSettings(fault=f"{path} cannot be read: {error.strerror or error}; put a file of the camera there")
    return CameraSettings(tuple(spell(found.properties).items()), found.paused)


def _dump(properties: Properties, *, paused: bool) -> str:
    return yaml.safe_dump({"properties": dict(properties), "paused": paused}, sort_keys=False, allow_unicode=True)
