"""``recordsink``: records keypoints and video in MCAP files, for replay, other models and Foxglove Studio.

Per camera, a file has the messages as ``keypointsink`` would publish them (``poses/<camera>``), the video
(``video/<camera>``) and skeletons that Foxglove draws over it (``annotations/<camera>``). A frame that was delivered is
in the file after ``kill -9``; a part that is restarted goes on in the next file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal, Self

from msgspec import Meta

from stream.caps import Caps
from stream.element import Sink, Source
from stream.errors import PropertyError
from stream.messages import Poses
from stream.output.locations import finish_each, insert_camera, refuse_numbered
from stream.protocol import schema, topics
from stream.protocol.numbers import Numbers, check_camera
from stream.recording.installed import check_installed

if TYPE_CHECKING:
    from stream.recording.series import Series
    from stream.recording.video_encoder import VideoEncoder
    from stream.recording.writer import Entry, RecordingFile

_OWNER = "recordsink"
_SUFFIX = ".mcap"
_TIME = "{time}"
_BEGUN = "begun"


@dataclass
class RecordSink(Sink):
    """Records poses and their frames in ``location``, an MCAP file; docs/how-to/recording.md describes its channels.

    A restarted part goes on in ``NAME.2.mcap``, and so does one whose file reaches ``max_minutes`` or ``max_mb``. A new
    run writes over the files of the one before, unless ``{time}`` is in ``location``. Needs the extra ``record``.
    Raises :class:`TransportError`, :class:`WireError` for a pose that contains NaN or infinity.
    """

    sink = Caps("people/poses")
    example = "testsrc ! detect ! track ! window ! pose ! queue ! recordsink location=hall.mcap"

    location: Annotated[
        str,
        Meta(
            description="file to write (.mcap); with {camera} in it, one per camera; with {time}, the start of the run"
        ),
    ]
    video: Annotated[
        Literal["h264", "jpeg", "none"],
        Meta(description="how frames are recorded: H.264, a JPEG for each, or not at all"),
    ] = "h264"
    max_minutes: Annotated[float, Meta(ge=0, description="begin the next file after so long; 0 for no limit")] = 10.0
    max_mb: Annotated[float, Meta(ge=0, description="begin the next file at this size, 10^6 bytes; 0 for no limit")] = (
        0.0
    )
    keep_mb: Annotated[
        float,
        Meta(ge=0, description="remove the oldest files of this run so that all are no larger; 0 to keep all"),
    ] = 0.0

    def __post_init__(self) -> None:
        if Path(self.location).suffix.lower() != _SUFFIX:
            raise PropertyError(f"recordsink: location={self.location} does not end in .mcap; name such a file")
        if self.keep_mb and not (self.max_minutes or self.max_mb):
            raise PropertyError(
                f"recordsink: keep_mb={self.keep_mb:g} removes whole files, and without max_minutes= and max_mb= there "
                "is only one; set one of them"
            )
        if self.max_mb and 0 < self.keep_mb < 2 * self.max_mb:
            raise PropertyError(
                f"recordsink: keep_mb={self.keep_mb:g} is less than two files of max_mb={self.max_mb:g}; set a smaller "
                "max_mb="
            )
        self._numbers = Numbers({}, restarted=False)
        self._series: dict[str, Series] = {}
        self._encoders: dict[str, VideoEncoder] = {}
        self._begun_files: dict[str, RecordingFile] = {}

    def check(self, sources: Sequence[Source]) -> None:  # noqa: ARG002 - whatever the sources
        check_installed(_OWNER)
        if self.video == "h264":
            from stream.recording.video_encoder import check_encoder

            check_encoder()

    def check_camera(self, camera: str) -> None:
        """Raise :class:`PropertyError` for a name that the protocol does not allow."""
        check_camera(camera, _OWNER)

    def outputs(self, cameras: Sequence[str]) -> list[str]:
        """The first files.

        Raises :class:`PropertyError` where one is called as a later one of another camera.
        """
        targets = {insert_camera(self.location, camera): camera for camera in cameras}
        refuse_numbered(targets, _OWNER)
        return list(targets)

    def series(self, cameras: Sequence[str]) -> list[str]:
        """The first files, after which all later ones are numbered."""
        return [insert_camera(self.location, camera) for camera in cameras]

    def status(self) -> str:
        files = [series.file for series in tuple(self._series.values())]
        return ", ".join(f"{file.path.name}: {file.size / 1e6:.1f} MB" for file in files)

    def __enter__(self) -> Self:
        self.check(())
        self._series, self._encoders, self._begun_files = {}, {}, {}
        self._numbers = Numbers(self.context.memory, restarted=self.context.incarnation > 0)
        if self.context.incarnation == 0 or _BEGUN not in self.context.memory:
            self.context.memory[_BEGUN] = self.context.now_ns() // 10**9
        if "{camera}" not in self.location:
            self._open("")  # report an unwritable file before the first frame
        return self

    def consume(self, item: Poses) -> None:
        camera, frame_seq = item.key
        if self._numbers.is_published(camera, frame_seq):
            return
        check_camera(camera, _OWNER)
        series, now_ns, seq = self._open(camera), self.context.now_ns(), self._numbers.next(camera)
        stamped = dataclasses.replace(item, frame=item.frame.stamp("published", now_ns))
        payload = schema.encode_poses(stamped, session=self._numbers.session, seq=seq)
        series.begin_next_if_due()
        # The message last: a frame is recorded when it has one.
        drawn = [*self._skeleton(series.file, item.skeleton, now_ns), *self._pictures(series.file, item, now_ns)]
        series.write([*drawn, _entry(topics.poses_topic(camera), payload, item.frame.wall_ns, now_ns, seq)])
        self._begun_files[camera] = series.file
        self._numbers.commit(camera, seq, frame_seq)

    def end(self, camera: str) -> None:
        """Record the end of ``camera``'s stream, once."""
        if camera not in self._numbers.cameras() or self._numbers.is_ended(camera):
            return
        seq, now_ns = self._numbers.next(camera), self.context.now_ns()
        payload = schema.encode_end(session=self._numbers.session, seq=seq, camera=camera, wall_ns=now_ns)
        self._open(camera).write([_entry(topics.poses_topic(camera), payload, now_ns, now_ns, seq)])
        self._numbers.commit_end(camera, seq)

    def flush(self) -> None:
        """Record the end of every camera's stream and complete the files."""
        finish_each(self._numbers.cameras(), self.end)
        finish_each(self._series.values(), lambda series: series.close())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            finish_each(self._series.values(), lambda series: series.close())
        finally:
            self._series, self._encoders, self._begun_files = {}, {}, {}

    def _open(self, camera: str) -> Series:
        """Open the files of this camera, unless they are open."""
        from stream.recording.series import Limits, Series

        location = insert_camera(self._location(), camera)
        if location not in self._series:
            limits = Limits(self.max_minutes, self.max_mb, self.keep_mb)
            is_restart = self.context.incarnation > 0
            self._series[location] = Series(
                Path(location), self._numbers.session, limits, self.context.now_ns, resume=is_restart
            )
        return self._series[location]

    def _location(self) -> str:
        begun = datetime.fromtimestamp(self.context.memory[_BEGUN], tz=UTC)
        return self.location.replace(_TIME, f"{begun:%Y%m%dT%H%M%SZ}")

    def _skeleton(self, file: RecordingFile, name: str, now_ns: int) -> list[Entry]:
        """The message of a skeleton, once for each file."""
        topic = topics.skeleton_topic(name)
        if file.has(topic):
            return []
        payload = schema.encode_known_skeleton(name, session=self._numbers.session)
        return [_entry(topic, payload, now_ns, now_ns, 0)]

    def _pictures(self, file: RecordingFile, item: Poses, now_ns: int) -> list[Entry]:
        """The frame, and what is drawn over it."""
        from stream.recording import foxglove
        from stream.recording.channels import image_channel, skeleton_channel, video_channel
        from stream.recording.video_encoder import VideoEncoder, encode_jpeg
        from stream.recording.writer import Entry

        frame = item.frame
        drawn = Entry(skeleton_channel(frame.camera), foxglove.encode_people(item), frame.wall_ns, now_ns, frame.seq)
        if self.video == "none":
            return [drawn]
        if self.video == "jpeg":
            jpeg = encode_jpeg(frame.pixels, f"recordsink: frame {frame.seq} of {frame.camera!r}")
            channel, data = image_channel(frame.camera), foxglove.encode_image(frame, jpeg)
        else:
            encoder = self._encoders.setdefault(frame.camera, VideoEncoder())
            is_first = self._begun_files.get(frame.camera) is not file
            video = encoder.encode(frame.pixels, frame.pts_ns, as_key=is_first)
            channel, data = video_channel(frame.camera), foxglove.encode_video(frame, video)
        return [Entry(channel, data, frame.wall_ns, now_ns, frame.seq), drawn]


def _entry(topic: str, payload: bytes, log_ns: int, now_ns: int, seq: int) -> Entry:
    from stream.recording.channels import message_channel
    from stream.recording.writer import Entry

    return Entry(message_channel(topic), payload, log_ns, now_ns, seq)
