"""Anybody's own: videos, or folders of numbered pictures, and one JSON file of COCO's make.

    ROOT/annotations.json
    ROOT/walk.mp4                                      images of it are called walk.mp4/000012: frame 12, counted from 0
    ROOT/shots/000012.jpg                              images of it are called shots/000012.jpg

Every frame is there, also those that nobody labelled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from engines.datasets.clips import Clip, Frame, Source, VideoFrame
from engines.datasets.cocolike import CocoFile, Told, read_coco, size_of
from engines.datasets.layout import present
from engines.datasets.pictures import numbered_pictures, picture_size
from engines.datasets.videos import frame_times, video_size


def read(root: Path, annotations: str, skeleton: str) -> list[Clip]:
    """The clips that ``annotations``, a file under ``root``, speaks of. Raises :class:`EngineError` naming what is
    missing or broken."""
    file = read_coco(root / annotations, skeleton)
    parts: dict[str, list[Told]] = defaultdict(list)
    for image in file.images:
        parts[str(Path(image["file_name"]).parent)].append(image)
    return [_clip(root, file, part, images) for part, images in parts.items()]


def _clip(root: Path, file: CocoFile, part: str, images: list[Told]) -> Clip:
    pictures = _pictures(root / part)
    present(file.path, root, [str(image["file_name"]) for image in images], pictures)
    return Clip(part, file.skeleton, pictures, tuple(_frame(root, file, image) for image in images))


def _pictures(part: Path) -> Mapping[int, Source]:
    if not part.is_file():
        return numbered_pictures(part)
    return {number: VideoFrame(part, number) for number in range(len(frame_times(part)))}


def _frame(root: Path, file: CocoFile, image: Told) -> Frame:
    name = str(image["file_name"])
    size = size_of(image) or _size(root / name)
    return Frame(int(Path(name).stem), name, size, file.of(image), id=image["id"])


def _size(path: Path) -> tuple[int, int]:
    return video_size(path.parent) if path.parent.is_file() else picture_size(path)
