"""``jsonsink``: writes poses as JSON lines, COCO keypoint results or PoseTrack JSON.

A file of JSON lines is valid at any time, except for a last line that is being written; where the disk is full, that
line is removed. If the part is killed and restarted, it drops an incomplete last line, reads the others, and continues
without missing or repeating a frame. The other formats are single documents: frames are first collected as JSON lines
in ``<location>.part``, and the document is moved to ``location`` in one step at the end, so the file there is always
complete.
"""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO, Literal, Self

import msgspec
from msgspec import Meta

from stream.caps import Caps
from stream.element import Sink
from stream.errors import PropertyError, TransportError
from stream.messages import Poses
from stream.output.locations import (
    REMOVED,
    check_present,
    check_target,
    insert_camera,
    make_folder_of,
    open_alone,
    open_temporary,
    write_error,
)
from stream.output.results import Record, coco_results, posetrack_document
from stream.output.standard_output import StandardOutput
from stream.protocol.json import json_line, round_floats
from stream.protocol.schema import poses_map

_SUBSCRIPTION_KEYS = ("version", "kind", "session", "seq")
_STDOUT = "-"
_record = msgspec.json.Decoder(Record)


@dataclass
class JsonSink(Sink):
    """Writes one JSON object per frame, keys as in docs/reference/protocol.md, or a result file of ``format``.

    A frame that was read from a file has the key ``file`` too, the path of the picture or video.
    Coordinates are px with four decimals. A new run starts a new file. Raises :class:`TransportError` if a file cannot
    be written.
    """

    sink = Caps("people/poses")

    location: Annotated[
        str, Meta(description="file to write, - for stdout; with {camera} in it, one file per camera")
    ] = _STDOUT
    format: Annotated[
        Literal["lines", "coco", "posetrack"],
        Meta(description="JSON lines, COCO keypoint results, or PoseTrack 2018 JSON"),
    ] = "lines"

    def __post_init__(self) -> None:
        if self.format != "lines" and self.location == _STDOUT:
            raise PropertyError(f"jsonsink: format={self.format} is one document, not a stream; set location=FILE.json")
        self._files: dict[str, _Lines] = {}
        self._stdout = StandardOutput()

    def outputs(self, cameras: Sequence[str]) -> list[str]:
        return [insert_camera(self.location, camera) for camera in cameras if self.location != _STDOUT]

    def __enter__(self) -> Self:
        self._files = {}
        if self.location != _STDOUT and "{camera}" not in self.location:
            self._open("")  # report an unwritable file before the first frame
        return self

    def consume(self, item: Poses) -> None:
        content = poses_map(item, session="", seq=0)
        for key in _SUBSCRIPTION_KEYS:
            del content[key]
        if item.frame.file:
            content["file"] = item.frame.file
        if self.location == _STDOUT:
            self._print(item, json_line(content))
        else:
            self._open(item.frame.camera).add(item.frame.camera, item.frame.seq, json_line(content))

    def flush(self) -> None:
        """Write the documents."""
        for lines in self._files.values():
            lines.check_present()
            if self.format != "lines":
                self._write_document(lines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        will_restart = kind is not None and issubclass(kind, Exception)
        for lines in self._files.values():
            lines.close()
            if self.format != "lines":
                self._write_document(lines)
                if not will_restart:
                    lines.path.unlink(missing_ok=True)
        self._files = {}

    def _print(self, item: Poses, line: bytes) -> None:
        """Print to stdout; the memory records what was printed before a restart."""
        camera, seq = item.key
        if seq > self.context.memory.get(f"printed/{camera}", -1) or self.context.incarnation == 0:
            try:
                self._stdout.write(line)
            except BrokenPipeError:  # its reader has seen enough
                raise
            except OSError as error:
                raise write_error("jsonsink", "to stdout", error) from None
            self.context.memory[f"printed/{camera}"] = seq

    def _open(self, camera: str) -> _Lines:
        """Open the file for this camera's poses, unless it is open."""
        location = insert_camera(self.location, camera)
        if location not in self._files:
            path = Path(location)
            if self.format != "lines":
                check_target(path, "jsonsink")
                path = Path(f"{location}.part")
            self._check_resumed(path)
            self._files[location] = _Lines(path, resume=self.context.incarnation > 0, one_camera=self.format != "lines")
        return self._files[location]

    def _check_resumed(self, path: Path) -> None:
        """Raise :class:`TransportError` if the file was removed before a restart, which the memory shows."""
        name = _name_in_memory(path)
        if self.context.incarnation and self.context.memory.get(name) == _OPENED and not path.exists():
            raise write_error("jsonsink", path, REMOVED)
        self.context.memory[name] = _OPENED

    def end(self, camera: str) -> None:
        """Write the document of a camera at its end: after that, a restarted part gets nothing of it again."""
        location = insert_camera(self.location, camera)
        if self.format == "lines" or self.location == _STDOUT:
            return
        before = self.context.memory.get(_name_in_memory(Path(f"{location}.part")))
        if location in self._files or (self.context.incarnation and before == _OPENED):
            lines = self._open(camera)
            self._write_document(lines)
            self.context.memory[_name_in_memory(lines.path)] = _WRITTEN

    def _write_document(self, lines: _Lines) -> None:
        if lines.is_written:
            return
        if not lines.path.exists():
            raise write_error("jsonsink", lines.path, REMOVED)
        target = lines.path.with_suffix("")
        write = _write_coco if self.format == "coco" else _write_posetrack
        _replace(target, lambda file: write(lines.records(), file))
        lines.is_written = True


_OPENED, _WRITTEN = 1, 2


def _name_in_memory(path: Path) -> str:
    """Short, as names in the memory are."""
    return f"file/{zlib.crc32(os.fsencode(path)):08x}"


class _Lines:
    """A file of JSON lines, and the last frame in it by camera; with ``one_camera``, it refuses a second camera."""

    def __init__(self, path: Path, *, resume: bool, one_camera: bool) -> None:
        self.path, self._one_camera = path, one_camera
        self.is_written = False
        self._last: dict[str, int] = {}
        make_folder_of(path, "jsonsink")
        try:
            if resume and path.is_file():
                self._resume()
            self._handle = io.FileIO(
                path, "ab" if resume else "wb", opener=open_temporary if one_camera else open_alone
            )
            self._size = os.fstat(self._handle.fileno()).st_size
        except OSError as error:
            raise _write_error(path, error) from None

    def add(self, camera: str, seq: int, line: bytes) -> None:
        """Write one line, unless this frame or a later one is in the file."""
        if self._one_camera and self._last and camera not in self._last:
            (first,) = self._last
            raise PropertyError(
                f"jsonsink: {self.path.with_suffix('')} holds camera {first!r} and cannot hold {camera!r} as well; "
                "put {camera} into location="
            )
        if seq <= self._last.get(camera, -1):
            return
        try:
            if self._handle.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._drop_torn_line()
            raise _write_error(self.path, error) from None
        self._size += len(line)
        self._last[camera] = seq
        self.is_written = False

    def _drop_torn_line(self) -> None:
        """Remove what was written of a line before the disk was full, so that the next one starts a line of its own."""
        with suppress(OSError):  # a pipe or a device cannot be cut off
            os.ftruncate(self._handle.fileno(), self._size)
            self._handle.seek(self._size)

    def check_present(self) -> None:
        """Raise :class:`TransportError` if the file was removed, and with it what was written."""
        check_present(self._handle, self.path, "jsonsink")

    def records(self) -> Iterator[Record]:
        """Read back all records."""
        with self.path.open("rb") as file:
            for line in file:
                yield _record.decode(line)

    def close(self) -> None:
        """Close the file; idempotent."""
        self._handle.close()

    def _resume(self) -> None:
        """Read the last frame of each camera, and drop an incomplete last line."""
        size = 0
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    record = self._decode(line)
                    self._last[record.camera] = max(record.frame_seq, self._last.get(record.camera, -1))
                    size += len(line)
        os.truncate(self.path, size)

    def _decode(self, line: bytes) -> Record:
        try:
            return _record.decode(line)
        except msgspec.MsgspecError as error:
            raise TransportError(
                f"jsonsink cannot resume {self.path}: {line[:30]!r}… is not a line it wrote ({error}); remove the file"
            ) from None


def _write_error(path: Path, error: OSError) -> TransportError:
    has_no_reader = error.errno == errno.ENXIO
    return write_error("jsonsink", path, "it is a pipe that no process reads" if has_no_reader else error)


def _write_coco(records: Iterator[Record], file: BinaryIO) -> None:
    """Write a list with one result per line."""
    file.write(b"[")
    separator = b"\n"
    for result in (result for record in records for result in coco_results(record)):
        file.write(separator + json_line(result).rstrip())
        separator = b",\n"
    file.write(b"\n]\n")


def _write_posetrack(records: Iterator[Record], file: BinaryIO) -> None:
    file.write(msgspec.json.encode(round_floats(posetrack_document(list(records)))) + b"\n")


def _replace(target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a new file beside ``target`` and move it there in one step."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(beside, "wb", opener=open_temporary) as file:
            write(file)
        beside.replace(target)
    except OSError as error:
        raise _write_error(target, error) from None
    finally:
        beside.unlink(missing_ok=True)
