"""What the sinks of a line hold: read from their files, with the reasons why a file is not as it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.drawing import Scenario, Sink
from benchmarks.faults.marked import make_colour
from stream.capture.decoded_picture import Picture
from stream.errors import SourceError
from stream.recording.frames import read_frames
from stream.recording.recording import Recording

Content = dict[str, dict[int, Any]]
"""By camera and frame number, what is known of a frame."""

_VOLATILE = ("wall_ns", "ledger", "version", "kind", "session", "seq")
_FARTHEST, _ALIKE = 90, 25


@dataclass
class Held:
    """The frames of each camera that a sink holds, in their order, with what they hold; and what is wrong with its
    files. ``is_exact`` when each frame is recognised; else only their count is known."""

    sink: Sink
    frames: dict[str, list[int]] = field(default_factory=dict)
    content: Content = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    is_torn: bool = False
    is_exact: bool = True

    def add(self, camera: str, seq: int, content: Any = None) -> None:
        self.frames.setdefault(camera, []).append(seq)
        if content is not None:
            self.content.setdefault(camera, {})[seq] = content


def read_held(sink: Sink, disk: Path, scenario: Scenario) -> Held:
    """Read the files of one sink."""
    held = Held(sink)
    names = {camera: sink.name.replace("{camera}", camera) for camera in scenario.frames}
    for name in sorted(set(names.values())):
        camera = next(camera for camera, own in names.items() if own == name)
        match sink.kind:
            case "lines":
                _read_lines(held, disk / name)
            case "coco":
                _read_coco(held, disk / name, camera)
            case "folder":
                _read_folder(held, disk / name, camera)
            case "video":
                held.is_exact = scenario.has_marks
                _read_video(held, disk / name, camera, scenario)
            case "recording":
                _read_recording(held, disk / name, camera, scenario)
            case "subscriber":
                pass
    return held


def read_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """The lines of a file, each with its record, or None where it is torn."""
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        record = None
        if line.endswith(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
        yield line, record


def strip_times(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what differs from run to run."""
    return {key: value for key, value in record.items() if key not in _VOLATILE}


def _read_lines(held: Held, path: Path) -> None:
    lines = list(read_lines(path))
    for number, (line, record) in enumerate(lines, 1):
        if record is not None:
            held.add(record["camera"], record["frame_seq"], strip_times(record))
        elif number == len(lines) and not line.endswith(b"\n"):
            held.is_torn = True
        else:
            held.faults.append(f"{path.name}: line {number} of {len(lines)} is torn: {line[:60]!r}")


def _read_coco(held: Held, path: Path, camera: str) -> None:
    if not path.exists():
        return
    try:
        results = json.loads(path.read_bytes())
    except ValueError as error:
        held.faults.append(f"{path.name}: {error}")
        return
    for result in results:
        seq = result["image_id"]
        if not held.frames.get(camera) or held.frames[camera][-1] != seq:  # a result for each person
            held.add(camera, seq)


def _read_folder(held: Held, path: Path, camera: str) -> None:
    for file in sorted(path.glob("*")) if path.is_dir() else []:
        if file.suffix != ".png":
            held.faults.append(f"{path.name}: {file.name} was left")
        elif cv2.imread(str(file)) is None:
            held.faults.append(f"{path.name}: {file.name} is no whole picture")
        else:
            held.add(camera, int(file.stem))


def _read_video(held: Held, path: Path, camera: str, scenario: Scenario) -> None:
    """The frames of a video and of those that a restarted sink wrote beside it, recognised by their colours."""
    colours = np.array([make_colour(camera, seq) for seq in range(scenario.frames[camera])], np.int64)
    for number in range(1, 200):
        file = path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")
        if not file.exists() or not file.stat().st_size:
            continue
        for picture in _decode(file):
            found = held.frames.get(camera, [])
            seq = _recognise(picture, colours, found[-1] if found else -1) if held.is_exact else len(found)
            if seq is None:
                held.faults.append(f"{file.name}: a picture of no frame's colour after frame {found[-1:]}")
            else:
                held.add(camera, seq)


def _read_recording(held: Held, path: Path, camera: str, scenario: Scenario) -> None:
    """The frames that have a message in the files of a recording; each must have its picture, too."""
    if not path.exists():
        return
    try:
        recording = Recording(path)
        heads = [message.head for message in recording.messages()]
        pictures = {head.frame_seq: picture for head, picture in read_frames(recording, camera)}
    except SourceError as error:
        if "has no keypoints" not in str(error):  # it was cut off before its first frame
            held.faults.append(f"{path.name}: {error}")
        return
    seqs = [head.frame_seq for head in heads if head.kind == "poses"]
    for seq in seqs:
        held.add(camera, seq)
    if without := sorted(set(seqs) - set(pictures)):
        held.faults.append(f"{path.name}: frames {without[:8]} have a message and no picture")
    for seq, picture in pictures.items():
        if scenario.has_marks and not _is_near(picture, make_colour(camera, seq)):
            held.faults.append(f"{path.name}: frame {seq} has the picture of another one")
    # Its index may be missing, where its part was killed after the last frame.
    held.is_torn |= not any(head.kind == "end" for head in heads)


def _is_near(picture: Picture, colour: NDArray[np.uint8]) -> bool:
    pixels = np.empty(picture.shape, np.uint8)
    picture.copy_to(pixels)
    median = np.median(pixels.reshape(-1, 3), axis=0)
    return bool(np.abs(colour.astype(np.int64) - median).sum() <= _FARTHEST)


def _recognise(picture: Any, colours: Any, last: int) -> int | None:
    """The frame whose colour a picture has; of several that compression makes too similar, the next one."""
    distances = np.abs(colours - np.median(picture.reshape(-1, 3), axis=0)).sum(axis=1)
    near = np.flatnonzero(distances <= min(_FARTHEST, distances.min() + _ALIKE))
    later = near[near > last]
    return int(later[0]) if len(later) else int(near[0]) if len(near) else None


def _decode(file: Path) -> Iterator[Any]:
    """The pictures of a video; one that was cut off by a kill ends early."""
    try:
        with av.open(str(file)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="bgr24")
    except av.error.FFmpegError:
        return
