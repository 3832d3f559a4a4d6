"""A file of JSON lines, one for each frame, that can be continued after its writer was killed at any byte."""

from __future__ import annotations

import errno
import io
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import msgspec

from engines.formats.json import NOT_JSON
from engines.formats.output_files import open_alone, open_temporary
from engines.skeletons import SKELETONS
from stream.element import Context
from stream.errors import PropertyError, StartError, TransportError
from stream.messages import Poses
from stream.output.line_writer import LineWriter
from stream.output.locations import check_present, make_folder_of, write_error
from stream.output.results import Record
from stream.protocol.json import json_line
from stream.protocol.schema import poses_map

_log = logging.getLogger(__name__)

OWNER = "jsonsink"
"""The element that writes, as messages name it."""

read_record = msgspec.json.Decoder(Record).decode
"""Reads a line; raises one of :data:`engines.formats.json.NOT_JSON`."""

CHANGED = "was changed by another program while the line ran"
"""Why a file that is read back cannot be used."""

_SUBSCRIPTION_KEYS = ("version", "kind", "session", "seq")


def make_line(poses: Poses) -> bytes:
    """The line of a frame: what is published, less what numbers the messages, and the names of the ``joints``."""
    content = poses_map(poses, session="", seq=0)
    for key in _SUBSCRIPTION_KEYS:
        del content[key]
    known = SKELETONS.get(poses.skeleton)
    return json_line(content | {"joints": known.joints if known else ()})


class JsonLines:
    """A file of JSON lines, and the last frame in it by camera.

    ``is_temporary`` is True where a document will be made from it, at ``target``. With ``one_camera``, it refuses a
    second camera. After a restart, which the ``context`` shows, it drops an incomplete last line and continues after
    the others. Raises :class:`TransportError` where it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        context: Context,
        *,
        is_temporary: bool = False,
        one_camera: bool = False,
    ) -> None:
        self.path, self._one_camera, self._progress = path, one_camera, context.progress
        self.target = path.with_suffix("") if is_temporary else path
        self.is_written = False
        self._last: dict[str, int] = {}
        self._memory, self._size_name = context.memory, name_in_memory("file", path)
        make_folder_of(path, OWNER)
        try:
            if context.incarnation and path.is_file():
                self._resume(is_temporary=is_temporary)
            opener = open_temporary if is_temporary else open_alone
            # Appends wherever the file ends: another program may shorten it, as logrotate does with copytruncate.
            self._handle = io.FileIO(path, "ab", opener=opener)
            if not context.incarnation:
                with suppress(OSError):  # a pipe or a device has no length
                    os.ftruncate(self._handle.fileno(), 0)
            self._size = self._memory[self._size_name] = os.fstat(self._handle.fileno()).st_size
            # A torn line of a file is dropped when it is read back.
            self._is_file = path.is_file()
            own = replace(context, memory={}) if self._is_file else context
            self._writer = LineWriter(OWNER, str(path), own, name_in_memory("torn", path))
        except OSError as error:
            raise make_error(path, error) from None

    def add(self, camera: str, seq: int, line: bytes) -> None:
        """Write one line, unless this frame or a later one is in the file."""
        if self._one_camera and self._last and camera not in self._last:
            (first,) = self._last
            refuse_camera(self.target, first, camera)
        if seq <= self._last.get(camera, -1):
            return
        try:
            self._writer.write(self._handle.fileno(), line)
        except OSError as error:
            raise make_error(self.path, error) from None
        self._count(len(line))
        self._last[camera] = seq
        self.is_written = False

    def _count(self, added: int) -> None:
        """Note the size with a line that was added, in the memory too, and what is missing before it."""
        expected = self._size + added
        if self._is_file and self.path == self.target:
            self._size = os.lseek(self._handle.fileno(), 0, os.SEEK_CUR)
            self._warn_of_shortening(expected - self._size)
        else:
            self._size = expected
        self._memory[self._size_name] = self._size

    def _warn_of_shortening(self, count: int) -> None:
        if count > 0:
            _log.warning(
                "%s: another program took %d bytes from %s, which goes on where it ends", OWNER, count, self.path
            )

    def check_present(self) -> None:
        """Raise :class:`TransportError` if the file was removed, and with it what was written."""
        check_present(self._handle, self.path, OWNER)

    def check_unchanged(self) -> None:
        """Raise :class:`TransportError` if the file is not as long as what was written: another program changed it."""
        if self.path.stat().st_size != self._size:
            raise write_error(OWNER, self.target, f"{self.path} {CHANGED}")

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[Record]:
        """Read back the records, from the line ``start`` (from 0) to before the line ``stop``.

        Raises :class:`TransportError` for a line that another program has changed.
        """
        with self.path.open("rb") as file:
            for number, line in enumerate(islice(file, stop)):
                self._progress()
                if number >= start:
                    yield self._read(line)

    @property
    def is_closed(self) -> bool:
        """True once nothing more can be added."""
        return self._handle.closed

    def close(self) -> None:
        """Close the file; idempotent."""
        self._handle.close()

    def remove(self) -> None:
        """Close and remove the file, from which the document has been made; idempotent."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _read(self, line: bytes) -> Record:
        try:
            return read_record(line)
        except NOT_JSON:
            raise write_error(OWNER, self.target, f"{self.path} {CHANGED}") from None

    def _resume(self, *, is_temporary: bool) -> None:
        """Read the last frame of each camera, and drop an incomplete last line.

        Lines go on in a file that another program has shortened; a document would lack frames, and is refused.
        """
        missing = self._memory.get(self._size_name, 0) - self.path.stat().st_size
        if missing > 0 and is_temporary:
            raise StartError(str(write_error(OWNER, self.target, f"{self.path} {CHANGED}")))  # no restart helps
        self._warn_of_shortening(missing)
        size = 0
        with self.path.open("rb") as file:
            for line in file:
                self._progress()
                if line.endswith(b"\n"):
                    record = self._decode(line)
                    self._last[record.camera] = max(record.frame_seq, self._last.get(record.camera, -1))
                    size += len(line)
        os.truncate(self.path, size)

    def _decode(self, line: bytes) -> Record:
        try:
            return read_record(line)
        except NOT_JSON:
            raise TransportError(
                f"{OWNER} cannot resume {self.path}: {line[:30]!r}… is not a line it wrote; remove the file"
            ) from None


def name_in_memory(kind: str, path: Path) -> str:
    """Short, as names in the memory are."""
    return f"{kind}/{zlib.crc32(os.fsencode(path)):08x}"


def make_error(path: Path, error: OSError) -> TransportError:
    """The error of one line for a file that cannot be written."""
    has_no_reader = error.errno == errno.ENXIO
    return write_error(OWNER, path, "it is a pipe that no process reads" if has_no_reader else error)


def refuse_camera(target: Path, first: str, camera: str) -> None:
    """Raise :class:`PropertyError` for a second camera where there is room for one."""
    raise PropertyError(
        f"{OWNER}: {target} holds camera {first!r} and cannot hold {camera!r} as well; put {{camera}} into location="
    )
