"""The files that ``posestream estimate`` writes: keypoints of one input, and a picture or a video of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from engines.formats.output_files import open_temporary, replace_file
from posestream.result import Result
from stream.capture.regular_file import describe_kind
from stream.capture.stills import is_still
from stream.element import Context
from stream.errors import PropertyError, TransportError
from stream.output.documents import DOCUMENTS
from stream.output.json_lines import JsonLines, make_line, read_record
from stream.output.locations import check_target
from stream.output.openpose import OpenPoseFolder, openpose_document
from stream.output.pictures import encode
from stream.output.tables import check_parquet
from stream.output.trc import write_trc
from stream.output.video_writer import open_pictures
from stream.protocol.json import json_line

Add = Callable[[Result], object]
"""Takes the results of one input, one after the other."""

Format = Literal["json", "lines", "coco", "posetrack", "openpose", "csv", "trc", "parquet"]

_SUFFIXES = {"lines": "jsonl", "csv": "csv", "parquet": "parquet"}

_FRAME_KEYS = ("index", "time_s", "size", "people")


@dataclass
class Outputs:
    """Where and how results are written; ``folder`` None prints JSON lines. ``written`` lists the files so far.

    An input ``clip.mp4`` becomes ``clip.json``, or by ``format`` ``clip.jsonl``, ``clip.csv``, ``clip.parquet``,
    ``clip_1.trc`` for person 1 and the folder ``clip``, and ``clip_poses.mp4`` with ``video``; a photo becomes
    ``photo_poses.jpg`` with ``pictures``. Where two inputs have one name, the second gets a number.
    """

    folder: Path | None
    format: Format = "json"
    pictures: bool = False
    video: bool = False
    written: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stems: set[str] = set()
        self._inputs: set[Path] = set()
        if self.folder is None and (self.pictures or self.video or self.format not in ("json", "lines")):
            raise PropertyError("--out - prints JSON lines and nothing else; give a folder, as in --out poses")
        if self.format == "parquet":
            check_parquet()
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            kind = describe_kind(self.folder) or "a file"
            raise PropertyError(f"--out {self.folder} is {kind}, not a folder; give another, as in --out poses")

    def protect(self, inputs: Iterable[Path]) -> None:
        """Refuse to write over one of ``inputs``, which may not have been read yet."""
        self._inputs = {path.resolve() for path in inputs}

    def check(self, source: Path) -> None:
        """Raise :class:`PropertyError` for an input that the format cannot hold."""
        if self.format == "trc" and is_still(source):
            raise PropertyError(
                f"{source} is a photo, and --format trc has a file for each person of a video; "
                "choose another, as in --format csv"
            )

    @contextmanager
    def open(self, source: Path, name: str) -> Iterator[Add]:
        """The files of one input, called as the input's ``name``. They are put in place when the block ends; after an
        exception or Ctrl-C, those of an earlier run stay. Only the frames of OpenPose's format are written one by one.

        Raises :class:`TransportError` where one cannot be written, :class:`PropertyError` where its format cannot hold
        the input.
        """
        if self.folder is None:
            yield _print
            return
        before = len(self.written)
        try:
            with ExitStack() as files:
                writers = [files.enter_context(writer) for writer in self._writers(self.folder, source, name)]
                yield lambda result: [add(result) for add in writers]
        except BaseException:
            del self.written[before:]
            raise

    def _writers(self, folder: Path, source: Path, name: str) -> Iterator[AbstractContextManager[Add]]:
        with _os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        stem = self._free_stem(Path(name).stem)
        yield self._keypoint_writer(folder, stem, Path(name).stem, is_photo=is_still(source))
        if self.pictures and is_still(source):
            yield _open_picture(self._claim(folder / f"{stem}_poses.jpg"))
        if self.video and not is_still(source):
            yield _open_video(self._claim(folder / f"{stem}_poses.mp4"))

    def _keypoint_writer(
        self, folder: Path, stem: str, sequence: str, *, is_photo: bool
    ) -> AbstractContextManager[Add]:
        if self.format in ("json", "lines"):
            path = self._claim(folder / f"{stem}.{_SUFFIXES.get(self.format, 'json')}")
            return _open_json(path, is_document=self.format == "json")
        if self.format == "trc":
            return _open_document(
                folder / f"{stem}.trc", sequence, lambda lines: self._write_people(lines, folder, stem)
            )
        if self.format == "openpose":
            if is_photo:
                return _open_openpose(self._claim(folder / f"{stem}_keypoints.json"))
            return _open_openpose_folder(self._claim(folder / stem), sequence)
        path = self._claim(folder / f"{stem}.{_SUFFIXES.get(self.format, 'json')}")
        return _open_document(path, sequence, DOCUMENTS[self.format].write)

    def _write_people(self, lines: JsonLines, folder: Path, stem: str) -> None:
        self.written += write_trc(lines, lambda number: folder / f"{stem}_{number}.trc")

    def _free_stem(self, stem: str) -> str:
        free, number = stem, 2
        while free in self._stems:
            free, number = f"{stem}-{number}", number + 1
        self._stems.add(free)
        return free

    def _claim(self, path: Path) -> Path:
        """The path, which is one of those written; raises :class:`TransportError` if it is an input."""
        if path.resolve() in self._inputs:
            raise TransportError(f"{path} is an input and would be overwritten; choose another folder with --out")
        self.written.append(path)
        return path


def _print(result: Result) -> None:
    sys.stdout.write(json_line(result.to_dict()).decode())
    sys.stdout.flush()


@contextmanager
def _open_picture(path: Path) -> Iterator[Add]:
    def add(result: Result) -> None:
        _replace(path, encode(result.draw(), path, suffix=path.suffix, remedy="leave pictures out with --no-pictures"))

    yield add


@contextmanager
def _open_video(path: Path) -> Iterator[Add]:
    check_target(path, "estimate")
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    video = open_pictures(part, "estimate", open_temporary)
    try:
        try:
            yield lambda result: video.add(result.draw(), result.index, result.poses.frame.pts_ns)
        finally:
            video.close()
        with _os_errors(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _open_document(path: Path, sequence: str, write: Callable[[JsonLines], object]) -> Iterator[Add]:
    """A result file of another format, which calls the camera ``sequence``."""
    check_target(path, "estimate")
    lines = JsonLines(path.with_name(f"{path.name}.part"), Context(), is_temporary=True)
    try:
        yield lambda result: lines.add(sequence, result.index, _make_line(result, sequence))
        lines.check_present()
        lines.check_unchanged()
        write(lines)
    finally:
        lines.remove()


@contextmanager
def _open_openpose_folder(path: Path, sequence: str) -> Iterator[Add]:
    """The folder of a video."""
    frames = OpenPoseFolder(path, Context())
    frames.warn_of_old_files()
    try:
        yield lambda result: frames.add(read_record(_make_line(result, sequence)))
    finally:
        frames.close()


def _make_line(result: Result, sequence: str) -> bytes:
    return make_line(replace(result.poses, frame=replace(result.poses.frame, camera=sequence)))


@contextmanager
def _open_openpose(path: Path) -> Iterator[Add]:
    """The file of a photo."""

    def add(result: Result) -> None:
        _replace(path, json_line(openpose_document(read_record(make_line(result.poses)))))

    yield add


@contextmanager
def _open_json(path: Path, *, is_document: bool) -> Iterator[Add]:
    """JSON lines, or one document that has what does not change between frames once, and ``frames``."""
    part = path.with_name(f".{path.name}.part")
    try:
        with _os_errors(path), open(part, "wb", opener=open_temporary) as file:

            def add(result: Result) -> None:
                content = result.to_dict()
                if is_document:
                    frame = {key: content.pop(key) for key in _FRAME_KEYS}
                    head = json_line(content).rstrip()[:-1] + b',"frames":[\n'
                    file.write((b",\n" if file.tell() else head) + json_line(frame).rstrip())
                else:
                    file.write(json_line(content))

            yield add
            if is_document:
                file.write(b"\n]}\n")
        with _os_errors(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step. Raises :class:`TransportError`."""
    with _os_errors(path):
        replace_file(path, lambda file: file.write(content))


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Raise an ``OSError`` as a :class:`TransportError` that names the file."""
    try:
        yield
    except OSError as error:
        raise TransportError(f"{path} cannot be written: {error.strerror}; choose another folder with --out") from None
