"""``replaysrc``: frames of a recording of ``recordsink``, through a line again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from msgspec import Meta

from stream.caps import Caps
from stream.capture.decoded_picture import Shot
from stream.capture.file_changes import check_unchanged
from stream.capture.files import expand_home
from stream.capture.frame_conversion import make_frame
from stream.element import Source
from stream.errors import PosestreamError, SourceError
from stream.messages import Frame
from stream.recording.installed import check_installed
from stream.registry import label

if TYPE_CHECKING:
    from stream.recording.recording import Recording

_OWNER = "replaysrc"


@dataclass
class ReplaySrc(Source):
    """Frames of one camera of a recording, all its files in order, with their own ``seq``, ``pts_ns`` and ``wall_ns``.
    As a file, it waits for the line, and nothing is dropped.

    Pictures are as the recorded H.264 or JPEG has them: close to the frames, not equal. Needs the extra ``record``.
    Raises :class:`SourceError` if a file is missing or no recording, or has no video.
    """

    src = Caps("video/raw")
    example = "replaysrc location=hall.mcap ! detect ! track ! window ! pose ! fakesink"
    has_truth = False

    location: Annotated[str, Meta(description="a file of recordsink (.mcap); those numbered beside it follow")]
    camera: Annotated[
        str,
        Meta(description="which camera of the recording; empty if it has one, which gets this element's name"),
    ] = ""

    def __post_init__(self) -> None:
        self._opened: tuple[Recording, str] | None = None

    @property
    def reads_ahead(self) -> bool:
        return True

    def check(self, sources: Sequence[Source]) -> None:  # noqa: ARG002 - it is the source
        check_installed(_OWNER)

    def inputs(self) -> tuple[Path, ...]:
        with suppress(PosestreamError, OSError):
            return self._recording().files
        return ()

    @property
    def length(self) -> int | None:
        with suppress(PosestreamError, OSError):
            counts, is_sure = self._recording().count_frames()
            return counts.get(self._choose(counts)) if is_sure else None
        return None

    def __enter__(self) -> Self:
        if not self.context.incarnation:
            self._open()  # report a missing file or camera when the line opens
        return self

    def frames(self) -> Iterator[Frame | None]:
        from stream.recording.frames import read_frames

        recording, chosen = self._opened or self._open()
        check_unchanged(self.location, recording.files, self.context)
        for head, picture in read_frames(recording, chosen):
            shot = Shot(picture, head.pts_ns, 0, head.wall_ns, head.file)
            yield make_frame(shot, self.camera or label(self), head.frame_seq, self.context)

    def _open(self) -> tuple[Recording, str]:
        """Open the recording, and choose the camera. Raises :class:`SourceError`."""
        recording = self._recording()
        self._opened = recording, self._choose(recording.count_frames()[0])
        return self._opened

    def _recording(self) -> Recording:
        check_installed(_OWNER)
        from stream.recording.recording import Recording

        return Recording(expand_home(self.location))

    def _choose(self, counts: dict[str, int]) -> str:
        """The camera whose frames are wanted, of those with this many frames. Raises :class:`SourceError`."""
        names = ", ".join(counts)
        if not counts:
            raise SourceError(f"{self.location} has no keypoints: it has no topic poses/…; give a file of recordsink")
        if not self.camera and len(counts) > 1:
            raise SourceError(f"{self.location} has several cameras: {names}; choose one with camera=")
        chosen = self.camera or next(iter(counts))
        if chosen not in counts:
            raise SourceError(f"{self.location} has no camera {chosen!r}; it has {names}")
        if not counts[chosen]:
            raise SourceError(
                f"{self.location} has no video of camera {chosen!r}, only keypoints; record with video=h264, "
                "or publish them with posestream replay"
            )
        return chosen
