"""``jsonsink``: writes poses as JSON lines, or in the formats of data sets and of tools for keypoints.

A file of JSON lines is valid at any time, except for a last line that is being written; where the disk is full, that
line is removed. If the part is killed and restarted, it drops an incomplete last line, reads the others, and continues
without missing or repeating a frame. OpenPose's format is a folder with a file per frame, each complete or absent. The
other formats are single documents: frames are first collected as JSON lines in ``<location>.part``, and the document is
moved to ``location`` in one step at the end, so the file there is always complete.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal, Self

from msgspec import Meta

from stream.caps import Caps
from stream.element import Sink, Source
from stream.errors import PropertyError
from stream.messages import NO_ID, Poses
from stream.output.documents import DOCUMENTS
from stream.output.json_lines import JsonLines, make_line, name_in_memory, read_record
from stream.output.locations import REMOVED, check_target, finish_each, insert_camera, write_error
from stream.output.openpose import OpenPoseFolder
from stream.output.standard_output import StandardOutput
from stream.output.tables import check_parquet, csv_text

_STDOUT = "-"
_SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".trc": "trc"}


@dataclass
class JsonSink(Sink):
    """Writes one JSON object per frame, keys as in docs/reference/protocol.md, or a result file of ``format``.

    A line has the key ``joints`` too, the names of the keypoints. Coordinates are px with four decimals. A new run
    starts a new file. docs/how-to/keypoint-files.md describes the formats. Raises :class:`TransportError` if a file
    cannot be written.
    """

    sink = Caps("people/poses")

    location: Annotated[
        str,
        Meta(
            description="file to write (openpose: a folder), - for stdout; with {camera} in it, one per camera; with "
            "{id}, one per person (trc)"
        ),
    ] = _STDOUT
    format: Annotated[
        Literal["lines", "coco", "posetrack", "openpose", "csv", "trc", "parquet"],
        Meta(
            description="JSON lines, COCO keypoint results, PoseTrack 2018 JSON, OpenPose JSON (BODY_25), a table as "
            "CSV or Parquet (extra parquet), or TRC of OpenSim (one person per file)"
        ),
    ] = "lines"

    def __post_init__(self) -> None:
        self._files: dict[str, JsonLines] = {}
        self._folders: dict[str, OpenPoseFolder] = {}
        self.written: list[Path] = []
        """The files of documents that are complete."""
        self._stdout = StandardOutput("jsonsink", self.context)
        self._is_begun = False
        self._check_location()

    def check(self, sources: Sequence[Source]) -> None:  # noqa: ARG002 - whatever the sources
        if self.format == "parquet":
            check_parquet()

    def outputs(self, cameras: Sequence[str]) -> list[str]:
        """The files of each camera. Raises :class:`PropertyError` where one is called as another's unfinished one."""
        if self.location == _STDOUT:
            return []
        targets = {insert_camera(self.location, camera): camera for camera in cameras}
        if self.format not in DOCUMENTS:
            return list(targets)
        parts = {_part_of(target): camera for target, camera in targets.items()}
        if both := sorted(targets.keys() & parts.keys()):
            raise PropertyError(
                f"jsonsink: {both[0]} is the file of camera {targets[both[0]]!r} and, until its end, that of "
                f"{parts[both[0]]!r}; set camera= to another name, or location={self.location} to one with a suffix"
            )
        return [*targets, *parts]

    def __enter__(self) -> Self:
        self.check(())
        self._files, self._folders, self.written = {}, {}, []
        self._stdout = StandardOutput("jsonsink", self.context)
        self._is_begun = self.context.incarnation > 0 and _BEGUN in self.context.memory
        if self.location != _STDOUT and "{camera}" not in self.location:
            # Report what cannot be written before the first frame.
            self._open_folder("") if self.format == "openpose" else self._open("")
        return self

    def consume(self, item: Poses) -> None:
        if self.format == "trc" and (item.ids == NO_ID).any():
            raise PropertyError(
                "jsonsink: format=trc follows people by their ids, which these lack; put track after detect"
            )
        line = make_line(item)
        if self.location == _STDOUT:
            self._print(item, line)
        elif self.format == "openpose":
            self._open_folder(item.frame.camera).add(read_record(line))
        else:
            self._open(item.frame.camera).add(item.frame.camera, item.frame.seq, line)

    def flush(self) -> None:
        """Write the documents."""
        finish_each(self._files.values(), self._flush_file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        will_restart = kind is not None and issubclass(kind, Exception)
        try:
            finish_each(self._files.values(), lambda lines: self._close_file(lines, keep=will_restart))
            for folder in () if will_restart else self._folders.values():
                folder.close()
        finally:
            self._files, self._folders = {}, {}

    def _flush_file(self, lines: JsonLines) -> None:
        if not lines.is_closed:
            lines.check_present()
        if self.format in DOCUMENTS:
            self._write_document(lines)

    def _close_file(self, lines: JsonLines, *, keep: bool) -> None:
        lines.close()
        if self.format in DOCUMENTS:
            self._write_document(lines)
            if not keep:
                lines.path.unlink(missing_ok=True)

    def _check_location(self) -> None:
        """Raise :class:`PropertyError` where the format cannot be written to the location, or another is meant."""
        meant = _SUFFIXES.get(Path(self.location).suffix.lower(), self.format)
        if meant != self.format and self.location != _STDOUT:
            raise PropertyError(
                f"jsonsink: location={self.location} ends as a {meant} file, but format={self.format}; "
                f"set format={meant}, or another location"
            )
        example = "FOLDER" if self.format == "openpose" else ""
        if self.format in DOCUMENTS and self.format != "csv":
            example = DOCUMENTS[self.format].location
        if example and self.location == _STDOUT:
            what = "a folder of documents" if self.format == "openpose" else "one document"
            raise PropertyError(f"jsonsink: format={self.format} is {what}, not a stream; set location={example}")
        if self.format == "trc" and "{id}" not in self.location:
            raise PropertyError(
                f"jsonsink: location={self.location}: a file of format=trc holds one person; "
                "put {id} into it, as in w_{id}.trc"
            )
        if self.format == "trc" and any(both in self.location for both in ("{camera}{id}", "{id}{camera}")):
            raise PropertyError(
                f"jsonsink: location={self.location}: camera 'a1' and person 2 have the file of camera 'a' and person "
                "12; write something between {camera} and {id}, as in {camera}_{id}.trc"
            )

    def _print(self, item: Poses, line: bytes) -> None:
        """Print to stdout; the memory records what was printed before a restart."""
        (camera, seq), memory = item.key, self.context.memory
        if seq > memory.get(f"printed/{camera}", -1) or self.context.incarnation == 0:
            if self.format == "csv":
                line = csv_text(read_record(line), has_header=not self._is_begun).encode()
            self._stdout.write(line, zlib.crc32(camera.encode()) << 31 | (seq + 1) % 2**31)
            memory[f"printed/{camera}"] = seq
            memory[_BEGUN] = self._is_begun = True

    def _open_folder(self, camera: str) -> OpenPoseFolder:
        """Open the folder for this camera's poses, unless it is open."""
        location = insert_camera(self.location, camera)
        if location not in self._folders:
            self._folders[location] = OpenPoseFolder(Path(location), self.context)
            if not self.context.incarnation:
                self._folders[location].warn_of_old_files()
        return self._folders[location]

    def _open(self, camera: str) -> JsonLines:
        """Open the file for this camera's poses, unless it is open."""
        location = insert_camera(self.location, camera)
        if location not in self._files:
            path, document = Path(location), DOCUMENTS.get(self.format)
            if document:
                check_target(path, "jsonsink")
                path = Path(_part_of(location))
            self._check_resumed(path)
            self._files[location] = JsonLines(
                path,
                self.context,
                is_temporary=document is not None,
                one_camera=document is not None and document.has_one_camera,
            )
        return self._files[location]

    def _check_resumed(self, path: Path) -> None:
        """Raise :class:`TransportError` if the file was removed before a restart, which the memory shows."""
        name = name_in_memory("file", path)
        if self.context.incarnation and self.context.memory.get(name, _WRITTEN) != _WRITTEN and not path.exists():
            raise write_error("jsonsink", path, REMOVED)

    def end(self, camera: str) -> None:
        """Write the document of a camera at its end: after that, a restarted part gets nothing of it again."""
        location = insert_camera(self.location, camera)
        if self.format not in DOCUMENTS or self.location == _STDOUT:
            return
        name = name_in_memory("file", Path(_part_of(location)))
        before = self.context.memory.get(name) if self.context.incarnation else None  # a size, where it is open
        is_alone = "{camera}" in self.location
        if location in self._files or before not in (None, _WRITTEN):
            lines = self._open(camera)
            self._write_document(lines)
            self.context.memory[name] = _WRITTEN
            if is_alone:
                lines.remove()
        elif before == _WRITTEN and is_alone:  # this part was killed before it could remove it
            Path(_part_of(location)).unlink(missing_ok=True)

    def _write_document(self, lines: JsonLines) -> None:
        if lines.is_written:
            return
        if not lines.path.exists():
            raise write_error("jsonsink", lines.path, REMOVED)
        lines.check_unchanged()
        self.written += DOCUMENTS[self.format].write(lines)
        lines.is_written = True


_WRITTEN = -1
"""In the memory in place of the size of a file of frames, once the document has been made from it."""

_BEGUN = "printed"
"""In the memory once something was printed to stdout, and with it the header of a table."""


def _part_of(location: str) -> str:
    """The file in which the frames of a document are collected."""
    return f"{location}.part"
