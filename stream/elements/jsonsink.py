"""``jsonsink``: writes poses as JSON lines, COCO keypoint results or PoseTrack JSON.

A file of JSON lines is valid whenever it is looked at, but for a last line that is being written; when this stage is
killed and restarted, it drops such a line, reads what is there, and goes on without missing or repeating a frame. The
other formats are one document: while it grows it is JSON lines in ``<location>.part``, and it takes its place in one
step at the end, so that what stands at ``location`` is always whole.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
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
from stream.output.results import Record, coco_results, posetrack_document
from stream.protocol.json import json_line, rounded
from stream.protocol.schema import poses_map

_OF_A_SUBSCRIPTION = ("version", "kind", "session", "seq")
_STDOUT = "-"
_record = msgspec.json.Decoder(Record)


@dataclass
class JsonSink(Sink):
    """Writes one JSON object a frame, keys as in docs/reference/protocol.md, or a result file of ``format``.

    Coordinates are px with four decimals. A new run begins a new file. Raises :class:`TransportError` for what cannot
    be written.
    """

    sink = Caps("people/poses")

    location: Annotated[
        str, Meta(description="file to write, - for stdout; {camera} in it makes one for each camera")
    ] = _STDOUT
    format: Annotated[
        Literal["lines", "coco", "posetrack"],
        Meta(description="JSON lines, COCO keypoint results, or PoseTrack 2018 JSON"),
    ] = "lines"

    def __post_init__(self) -> None:
        if self.format != "lines" and self.location == _STDOUT:
            raise PropertyError(
                f"jsonsink: format={self.format} is one document, not a stream; give location=FILE.json"
            )
        self._files: dict[str, _Lines] = {}

    def __enter__(self) -> Self:
        self._files = {}
        if self.location != _STDOUT and "{camera}" not in self.location:
            self._file("")  # so that a place that cannot be written is told before the first frame
        return self

    def consume(self, item: Poses) -> None:
        content = poses_map(item, session="", seq=0)
        for key in _OF_A_SUBSCRIPTION:
            del content[key]
        if self.location == _STDOUT:
            self._print(item, json_line(content))
        else:
            self._file(item.frame.camera).add(item.frame.camera, item.frame.seq, json_line(content))

    def flush(self) -> None:
        """Put documents in their place."""
        if self.format != "lines":
            for lines in self._files.values():
                self._place(lines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        will_restart = kind is not None and issubclass(kind, Exception)
        for lines in self._files.values():
            lines.close()
            if self.format != "lines":
                self._place(lines)
                if not will_restart:
                    lines.path.unlink(missing_ok=True)
        self._files = {}

    def _print(self, item: Poses, line: bytes) -> None:
        """To stdout, where only a note tells what an earlier life has printed."""
        camera, seq = item.key
        if seq > self.context.memory.get(f"printed/{camera}", -1) or self.context.incarnation == 0:
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            self.context.memory[f"printed/{camera}"] = seq

    def _file(self, camera: str) -> _Lines:
        """The file this camera's poses go to."""
        place = self.location.replace("{camera}", camera.replace("/", "_"))
        if place not in self._files:
            path = Path(place if self.format == "lines" else f"{place}.part")
            self._files[place] = _Lines(path, resume=self.context.incarnation > 0, alone=self.format != "lines")
        return self._files[place]

    def _place(self, lines: _Lines) -> None:
        if lines.is_placed:
            return
        target = lines.path.with_suffix("")
        write = _write_coco if self.format == "coco" else _write_posetrack
        _replace(target, lambda file: write(lines.records(), file))
        lines.is_placed = True


class _Lines:
    """A file of JSON lines and, by camera, the last frame in it. ``alone``: of one camera only."""

    def __init__(self, path: Path, *, resume: bool, alone: bool) -> None:
        self.path, self._alone = path, alone
        self.is_placed = False
        self._last: dict[str, int] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if resume and path.exists():
                self._take_up()
            self._handle = path.open("ab" if resume else "wb", buffering=0)
        except OSError as error:
            raise self._fault(error) from None

    def add(self, camera: str, seq: int, line: bytes) -> None:
        """Write one line, unless this frame or a later one is there."""
        if self._alone and self._last and camera not in self._last:
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
            raise self._fault(error) from None
        self._last[camera] = seq
        self.is_placed = False

    def records(self) -> Iterator[Record]:
        """What was written, from the beginning."""
        with self.path.open("rb") as file:
            for line in file:
                yield _record.decode(line)

    def close(self) -> None:
        """Idempotent."""
        self._handle.close()

    def _take_up(self) -> None:
        """Note what is there, and drop a last line that was cut short."""
        whole = 0
        with self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    record = self._decoded(line)
                    self._last[record.camera] = max(record.frame_seq, self._last.get(record.camera, -1))
                    whole += len(line)
        os.truncate(self.path, whole)

    def _decoded(self, line: bytes) -> Record:
        try:
            return _record.decode(line)
        except msgspec.MsgspecError as error:
            raise TransportError(
                f"jsonsink cannot go on with {self.path}: {line[:30]!r}… is no line of its own ({error}); "
                "remove the file"
            ) from None

    def _fault(self, error: OSError) -> TransportError:
        return TransportError(f"jsonsink cannot write {self.path}: {error.strerror}; choose another place, location=…")


def _write_coco(records: Iterator[Record], file: BinaryIO) -> None:
    """A list with one result a line."""
    file.write(b"[")
    separator = b"\n"
    for result in (result for record in records for result in coco_results(record)):
        file.write(separator + json_line(result).rstrip())
        separator = b",\n"
    file.write(b"\n]\n")


def _write_posetrack(records: Iterator[Record], file: BinaryIO) -> None:
    file.write(msgspec.json.encode(rounded(posetrack_document(list(records)))) + b"\n")


def _replace(target: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write a new file beside ``target`` and let it take its place in one step."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            write(file)
        beside.replace(target)
    except OSError as error:
        raise TransportError(f"jsonsink cannot write {target}: {error.strerror}; choose another place") from None
    finally:
        beside.unlink(missing_ok=True)
