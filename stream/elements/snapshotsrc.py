"""``snapshotsrc``: the picture that a camera serves over HTTP, asked for at a rate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Self

from msgspec import Meta

from engines.url import Url
from stream.capture.live_address import HTTP, check_address
from stream.capture.live_source import LiveSource
from stream.capture.snapshot import LastPicture, Request, SnapshotFeed
from stream.errors import PropertyError


@dataclass
class Snapshotsrc(LiveSource):
    """Frames that are single pictures (JPEG, PNG, WebP) on a web server, (H, W, 3) uint8 BGR, asked for ``fps`` times a
    second.

    ``url`` may contain ``user:password@`` (Basic or Digest), which never appears in messages, and ``${NAME}``, which is
    read from the environment. A picture equal to the one before is left out: it is no new frame. ``wall_ns`` and
    ``pts_ns`` are the time at which its last byte arrived, since nothing says when it was taken. Where an address also
    offers a stream, ``rtspsrc`` has more frames, and each of them sooner.

    Raises :class:`SourceError`, naming the address, if it is invalid or no picture, if the user or password is refused,
    if the path does not exist, and as ``retry`` and ``give_up_s`` say.
    """

    example = "snapshotsrc url=http://camera/snapshot.jpg fps=2 ! fakesink"

    url: Annotated[Url, Meta(description="http://[USER:PASSWORD@]HOST[:PORT]/PATH; also https")]
    fps: Annotated[float, Meta(gt=0, le=100, description="requests per second; fewer if the camera is slower")] = 2.0
    tls_verify: Annotated[bool, Meta(description="refuse certificates of no known authority (https)")] = True
    stall_timeout_s: Annotated[
        float, Meta(gt=0, description="seconds of the same picture after which the camera is considered frozen")
    ] = field(default=60.0, kw_only=True)

    def __post_init__(self) -> None:
        given: object = self.url
        if isinstance(given, str):
            self.url = Url(given)
        self._last = LastPicture()

    def __enter__(self) -> Self:
        check_address(self.url, HTTP, "write http://HOST/PATH, or use rtspsrc for a stream and filesrc for a file")
        if self.stall_timeout_s * self.fps < _MIN_PICTURES:
            raise PropertyError(
                f"snapshotsrc: stall_timeout_s={self.stall_timeout_s:g} is less than two pictures at fps={self.fps:g} "
                f"take; set it to {_MIN_PICTURES / self.fps:g} or more"
            )
        return self

    def connect(self) -> SnapshotFeed:
        request = Request(self.url, 1 / self.fps, self.open_timeout_s, self.stall_timeout_s, self.tls_verify)
        return SnapshotFeed(request, self._last, self.context.now_ns)

    @property
    def nominal_fps(self) -> float | None:
        return self.fps

    @property
    def silence_limit_s(self) -> float:
        """The feed notices by itself what is frozen or does not answer, and says which."""
        return self.stall_timeout_s + 1 / self.fps + self.open_timeout_s + _LATER_S

    @property
    def address(self) -> str:
        return f"{str(self.url)!r}"

    @property
    def remedy(self) -> str:
        return "start it, check the address, or wait for it with retry=always"


_MIN_PICTURES = 2
_LATER_S = 1.0
