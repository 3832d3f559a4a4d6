"""Receive keypoints in ten lines: a subscriber that finds its publisher, comes back to it, and counts what it missed.

    from stream.protocol.subscriber import Subscriber

    with Subscriber("tcp://127.0.0.1:5570", camera="hall") as subscriber:
        for message in subscriber:
            for person in message.people:
                print(message.camera, person.id, person["left_wrist"])

The protocol is described in ``docs/reference/protocol.md``, for any language.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from stream.errors import SilenceError, TransportError
from stream.protocol import schema
from stream.protocol.schema import EndOfStream, Heartbeat, Person, PoseMessage, Skeleton
from stream.protocol.sequence import Counts, Reception, Statistics
from stream.transports import curve
from stream.transports.curve import generate_keys
from stream.transports.zmq_socket import close_socket, is_loopback, open_socket, receive_parts

__all__ = [
    "Counts",
    "EndOfStream",
    "Heartbeat",
    "Person",
    "PoseMessage",
    "Skeleton",
    "Statistics",
    "Subscriber",
    "generate_keys",
]

DEFAULT_ADDRESS = "tcp://127.0.0.1:5570"
# How long a thread that waits may hold the socket: so long another one may wait to close it.
_SLICE_S = 0.05
# Enough to empty the socket of anything but a flood, which may not keep a caller from its timeout.
_MOST_AT_ONCE = 1000
_PARTS = 2
_PEER_PING_MS = 2_000
_PEER_GONE_MS = 6_000


class Subscriber:
    """Pose messages of ``camera`` (one, several, or all where None), of ``person`` only where an id is given.

    Iterate with ``for`` or ``async for``. It works before the publisher exists and survives its restarts; iteration
    goes on for ever unless ``until_end`` (it then stops when every camera it listens to has ended) or ``timeout_s``
    (it then raises :class:`SilenceError` when nothing came for so long). ``latest`` passes over what waits when
    something newer of the same camera does too. ``server_key`` is the publisher's public ``.key`` file, needed beyond
    loopback, ``client_key`` one's own ``.key_secret`` file. Up to ``max_waiting`` messages wait here for a slow reader.

    One thread may iterate while another calls :meth:`close`. Raises :class:`TransportError` for what is no address.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        camera: str | Iterable[str] | None = None,
        person: int | None = None,
        latest: bool = False,
        until_end: bool = False,
        timeout_s: float | None = None,
        prefix: str = "",
        server_key: str | Path | None = None,
        client_key: str | Path | None = None,
        max_waiting: int = 1000,
    ) -> None:
        self.address = address
        self._latest, self._until_end, self._timeout_s = latest, until_end, timeout_s
        self._cameras = _names(camera)
        self._reception = Reception(self._cameras, person, prefix)
        self._ready: deque[PoseMessage] = deque()
        self._skipped = 0
        self._heard_s = -1.0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._socket = _connected(address, server_key, client_key, max_waiting)
        for topic in _topics(self._cameras, prefix):
            self._socket.subscribe(topic)

    # -- receiving -----------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float = 0.0) -> PoseMessage | None:
        """The next message, or None when none came in time, all have ended, or this is closed."""
        deadline = time.monotonic() + timeout_s
        while not self.finished:
            left_s = deadline - time.monotonic()
            self._receive(min(max(left_s, 0.0), _SLICE_S))
            if self._ready:
                return self._ready.popleft()
            if left_s <= 0:
                return None
        return None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PoseMessage:
        patience = _Patience(self._timeout_s)
        while not self.finished:
            if message := self.poll(_SLICE_S):
                return message
            patience.check(self)
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PoseMessage:
        patience = _Patience(self._timeout_s)
        while not self.finished:
            if message := self.poll():
                return message
            patience.check(self)
            await self._readable()
        raise StopAsyncIteration

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True when nothing more will be given: closed, or ended and asked to stop then."""
        ended = self._until_end and self._reception.ended
        return not self._ready and (ended or self._closing.is_set())

    @property
    def statistics(self) -> Statistics:
        """Messages, losses, duplicates, malformed ones; in all and by camera."""
        return self._reception.statistics(self._skipped)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The publisher's cameras, as far as it has told."""
        return self._reception.cameras

    @property
    def skeletons(self) -> dict[str, Skeleton]:
        """Skeletons by name, as far as the publisher has told."""
        return dict(self._reception.skeletons)

    @property
    def alive(self) -> bool:
        """True when the publisher gave a sign of life within three of its heartbeats, as far as was received."""
        beat = self._reception.heartbeat
        return beat is not None and time.monotonic() - self._heard_s <= 3 * beat.interval_ms / 1e3

    # -- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop; a thread that iterates stops within a moment. Idempotent, and safe from any thread."""
        self._closing.set()
        with self._lock:
            self._ready.clear()
            close_socket(self._socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()

    # -- the socket ----------------------------------------------------------------------------------------------------

    def _receive(self, timeout_s: float) -> None:
        """Wait for something and take it in, up to a message for the user; with ``latest``, everything that waits."""
        with self._lock:
            if self._socket.closed or (self._ready and not self._latest):
                return
            wait_ms = 0 if self._ready else int(timeout_s * 1000)
            for _ in range(_MOST_AT_ONCE):
                if not self._socket.poll(wait_ms):
                    break
                self._take_one()
                wait_ms = 0
                if self._ready and not self._latest:
                    break
        if self._latest:
            self._keep_newest()

    def _take_one(self) -> None:
        parts = receive_parts(self._socket)
        self._heard_s = time.monotonic()
        if len(parts) == _PARTS:
            self._ready.extend(self._reception.take(parts[0].bytes, parts[1].bytes, time.time_ns()))
        else:
            self._reception.malformed()

    def _keep_newest(self) -> None:
        newest = {message.camera: message for message in self._ready}
        self._skipped += len(self._ready) - len(newest)
        self._ready = deque(newest.values())

    async def _readable(self) -> None:
        """Wait, no longer than a slice, until the socket may have something."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        try:
            descriptor = self._socket.fileno()
            loop.add_reader(descriptor, woken.set)
        except (NotImplementedError, zmq.ZMQError):  # Windows' default loop, or closed meanwhile
            await asyncio.sleep(_SLICE_S / 10)
            return
        try:
            await asyncio.wait_for(woken.wait(), _SLICE_S)
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(descriptor)


class _Patience:
    """Measures how long nothing has come."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._since_s = time.monotonic()

    def check(self, subscriber: Subscriber) -> None:
        """Raise :class:`SilenceError` when it has been too long, saying whether the publisher lives."""
        if self._timeout_s is None or time.monotonic() - self._since_s < self._timeout_s:
            return
        if subscriber.alive:
            known = ", ".join(subscriber.cameras) or "none"
            what = f"lives but published no poses that were asked for; it has cameras: {known}"
        else:
            what = "gives no sign of life; is a line with keypointsink running there?"
        raise SilenceError(f"nothing for {self._timeout_s:g} s: {subscriber.address} {what}")


def _names(camera: str | Iterable[str] | None) -> frozenset[str] | None:
    if camera is None:
        return None
    return frozenset([camera]) if isinstance(camera, str) else frozenset(camera)


def _topics(cameras: frozenset[str] | None, prefix: str) -> list[str]:
    """What to subscribe to; snapshots last, so that nothing falls between them and the live messages."""
    wanted = [schema.poses_topic(camera) for camera in sorted(cameras or {""})]
    always = [schema.heartbeat_topic(prefix), schema.skeleton_topic("", prefix)]
    token = secrets.token_hex(8)
    snapshots = [schema.snapshot_topic(token, topic, prefix) for topic in wanted]
    return [*always, *(prefix + topic for topic in wanted), *snapshots]


def _connected(
    address: str, server_key: str | Path | None, client_key: str | Path | None, max_waiting: int
) -> zmq.Socket[bytes]:
    if server_key is None and not is_loopback(address):
        raise TransportError(
            f"subscriber: {address} is another host, whose publisher wants CURVE keys; give server_key= (its .key file)"
        )
    server = curve.load_public(server_key) if server_key is not None else None
    client = curve.Keys.load(client_key) if client_key is not None else None
    socket = open_socket(zmq.SUB, high_water=max_waiting)
    try:
        _identify(socket, server, client)
        socket.setsockopt(zmq.MAXMSGSIZE, schema.MAX_MESSAGE_BYTES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, _PEER_PING_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _PEER_GONE_MS)
        socket.ipv6 = "[" in address
        socket.connect(address)
    except zmq.ZMQError as error:
        close_socket(socket)
        raise TransportError(
            f"subscriber: {address!r}: {os.strerror(error.errno or 0)}; write tcp://HOST:PORT or ipc://PATH"
        ) from None
    return socket


def _identify(socket: zmq.Socket[bytes], server: bytes | None, client: curve.Keys | None) -> None:
    if server is None:
        return
    own = client or curve.Keys.generate()
    socket.curve_serverkey = server
    socket.curve_publickey, socket.curve_secretkey = own.public, own.secret
