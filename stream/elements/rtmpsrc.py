"""``rtmpsrc``: frames that an encoder, such as OBS or a phone, publishes to this machine over RTMP."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Annotated, Self

from msgspec import Meta

from engines.url import Url
from stream.capture.decoded_picture import Shot
from stream.capture.live_source import LiveSource
from stream.capture.publishers import PublisherSocket, Relay, find_free_port
from stream.capture.reader import DisconnectedError
from stream.capture.stream_feed import StreamFeed
from stream.errors import SourceError
from stream.transports.addresses import is_loopback_host, split_listen

_log = logging.getLogger(__name__)

_OPEN_S = 10.0
"""How long a publisher may take from its connection to its first picture."""

_PROBE_US = "1000000"
"""FFmpeg looks for so long, in microseconds, at what a publisher sends; else up to 5 s, in case sound begins late."""


@dataclass
class Rtmpsrc(LiveSource):
    """Frames that a publisher sends to ``rtmp://HOST:PORT/…``, with any path, (H, W, 3) uint8 BGR; the size may change.

    It listens until a publisher comes, and again when it has left; meanwhile a second one is turned away. RTMP has no
    password: anyone who reaches the port may publish, so it is open to this machine alone unless ``listen`` names
    another address, of which a warning reminds. ``wall_ns`` is the time at which the last byte of a frame arrived;
    ``pts_ns`` follows the publisher's clock, and continues with the next one.

    Raises :class:`SourceError` if the address cannot be listened on, if no publisher comes within ``open_timeout_s``
    (``retry=always`` waits on), and as ``retry`` and ``give_up_s`` say.
    """

    listen: Annotated[str, Meta(description="HOST:PORT; 0.0.0.0:1935 for publishers on other hosts")] = "127.0.0.1:1935"
    open_timeout_s: Annotated[float, Meta(gt=0, description="seconds to wait for a publisher")] = field(
        default=60.0, kw_only=True
    )
    backoff_s: Annotated[
        float, Meta(gt=0, description="seconds before it waits for the next publisher; doubled for each next one")
    ] = field(default=0.1, kw_only=True)

    _socket = None
    _is_waiting = True

    def __enter__(self) -> Self:
        host, port = split_listen(self.listen, "127.0.0.1:1935", "rtmpsrc: listen")
        try:
            self._socket = PublisherSocket(host, port)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror  # no address again
            raise SourceError(
                f"rtmpsrc: cannot listen on {self.listen!r}: {why}; choose another port or address of this machine"
            ) from None
        if not is_loopback_host(host):
            _log.warning("rtmpsrc: anyone who reaches %r can publish there: RTMP has no password", self.listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()
        super().__exit__(kind, error, trace)

    def connect(self) -> PublishedFeed:
        """Wait for a publisher whose video can be played."""
        until_s = time.monotonic() + self.open_timeout_s
        assert self._socket is not None
        self._is_waiting = True
        while (left_s := until_s - time.monotonic()) > 0:
            found = self._socket.accept(left_s)
            if found is None:
                break
            client, peer = found
            port = find_free_port()
            relay = Relay(client, port, self._socket)
            try:
                feed = StreamFeed(
                    Url(f"rtmp://127.0.0.1:{port}/live"),
                    {"listen": "1", "analyzeduration": _PROBE_US},
                    _OPEN_S,
                    self.silence_limit_s + 1.0,
                    self.context,
                )
            except (DisconnectedError, SourceError):
                relay.close()
                _log.warning("%s: what %s publishes has no video that can be played", self.address, peer)
                continue
            self._is_waiting = False
            return PublishedFeed(feed, relay)
        raise DisconnectedError(f"no publisher for {self.open_timeout_s:.1f} s")

    def describe_silence(self) -> str:
        return f"waits for a publisher on rtmp://{self.listen}" if self._is_waiting else super().describe_silence()

    @property
    def open_limit_s(self) -> float:
        return self.open_timeout_s + _OPEN_S

    @property
    def address(self) -> str:
        return f"'rtmp://{self.listen}'"

    @property
    def remedy(self) -> str:
        return "point an encoder at this address, or wait for one with retry=always"


class PublishedFeed:
    """What one publisher sends."""

    def __init__(self, feed: StreamFeed, relay: Relay) -> None:
        self._feed, self._relay = feed, relay

    def read(self) -> Shot:
        """Return the next frame. Raises :class:`DisconnectedError`, also when the publisher has left."""
        try:
            return self._feed.read()
        except DisconnectedError:
            if self._relay.has_left:
                raise DisconnectedError("the publisher has left") from None
            raise

    def close(self) -> None:
        """Close both connections."""
        self._relay.close()
        self._feed.close()
