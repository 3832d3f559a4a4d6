"""``rtspsrc``: frames from an RTSP camera, or any other live address that FFmpeg can open."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from msgspec import Meta

from stream.capture.decoded_picture import Shot, VideoPicture
from stream.capture.live_source import LiveSource
from stream.capture.reader import DisconnectedError
from stream.credentials import expanded, redacted
from stream.errors import SourceError

SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt")


@dataclass
class Rtspsrc(LiveSource):
    """Frames of a live address as they come, (H, W, 3) uint8 BGR, of whatever size the stream has at the moment.

    ``url`` may hold ``user:password@``, which is never shown again, and ``${NAME}``, which is read from the
    environment. ``wall_ns`` is the time at which the last byte of a frame had arrived. ``pts_ns`` keeps the
    distances of the stream's own clock within a connection and runs on over reconnections.

    Raises :class:`SourceError`, naming the address, when the user or password is refused, when nothing is at this path,
    for an address that cannot be right, and for what ``retry`` and ``give_up_s`` say.
    """

    url: Annotated[str, Meta(description="rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH; also rtsps, http, https, rtmp, udp")]
    transport: Annotated[
        Literal["tcp", "udp"], Meta(description="how RTSP carries the pictures; udp loses some where the network does")
    ] = "tcp"

    def __enter__(self) -> Self:
        check_address(self.url)
        return self

    def connect(self) -> StreamFeed:
        url = expanded(self.url)
        options: dict[str, str] = {"rtsp_transport": self.transport} if url.startswith("rtsp") else {}
        return StreamFeed(url, options, self.open_timeout_s, self.stall_timeout_s + _LATER_S, self.context.now_ns)

    @property
    def address(self) -> str:
        return f"{redacted(self.url)!r}"

    @property
    def remedy(self) -> str:
        return "start it, check the address, or wait for it with retry=always"

    def __repr__(self) -> str:
        return f"Rtspsrc(url={redacted(self.url)!r}, camera={self.camera!r}, transport={self.transport!r})"


_LATER_S = 1.0
"""FFmpeg gives up a silent server later than we do: when it does, it first hands out a picture that it had kept, as if
the server were back, and a freeze would be noticed after twice the time (measured)."""


def check_address(url: str) -> None:
    """Raises :class:`SourceError` for an address that cannot be right, before anything is connected."""
    parts, shown = _split(expanded(url)), repr(redacted(url))
    if parts is None or parts.scheme.lower() not in SCHEMES:
        raise SourceError(f"{shown} is no live address; write rtsp://HOST/PATH, or use filesrc for a file")
    if not parts.hostname:
        raise SourceError(f"{shown} names no host; write {parts.scheme}://HOST/PATH")


def _split(url: str) -> Any:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
    except ValueError:
        return None
    return parts


class Pile:
    """What had gathered before the first packet was asked for: good to decode the next with, too old to be shown.

    While a connection is opened FFmpeg looks at what comes for about a second, and some servers begin with the last key
    picture and all since. All of it is there at once; it ends with the first packet that has to be waited for.
    """

    def __init__(self) -> None:
        self._is_gone = False

    def holds(self, waited_s: float, open_s: float) -> bool:
        """Whether the packet belongs to it that came after so long a wait, so long after the opening."""
        self._is_gone = self._is_gone or waited_s >= _INSTANT_S or open_s >= _PILE_S
        return not self._is_gone


_INSTANT_S = 0.003
"""A packet that comes within this time of being asked for had been there; a frame period is 8 ms at the least."""

_PILE_S = 3.0
"""When a packet still comes at once so long after the opening, it is this machine that is slow."""


class StreamFeed:
    """One connection, opened with PyAV; a read ends within about twice ``read_timeout_s`` whatever the server does."""

    def __init__(
        self,
        url: str,
        options: dict[str, str],
        open_timeout_s: float,
        read_timeout_s: float,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._url, self._now_ns = url, now_ns
        self._container = self._open(options, open_timeout_s, read_timeout_s)
        try:
            self._stream = self._video()
        except BaseException:
            self.close()
            raise
        self._shots = self._decoded()

    def read(self) -> Shot:
        """The next frame. Raises :class:`DisconnectedError`; the end of a live stream is one too."""
        from av.error import FFmpegError

        try:
            return next(self._shots)
        except StopIteration:
            raise DisconnectedError("the server ended the stream") from None
        except FFmpegError as error:
            raise DisconnectedError(_reason(error)) from error

    def close(self) -> None:
        """Give back the connection."""
        self._container.close()

    def _open(self, options: dict[str, str], open_timeout_s: float, read_timeout_s: float) -> Any:
        import av

        begun_s = time.monotonic()
        try:
            return av.open(self._url, options=options, timeout=(open_timeout_s, read_timeout_s))
        except av.FFmpegError as error:
            if time.monotonic() - begun_s >= open_timeout_s:  # FFmpeg calls it "invalid data"
                raise DisconnectedError(f"no answer for {open_timeout_s:.1f} s") from error
            raise _opening_failed(self._url, error) from error

    def _video(self) -> Any:
        stream = self._container.streams.best("video")
        if stream is None:
            raise SourceError(f"{redacted(self._url)!r} sends no video; check the path, a camera may have several")
        # With frame threads a picture would wait for as many more as there are threads.
        stream.thread_type = "SLICE"
        return stream

    def _decoded(self) -> Iterator[Shot]:
        from av.error import InvalidDataError
        from av.video.reformatter import VideoReformatter

        reformatter = VideoReformatter()
        for packet, arrived_ns, is_old in self._packets():
            try:
                frames = packet.decode()
            except InvalidDataError:
                continue  # a packet was lost on the way; the next key picture mends it
            for frame in frames:
                if not (is_old or frame.is_corrupt):
                    yield Shot(VideoPicture(frame, reformatter), self._pts_ns(frame), 0, arrived_ns)

    def _packets(self) -> Iterator[tuple[Any, int, bool]]:
        """Packets, when each arrived, and whether it is too old to be shown."""
        packets, pile, opened_s = self._container.demux(self._stream), Pile(), time.monotonic()
        while True:
            asked_s = time.monotonic()
            packet = next(packets, None)
            if packet is None:
                return
            now_s = time.monotonic()
            yield packet, self._now_ns(), self._has_clock and pile.holds(now_s - asked_s, now_s - opened_s)

    def _pts_ns(self, frame: Any) -> int | None:
        """None where the stream has no clock (Motion JPEG over HTTP), for FFmpeg then makes up 25 frames a second."""
        return int(frame.pts * frame.time_base * 1_000_000_000) if self._has_clock and frame.pts is not None else None

    @property
    def _has_clock(self) -> bool:
        return not self._container.format.flags & _NO_TIMESTAMPS


_NO_TIMESTAMPS = 0x80
"""``AVFMT_NOTIMESTAMPS`` of libavformat/avformat.h: the format carries no times."""


def _opening_failed(url: str, error: Any) -> Exception:
    """A refusal that no patience helps is a :class:`SourceError`; everything else may pass."""
    import av

    shown = repr(redacted(url))
    match error:
        case av.HTTPUnauthorizedError() | av.HTTPForbiddenError():
            return SourceError(
                f"{shown} refuses this user and password ({_reason(error)}); "
                "check both in url=rtsp://USER:PASSWORD@HOST/PATH, with %40 for an @ in the password"
            )
        case av.HTTPNotFoundError():
            return DisconnectedError(f"nothing is at this path ({_reason(error)})", is_mistake=True)
        case av.ProtocolNotFoundError():
            return SourceError(f"{shown}: this FFmpeg does not speak {url.partition(':')[0]}; use rtsp or http")
        case av.ArgumentError():
            return SourceError(f"{shown} is no address that FFmpeg understands ({_reason(error)}); check host and port")
    return DisconnectedError(_reason(error))


def _reason(error: Any) -> str:
    """FFmpeg's words without the address that it repeats."""
    import av

    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return "the server stopped sending"
    return redacted(str(error.strerror or error))
