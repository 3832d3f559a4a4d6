"""``rtspsrc``: frames of an RTSP camera, or of another live address that FFmpeg can open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from msgspec import Meta

from engines.url import Url
from stream.capture.live_address import check_address
from stream.capture.live_source import LiveSource
from stream.capture.play_out import MAX_SEGMENT_S, SUFFIXES
from stream.capture.stream_feed import StreamFeed

_LISTENING = ("udp", "rtp")
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt")


@dataclass
class Rtspsrc(LiveSource):
    """Frames of a live address as they arrive, (H, W, 3) uint8 BGR; the size may change with the stream.

    ``url`` may contain ``user:password@``, which never appears in messages, and ``${NAME}``, which is read from the
    environment and may hold any character. ``wall_ns`` is the time at which the last byte of a frame arrived. Within a
    connection, ``pts_ns`` follows the stream's own clock; it continues across reconnections.

    HLS and DASH arrive in bursts and are played out at the pace of their own times; ``wall_ns`` is then the moment of
    play-out, since nothing says when a frame was captured.

    Raises :class:`SourceError`, naming the address, if it is invalid, if the user or password is refused, if the path
    does not exist, and as ``retry`` and ``give_up_s`` say.
    """

    url: Annotated[Url, Meta(description="rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH; also rtsps, http, https, rtmp, udp")]
    transport: Annotated[
        Literal["tcp", "udp"], Meta(description="transport of RTSP; udp loses pictures on a lossy network")
    ] = "tcp"

    def __post_init__(self) -> None:
        given: object = self.url
        if isinstance(given, str):
            self.url = Url(given)

    def __enter__(self) -> Self:
        check_address(self.url, SCHEMES, "write rtsp://HOST/PATH, or use filesrc for a file")
        return self

    def connect(self) -> StreamFeed:
        options: dict[str, str] = {"rtsp_transport": self.transport} if self.url.reveal().startswith("rtsp") else {}
        return StreamFeed(self.url, options, self.open_timeout_s, self.silence_limit_s + _LATER_S, self.context)

    @property
    def silence_limit_s(self) -> float:
        is_playlist = urlsplit(str(self.url)).path.lower().endswith(SUFFIXES)
        return max(self.stall_timeout_s, MAX_SEGMENT_S) if is_playlist else self.stall_timeout_s

    @property
    def closing_limit_s(self) -> float:
        # These listen at a port of this machine, which belongs to the last connection until its read has timed out.
        url = urlsplit(self.url.reveal())
        is_listening = url.scheme.lower() in _LISTENING or "listen" in url.query
        return 2 * (self.silence_limit_s + _LATER_S) if is_listening else 0.0

    @property
    def address(self) -> str:
        return f"{str(self.url)!r}"

    @property
    def remedy(self) -> str:
        return "start it, check the address, or wait for it with retry=always"


_LATER_S = 1.0
"""How much later than us FFmpeg gives up a silent server: before it does, it returns a picture it had held back, as if
the server were back, and a freeze would be noticed after twice the time (measured)."""
