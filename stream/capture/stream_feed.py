"""One connection to a live stream, opened with PyAV."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from engines.redaction import redact
from engines.url import Url
from stream.capture.decoded_picture import Shot, VideoPicture
from stream.capture.deinterlacing import Deinterlacer
from stream.capture.play_out import FORMATS, PlayOut
from stream.capture.reachability import find_reason
from stream.capture.reader import DisconnectedError
from stream.capture.video_header import pixel_aspect
from stream.element import Context
from stream.errors import SourceError


class Backlog:
    """The packets that arrived before the first read: needed to decode the next ones, too old to be shown.

    On opening, FFmpeg probes the stream for about a second, and some servers begin with the last key frame and
    everything since. These packets are available at once; the backlog ends with the first packet that is waited for.
    """

    def __init__(self) -> None:
        self._is_over = False

    def includes(self, waited_s: float, open_s: float) -> bool:
        """True if a packet that came after ``waited_s``, ``open_s`` after the opening, belongs to the backlog."""
        self._is_over = self._is_over or waited_s >= _INSTANT_S or open_s >= _MAX_BACKLOG_S
        return not self._is_over


_INSTANT_S = 0.003
"""A packet that comes within this time was already there; a frame period is at least 8 ms."""

_MAX_BACKLOG_S = 3.0
"""If packets still come at once this long after the opening, this machine is too slow for the stream."""


class StreamFeed:
    """One connection, opened with PyAV; a read ends within about twice ``read_timeout_s`` whatever the server does.

    Decoding and the conversion of colours have as many threads as the ``context`` allows.
    """

    def __init__(
        self,
        url: Url,
        options: dict[str, str],
        open_timeout_s: float,
        read_timeout_s: float,
        context: Context,
    ) -> None:
        self._url, self._now_ns, self._play = url, context.now_ns, PlayOut()
        self._threads = context.threads
        self._container = self._open(options, open_timeout_s, read_timeout_s)
        try:
            self._check_format()
            self._stream = self._find_video()
        except BaseException:
            self.close()
            raise
        self._shots = self._decode()

    def read(self) -> Shot:
        """Return the next frame. Raises :class:`DisconnectedError`, also at the end of the stream."""
        from av.error import FFmpegError

        try:
            return next(self._shots)
        except StopIteration:
            raise DisconnectedError("the server ended the stream") from None
        except FFmpegError as error:
            raise DisconnectedError(_describe_error(error)) from None

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _open(self, options: dict[str, str], open_timeout_s: float, read_timeout_s: float) -> Any:
        import av

        start_s = time.monotonic()
        try:
            timeout = open_timeout_s, read_timeout_s
            return av.open(self._url.reveal(), options=options, timeout=timeout, metadata_errors="replace")
        except av.FFmpegError as error:
            if time.monotonic() - start_s >= open_timeout_s:  # FFmpeg reports "invalid data"
                raise DisconnectedError(f"no answer for {open_timeout_s:.1f} s") from None
            raise _open_error(self._url, error) from None  # FFmpeg's error quotes the address

    def _check_format(self) -> None:
        if self._is_playlist and self._container.duration is not None:
            raise DisconnectedError("its playlist has ended, so nothing live comes from it", is_mistake=True)
        if self._container.format.name.endswith("_pipe"):
            raise SourceError(
                f"{str(self._url)!r} is a single picture, not a stream; use snapshotsrc, which asks for it repeatedly"
            )

    def _find_video(self) -> Any:
        stream = self._container.streams.best("video")
        if stream is None:
            raise SourceError(f"{str(self._url)!r} sends no video; check the path, a camera may have several")
        for other in self._container.streams:  # or FFmpeg loads every quality that a playlist offers
            if other is not stream and hasattr(other, "discard"):  # older PyAV has no such attribute
                other.discard = type(other.discard).all
        # Frame threads would delay each picture by as many pictures as there are threads.
        stream.thread_type = "SLICE"
        stream.codec_context.thread_count = self._threads
        return stream

    def _decode(self) -> Iterator[Shot]:
        from av.error import InvalidDataError
        from av.video.reformatter import VideoReformatter

        reformatter, aspect = VideoReformatter(), pixel_aspect(self._container, self._stream)
        deinterlacer = Deinterlacer(self._stream, f"{str(self._url)!r}")
        for packet, arrived_ns, is_old in self._packets():
            try:
                frames = packet.decode()
            except InvalidDataError:
                continue  # a packet was lost; decoding recovers at the next key frame
            shown = [frame for frame in frames if not (is_old or frame.is_corrupt)]
            for whole, captured_ns in chain.from_iterable(deinterlacer.process(frame, arrived_ns) for frame in shown):
                shot = Shot(
                    VideoPicture(whole, reformatter, aspect, self._threads), self._pts_ns(whole), 0, captured_ns
                )
                yield self._play_out(shot) if self._is_playlist else shot

    def _play_out(self, shot: Shot) -> Shot:
        """Wait until the shot is due."""
        due_ns = self._play.wait(shot.begin_ns)
        return replace(shot, pts_ns=due_ns, captured_ns=self._now_ns())

    def _packets(self) -> Iterator[tuple[Any, int, bool]]:
        """Yield packets, the time each arrived, and whether it is too old to be shown."""
        packets, backlog, opened_s = self._container.demux(self._stream), Backlog(), time.monotonic()
        while True:
            read_s = time.monotonic()
            packet = next(packets, None)
            if packet is None:
                return
            now_s = time.monotonic()
            yield packet, self._now_ns(), self._has_backlog and backlog.includes(now_s - read_s, now_s - opened_s)

    def _pts_ns(self, frame: Any) -> int | None:
        """None if the stream has no clock (Motion JPEG over HTTP): FFmpeg then assumes 25 frames per second."""
        return int(frame.pts * frame.time_base * 1_000_000_000) if self._has_clock and frame.pts is not None else None

    @property
    def _is_playlist(self) -> bool:
        return not FORMATS.isdisjoint(self._container.format.name.split(","))

    @property
    def _has_backlog(self) -> bool:
        """What a playlist holds is not too old: it is played out from there on."""
        return self._has_clock and not self._is_playlist

    @property
    def _has_clock(self) -> bool:
        return not self._container.format.flags & _NO_TIMESTAMPS


_NO_TIMESTAMPS = 0x80
"""``AVFMT_NOTIMESTAMPS`` of libavformat/avformat.h: the format carries no times."""


def _open_error(url: Url, error: Any) -> Exception:
    """Make a :class:`SourceError` if a retry cannot succeed, else a :class:`DisconnectedError`."""
    import av

    shown = f"{str(url)!r}"
    match error:
        case av.HTTPUnauthorizedError() | av.HTTPForbiddenError():
            return SourceError(
                f"{shown} refuses this user and password ({_describe_error(error)}); "
                "check both in url=rtsp://USER:PASSWORD@HOST/PATH, with %40 for an @ in the password"
            )
        case av.HTTPNotFoundError():
            return DisconnectedError(f"the path does not exist ({_describe_error(error)})", is_mistake=True)
        case av.ProtocolNotFoundError():
            return SourceError(
                f"{shown}: this FFmpeg does not support {urlsplit(url.reveal()).scheme}; use rtsp or http, or have "
                "MediaMTX pass it on as rtsp"
            )
        case av.ArgumentError():
            return SourceError(
                f"{shown} is not an address FFmpeg accepts ({_describe_error(error)}); check host and port"
            )
        case av.error.InvalidDataError() | av.error.OSError(errno=errno.EIO):  # no reason that a user can mend
            return DisconnectedError(find_reason(url.reveal()) or _describe_error(error))
    return DisconnectedError(_describe_error(error))


def _describe_error(error: Any) -> str:
    """FFmpeg's message, without the credentials in the address it repeats."""
    import av

    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return "the server stopped sending"
    return redact(str(error.strerror or error))
