"""``overlaysink``: draws skeletons, boxes and ids on the frames, into a video, PNGs or a window."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import av
import av.error
import cv2
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from stream import wording
from stream.caps import Caps
from stream.element import Sink
from stream.errors import PropertyError, TransportError
from stream.messages import Poses
from stream.output import overlay
from stream.output.locations import (
    choose_opener,
    finish_each,
    insert_camera,
    number_file,
    refuse_numbered,
    warn_of_later_files,
)
from stream.output.video_writer import CODECS, Picture, PictureFile, open_pictures

_log = logging.getLogger(__name__)

_FPS_PERIOD_NS = 2_000_000_000
_COUNT = "pictures/"
_FORECASTS = 16
_MOST_BYTES_AT_RESTART = 64 * 1024**2
_VIDEOS = ", ".join(CODECS)


@dataclass
class OverlaySink(Sink):
    """Draws poses on their frames and writes them to ``location``, with the frames' own times.

    If its part is killed, a video lacks about its last two seconds, and the restarted part continues in a new file
    beside it, ``NAME.2.mp4``; the run then fails at its end and says how many frames are missing. A folder of PNGs
    loses nothing. A new run writes over the files of the one before, and warns of those that it may leave. Raises
    :class:`TransportError`.
    """

    sink = Caps("people/poses")

    location: Annotated[
        str,
        Meta(description=f"video to write ({_VIDEOS}), or a folder for PNGs; with {{camera}} in it, one per camera"),
    ] = ""
    display: Annotated[bool, Meta(description="show a window per camera")] = False
    scale: Annotated[float, Meta(gt=0, le=8, description="size of the pictures relative to the frames")] = 1.0
    min_score: Annotated[float, Meta(ge=0, le=1, description="joints with lower scores are not drawn")] = 0.3
    caption: Annotated[bool, Meta(description="write camera, frame, time and frame rate in the corner")] = True
    forecasts: Annotated[
        bool,
        Meta(description="draw what predict expected of each frame, at its own moment, as thin white skeletons"),
    ] = False

    def __post_init__(self) -> None:
        if not self.location and not self.display:
            raise PropertyError(
                f"overlaysink: no output is set; set location=FILE ({_VIDEOS}) or a folder, or display=true"
            )
        self._files: dict[str, PictureFile] = {}
        self._incomplete: set[str] = set()
        self._ended: set[str] = set()
        self._owners: dict[str, str] = {}
        self._arrivals: dict[str, deque[int]] = {}
        self._forecasts: dict[str, deque[Poses]] = {}

    def outputs(self, cameras: Sequence[str]) -> list[str]:
        """The file of each camera. Raises :class:`PropertyError` where one is called as another's after a restart."""
        targets = {self._location(camera): camera for camera in cameras if self.location}
        if Path(self.location).suffix.lower() in CODECS:
            refuse_numbered(targets, "overlaysink")
        return list(targets)

    def series(self, cameras: Sequence[str]) -> list[str]:
        """The videos, after which a restarted part numbers its own."""
        is_video = Path(self.location).suffix.lower() in CODECS
        return [self._location(camera) for camera in cameras] if is_video else []

    def __enter__(self) -> Self:
        self._files, self._owners, self._arrivals, self._forecasts = {}, {}, {}, {}
        if self.display:
            _check_display()
        self._warn_of_losses(_MOST_BYTES_AT_RESTART)
        if self.location and "{camera}" not in self.location:
            self._open("")  # report an unwritable file before the first frame
        return self

    def consume(self, item: Poses) -> None:
        caption = self._caption(item) if self.caption else ""
        expected = self._expect(item) if self.forecasts else None
        picture = overlay.draw(item, scale=self.scale, min_score=self.min_score, caption=caption, expected=expected)
        if self.location:
            self._add(item, picture)
            name = _COUNT + item.frame.camera
            self.context.memory[name] = self.context.memory.get(name, 0) + 1
        if self.display:
            cv2.imshow(f"posestream {item.frame.camera}", picture)
            cv2.waitKey(1)

    def _add(self, item: Poses, picture: Picture) -> None:
        camera = item.frame.camera
        try:
            self._open(camera).add(picture, item.frame.seq, item.frame.pts_ns)
        except TransportError:
            self._incomplete.add(camera)
            raise

    def end(self, camera: str) -> None:
        """Finish the camera's file. Raises :class:`TransportError` if pictures that were written before are lost."""
        self._ended.add(camera)
        file = self._files.get(self._location(camera))
        try:
            if file is not None:
                file.close()
        except TransportError as error:
            self._incomplete.add(camera)
            loss = self._describe_loss(camera)
            raise type(error)("; ".join(filter(None, [str(error), loss]))) from None
        if loss := self._describe_loss(camera):
            raise TransportError(loss)

    def flush(self) -> None:
        """Finish the files."""
        finish_each(self._files.values(), lambda file: file.close())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        except TransportError as error:
            # No warning, which an end with an error may leave unsaid.
            raise type(error)("; ".join([str(error), *self._find_losses()])) from None
        else:
            self._warn_of_losses()
        finally:
            self._files = {}
            if self.display:
                cv2.destroyAllWindows()

    def _open(self, camera: str) -> PictureFile:
        """Open the file for this camera's pictures, unless it is open; a file holds one camera."""
        location = self._location(camera)
        if location not in self._files:
            number = self.context.incarnation + 1
            if number == 1:
                _warn_of_old_pictures(Path(location))
            path = _number_restart(Path(location), number)
            self._files[location] = open_pictures(path, opener=choose_opener(number))
        owner = self._owners.setdefault(location, camera) or camera
        self._owners[location] = owner
        if owner != camera:
            raise PropertyError(
                f"overlaysink: {location} holds camera {owner!r} and cannot hold {camera!r} as well; "
                "put {camera} into location="
            )
        return self._files[location]

    def _location(self, camera: str) -> str:
        return insert_camera(self.location, camera)

    def _warn_of_losses(self, most_bytes: float = math.inf) -> None:
        """Say what streams that have not ended lack: the line may fail before they do."""
        for loss in self._find_losses(most_bytes):
            _log.warning("%s", loss)

    def _find_losses(self, most_bytes: float = math.inf) -> Iterator[str]:
        """Describe what streams that have not ended lack. Videos that together are larger than ``most_bytes`` are left
        for later, since they take long to read."""
        for name in [name for name in self.context.memory if name.startswith(_COUNT)]:
            camera = name.removeprefix(_COUNT)
            if camera in self._ended or sum(map(_get_size, self._videos(camera))) > most_bytes:
                continue
            if loss := self._describe_loss(camera):
                yield loss

    def _describe_loss(self, camera: str) -> str:
        """How many pictures the videos of a camera lack of those that were given to encoders, which hold some back when
        they are killed or their disk is full; empty where none."""
        videos = self._videos(camera) if self.context.incarnation or camera in self._incomplete else []
        lost = self.context.memory.get(_COUNT + camera, 0) - sum(self._count_all(videos)) if videos else 0
        if lost <= 0:
            return ""
        return (
            f"overlaysink: {videos[0]} lacks {wording.count(lost, 'frame')} of camera {camera!r}, not yet written when "
            "this part was killed or its disk was full; run the line again, or write a folder of PNGs"
        )

    def _count_all(self, videos: Iterable[Path]) -> Iterator[int]:
        return (_count_pictures(video, self.context.progress) for video in videos)

    def _videos(self, camera: str) -> list[Path]:
        """The videos of a camera, one for each restart; none where pictures go to a folder."""
        path = Path(self._location(camera))
        is_video = path.suffix.lower() in CODECS
        return [_number_restart(path, number + 1) for number in range(self.context.incarnation + 1)] if is_video else []

    def _expect(self, item: Poses) -> NDArray[np.float32] | None:
        """The keypoints that the earlier forecast nearest to the moment of this frame has for it; None without one."""
        earlier = self._forecasts.setdefault(item.frame.camera, deque(maxlen=_FORECASTS))
        moment_ns = item.frame.wall_ns
        known = [(one.forecast, one) for one in earlier if one.forecast and moment_ns <= one.forecast.until_ns]
        if item.forecast is not None:
            earlier.append(item)
        if not known:
            return None
        forecast, of = min(known, key=lambda pair: abs(pair[0].for_ns - moment_ns))
        expected = of.keypoints.copy()
        expected[..., :2] = forecast.points_at(moment_ns)
        return expected

    def _caption(self, item: Poses) -> str:
        frame = item.frame
        return f"{frame.camera}  {frame.seq}  {frame.pts_ns / 1e9:.2f} s  {self._fps(frame.camera):.1f} fps"

    def _fps(self, camera: str) -> float:
        """Pictures per second, over the last two seconds."""
        arrivals = self._arrivals.setdefault(camera, deque())
        arrivals.append(self.context.now_ns())
        while arrivals[-1] - arrivals[0] > _FPS_PERIOD_NS:
            arrivals.popleft()
        span_ns = arrivals[-1] - arrivals[0]
        return (len(arrivals) - 1) * 1e9 / span_ns if span_ns else 0.0


