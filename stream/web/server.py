"""Runs the page: a web server in a thread, the feeds of publishers, and the lines of this host."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from stream.errors import TransportError
from stream.metrics.running_lines import RunningLines
from stream.protocol.pose_message import PoseMessage
from stream.site.site import Site
from stream.web.access import Access
from stream.web.app import make_app
from stream.web.connections import BoundedListener, BoundedProtocol
from stream.web.feed import Address, CameraState, Feed
from stream.web.hub import Hub
from stream.web.packet import encode_frame, encode_state

_TURN_S = 0.1
_STATE_S = 1.0
_STOP_S = 2
_MAX_CONNECTIONS = 200
_MAX_ORDER_BYTES = 4096


class PageServer:
    """Serves the page of what is published at ``addresses``; a context manager, at work while :meth:`run` runs.

    It shows the state of the lines in ``run_dirs``, or of all lines of this user; with a ``site``, that of its lines,
    and cameras can be added and removed. Raises :class:`TransportError` for an address that cannot be listened on or
    subscribed to.
    """

    def __init__(
        self, addresses: Sequence[Address], access: Access, run_dirs: Sequence[Path] = (), *, site: Site | None = None
    ) -> None:
        self._site = site
        self._running = RunningLines(run_dirs)
        self._ids: dict[tuple[Address, str], int] = {}
        self._numbers: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._hub = Hub(self._watch)
        self._feeds: dict[Address, Feed] = {}
        self._is_watched = False
        self._state_s, self._events = -_STATE_S, 0
        self._socket = _listen(access)
        self._loop = asyncio.new_event_loop()
        self.address = f"{access.scheme}://{_spell(access.host)}:{self._socket.getsockname()[1]}/"
        with ExitStack() as stack:
            stack.callback(self._loop.close)
            stack.callback(self._socket.close)
            stack.callback(self._close_feeds)
            self.show(addresses)
            stack.pop_all()
        self._server = uvicorn.Server(_configure(make_app(self._hub, access, self._encode_state, site), access))
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        self._thread.start()

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Follow the lines and tell the viewers of them, until ``is_stopped``."""
        while not is_stopped():
            self.turn()
            time.sleep(_TURN_S)

    def show(self, addresses: Sequence[Address]) -> None:
        """Show what is published at these addresses from now on; those that were shown before go on."""
        for address in self._feeds.keys() - set(addresses):
            self._feeds.pop(address).close()
            with self._lock:
                gone = [number for (of, _), number in self._ids.items() if of == address]
            self._call(self._hub.forget, gone)
        for address in addresses:
            if address not in self._feeds:
                feed = self._feeds[address] = Feed(address, self._make_deliver(address))
                feed.watch(self._is_watched)

    def turn(self) -> None:
        """Follow the site and the lines; tell the viewers once a second, and of an event at once."""
        if self._site is not None:
            self._follow_site(self._site)
        self._running.follow()
        events = sum(sum(line.warnings.values()) + sum(line.errors.values()) for line in self._running.lines)
        now_s = time.monotonic()
        if self._hub.viewers and (events != self._events or now_s - self._state_s >= _STATE_S):
            self._events, self._state_s = events, now_s
            self._call(self._hub.set_state, self._encode_state())

    def _follow_site(self, site: Site) -> None:
        site.turn()
        running = [report for report in site.reports if report.state in ("running", "draining")]
        self.show([Address(report.address) for report in running])
        self._running.watch_only([report.run_dir for report in running])

    def _encode_state(self) -> str:
        feeds = tuple(self._feeds.values())
        for feed in feeds:
            for name in tuple(feed.cameras):
                self._identify(feed.address, name)
        reports = self._site.reports if self._site is not None else None
        return encode_state(feeds, dict(self._ids), self._running.lines, self._running.missing, reports)

    def _identify(self, address: Address, camera: str) -> int:
        """The page's number of a camera of a feed, which it keeps."""
        with self._lock:
            return self._ids.setdefault((address, camera), len(self._ids))

    def _make_deliver(self, address: Address) -> Callable[[CameraState, PoseMessage, bytes], None]:
        def deliver(camera: CameraState, message: PoseMessage, jpeg: bytes) -> None:
            number = self._identify(address, camera.name)
            with self._lock:
                self._numbers[number] += 1
                count = self._numbers[number]
            packet = encode_frame(number, count, message, jpeg, time.time_ns())
            self._call(self._hub.publish, number, packet)

        return deliver

    def _watch(self, is_watched: bool) -> None:
        self._is_watched = is_watched
        for feed in tuple(self._feeds.values()):
            feed.watch(is_watched)

    def _close_feeds(self) -> None:
        for feed in self._feeds.values():
            feed.close()

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a method of the hub in the thread of the event loop, unless that has ended."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # it is closed
            return

    # -- the server's thread -------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        finally:
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._close_feeds()
        self._running.close()


def _configure(app: object, access: Access) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=_MAX_ORDER_BYTES,
        ws_per_message_deflate=False,  # JPEG cannot be compressed further, and each viewer would cost as much again
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_S,
        server_header=False,
        proxy_headers=False,
        ssl_certfile=access.cert,
        ssl_keyfile=access.key,
    )


def _listen(access: Access) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
        return BoundedListener(socket.create_server((access.host, access.port), family=family, backlog=128))
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else str(error)  # that of a name is negative
        raise TransportError(
            f"the page cannot be served on {_spell(access.host)}:{access.port}: {why}; choose another --listen"
        ) from None


def _spell(host: str) -> str:
    return f"[{host}]" if ":" in host else host
