"""The files that ``posestream estimate`` writes: keypoints of one input, and a picture or a video of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from posestream.result import Result
from stream.capture.regular_file import describe_kind
from stream.capture.stills import is_still
from stream.elements.jsonsink import JsonSink
from stream.errors import PropertyError, TransportError
from stream.output.json_lines import make_line, read_record
from stream.output.locations import check_target, open_temporary, replace_file
from stream.output.openpose import openpose_document
from stream.output.pictures import encode
from stream.output.tables import check_parquet
from stream.output.video_writer import open_pictures
from stream.protocol.json import json_line
from stream.registry import make

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

    @contextmanager
    def open(self, source: Path) -> Iterator[Add]:
        """The files of one input; keypoints are put in place when the block ends without an exception.

        Raises :class:`TransportError` where one cannot be written, :class:`PropertyError` where its format cannot hold
        the input.
        """
        if self.folder is None:
            yield _print
            return
        before = len(self.written)
        try:
            with ExitStack() as files:
                writers = [files.enter_context(writer) for writer in self._writers(self.folder, source)]
                yield lambda result: [add(result) for add in writers]
        except BaseException:
            del self.written[before:]
            raise

    def _writers(self, folder: Path, source: Path) -> Iterator[AbstractContextManager[Add]]:
        with _os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        stem = self._free_stem(source.stem)
        yield self._keypoint_writer(folder, stem, source)
        if self.pictures and is_still(source):
            yield _open_picture(self._claim(folder / f"{stem}_poses.jpg"))
        if self.video and not is_still(source):
            yield _open_video(self._claim(folder / f"{stem}_poses.mp4"))

    def _keypoint_writer(self, folder: Path, stem: str, source: Path) -> AbstractContextManager[Add]:
        if self.format in ("json", "lines"):
            path = self._claim(folder / f"{stem}.{_SUFFIXES.get(self.format, 'json')}")
            return _open_json(path, is_document=self.format == "json")
        if self.format == "trc":
            path = folder / f"{stem}_{{id}}.trc"
            return _open_result_file(path, self.format, source.stem, self.written)
        if self.format == "openpose":
            if is_still(source):
                return _open_openpose(self._claim(folder / f"{stem}_keypoints.json"))
            return _open_result_file(self._claim(folder / stem), self.format, source.stem)
        path = self._claim(folder / f"{stem}.{_SUFFIXES.get(self.format, 'json')}")
        return _open_result_file(path, self.format, source.stem)

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
def _open_result_file(path: Path, kind: str, sequence: str, written: list[Path] | None = None) -> Iterator[Add]:
    """A result file of another format, which calls the camera ``sequence``; ``written`` gets the files of ``{id}``."""
    sink = make("jsonsink", location=str(path), format=kind)
    assert isinstance(sink, JsonSink)
    with sink:
        yield lambda result: sink.consume(replace(result.poses, frame=replace(result.poses.frame, camera=sequence)))
        sink.flush()
        if written is not None:
            written += sink.written


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