def _number_restart(path: Path, number: int) -> Path:
    """A video cannot be appended to, so a restarted part writes another beside it."""
    return number_file(path, number) if path.suffix.lower() in CODECS else path


def _warn_of_old_pictures(path: Path) -> None:
    """Say what an earlier run left that this one may not write over."""
    if path.suffix.lower() in CODECS:
        warn_of_later_files(path, "overlaysink", "a restart of this run writes over it")
    elif count := sum(1 for _ in path.glob("[0-9]" * 6 + "*.png")):
        _log.warning("overlaysink: folder %s holds pictures already (files: %d), which stay", path, count)


def _get_size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _count_pictures(path: Path, progress: Callable[[], object]) -> int:
    """The number of pictures in a video, also of one that was cut off; 0 where there is none. ``progress`` is called
    again and again, since a recording of hours takes long to read."""
    count = 0
    with suppress(OSError, av.error.FFmpegError), av.open(f"file:{path}", metadata_errors="replace") as container:
        for packet in container.demux(video=0):
            progress()
            count += packet.size > 0 and not packet.is_corrupt
    return count


def _check_display() -> None:
    """Raise if no window can be opened; OpenCV would end the process."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise TransportError(
            "overlaysink: display=true, but this session has no display (DISPLAY is not set); set location=FILE instead"
        )
