"""A subscriber to keypoints, which reconnects to its publisher and counts lost messages.

    from stream import Subscriber

    with Subscriber("tcp://127.0.0.1:5570", camera="hall") as subscriber:
        for message in subscriber:
            for person in message.people:
                print(message.camera, person.id, person["left_wrist"])

For other languages, ``docs/reference/protocol.md`` describes the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.errors import PropertyError, SilenceError
from stream.names import check_camera_name
from stream.protocol import schema, topics
from stream.protocol.pose_message import Person, PoseMessage
from stream.protocol.schema import EndOfStream, Heartbeat, Skeleton
from stream.protocol.sequence import Counts, Reception, Statistics
from stream.transports import curve
from stream.transports.curve import generate_keys
from stream.transports.subscription import PeerKeys, Subscription

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

_LOG = logging.getLogger(__name__)

DEFAULT_ADDRESS = "tcp://127.0.0.1:5570"

MAX_WAITING = 64
"""256 MiB of the longest messages, which is what a subscriber that is not polled may take."""

_RESTART_S = 30.0
"""A publisher that is silent for longer is not being restarted."""

# How long a waiting thread holds the socket, and so delays another one that closes it.
_SLICE_S = 0.05
# Enough to empty the socket, but bounded, so that a flood does not delay the caller's timeout.
_MESSAGES_PER_CALL = 1000
_PARTS = 2


class Subscriber:
    """Receives the messages of a ``keypointsink``.

    Iterate over it with ``for`` or ``async for``; each item is a :class:`PoseMessage`. You can open it before the
    publisher starts, and it reconnects when the publisher is restarted.

    >>> from stream.elements.keypointsink import KeypointSink
    >>> from stream.testing import make_poses
    >>> with KeypointSink(bind="tcp://127.0.0.1:*") as sink:
    ...     sink.consume(make_poses(7, "hall"))
    ...     with Subscriber(sink.endpoint, camera="hall", timeout_s=30) as subscriber:
    ...         message = next(subscriber)
    >>> message.camera, message.frame_seq, message.ids, message.joints[0]
    ('hall', 7, (1, 2), 'nose')

    * **address** - ``tcp://HOST:PORT`` or ``ipc://PATH``, as in ``keypointsink bind=``.
    * **camera** - the name of a camera, or several names; all cameras if None.
    * **person** - an id: deliver only this person, and only the frames with it.
    * **latest** - of the messages that wait, deliver only the newest of each camera.
    * **until_end** - stop the iteration when every selected camera has ended; otherwise it has no end. Raise
      :class:`SilenceError` if the publisher is gone for 30 s and the end of one has not arrived.
    * **timeout_s** - raise :class:`SilenceError` if no message arrives for so many seconds.
    * **prefix** - the publisher's ``keypointsink prefix=``.
    * **server_key** - the publisher's public ``.key`` file; required beyond loopback.
    * **client_key** - your own ``.key_secret`` file, if the publisher restricts its subscribers.
    * **max_waiting** - how many messages of up to 4 MiB wait for you; further ones wait at the publisher, or are lost.

    One thread may iterate while another calls :meth:`close`. Raises :class:`PropertyError` for a name that no camera
    has, :class:`TransportError` for an invalid address and for unusable keys, and while receiving
    :class:`VersionError` for a publisher of another major version.
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
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.address = address
        self._latest, self._until_end, self._timeout_s = latest, until_end, timeout_s
        self._cameras = _to_set(camera)
        self._reception = Reception(self._cameras, person, prefix)
        self._ready: deque[PoseMessage] = deque()
        self._skipped = 0
        wanted = [topics.poses_topic(camera) for camera in sorted(self._cameras or {""})]
        self._prefix, self._snapshots = prefix, _snapshot_topics(wanted, prefix)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._subscription = Subscription(
            address,
            # Snapshots last, so that no message is lost between them and the live messages.
            [*_live_topics(wanted, prefix), *self._snapshots.values()],
            keys=load_peer_keys(server_key, client_key),
            max_bytes=schema.MAX_MESSAGE_BYTES,
            max_waiting=max_waiting,
        )

    # -- receiving -----------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float = 0.0) -> PoseMessage | None:
        """Return the next message; None if none arrives within ``timeout_s``, or the subscriber is :attr:`finished`."""
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
        timeout = _Timeout(self._timeout_s)
        while not self.finished:
            if message := self.poll(_SLICE_S):
                return message
            self._check_end_may_come()
            timeout.check(self)
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PoseMessage:
        timeout = _Timeout(self._timeout_s)
        while not self.finished:
            if message := self.poll():
                return message
            self._check_end_may_come()
            timeout.check(self)
            await self._wait_readable()
        raise StopAsyncIteration

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True if no more messages will be delivered: it is closed, or ``until_end`` is set and all cameras ended."""
        ended = self._until_end and self._reception.ended
        return not self._ready and (ended or self._closing.is_set())

    @property
    def statistics(self) -> Statistics:
        """Received, lost, duplicate and malformed messages, in total and per camera."""
        return self._reception.statistics(self._skipped)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The known cameras of the publisher."""
        return self._reception.cameras

    @property
    def skeletons(self) -> dict[str, Skeleton]:
        """The skeletons received from the publisher, by name."""
        return dict(self._reception.skeletons)

    @property
    def alive(self) -> bool:
        """True if a message arrived within the last three heartbeat intervals of the publisher."""
        return self._reception.alive

    @property
    def refusal(self) -> str:
        """Why the publisher refused the last connection, also logged as a warning; empty if it did not."""
        return self._subscription.refusal

    # -- closing -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the subscriber; an iteration in another thread ends shortly after. Idempotent and thread-safe."""
        self._closing.set()
        with self._lock:
            self._ready.clear()
            self._subscription.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_subscription"):
            self.close()

    # -- the socket ----------------------------------------------------------------------------------------------------

    def _receive(self, timeout_s: float) -> None:
        """Wait and receive until a message is ready; with ``latest``, receive everything that waits."""
        with self._lock:
            if self._subscription.closed or (self._ready and not self._latest):
                return
            wait_ms = 0 if self._ready else int(timeout_s * 1000)
            for _ in range(_MESSAGES_PER_CALL):
                if not self._subscription.poll(wait_ms):
                    break
                self._receive_one()
                wait_ms = 0
                if self._ready and not self._latest:
                    break
            self._ask_again_if_due()
        if self._latest:
            self._keep_newest()

    def _receive_one(self) -> None:
        parts = self._subscription.receive()
        if len(parts) == _PARTS:
            self._ready.extend(self._reception.take(parts[0].bytes, parts[1].bytes, time.time_ns()))
        else:
            self._reception.count_malformed()

    def _ask_again_if_due(self) -> None:
        """Ask again for snapshots that were lost, in whole or in part, because too much waited for this subscriber."""
        missing = self._reception.ask_again()
        if not missing:
            return
        level = logging.WARNING if self._reception.asked_again == 1 else logging.INFO
        _LOG.log(
            level,
            "subscriber of %s: no whole snapshot of %s has arrived, since too much waited for this subscriber; "
            "it asks again",
            self.address,
            ", ".join(missing),
        )
        renewed = _snapshot_topics(missing, self._prefix)
        self._subscription.replace_topics({self._snapshots[wanted]: topic for wanted, topic in renewed.items()})
        self._snapshots |= renewed

    def _check_end_may_come(self) -> None:
        """Raise :class:`SilenceError` if the end is waited for and the publisher is gone."""
        if not self._until_end or self._reception.silent_s <= _RESTART_S:
            return
        missing = ", ".join(name for name in self.cameras if name not in self._reception.ended_cameras)
        raise SilenceError(
            f"{self.address} sent nothing for {_RESTART_S:g} s, and the end of {missing or 'its cameras'} has not "
            "arrived; its line was killed, or its last messages were lost because they were read too slowly"
        )

    def _keep_newest(self) -> None:
        newest = {message.camera: message for message in self._ready}
        self._skipped += len(self._ready) - len(newest)
        self._ready = deque(newest.values())

    async def _wait_readable(self) -> None:
        """Wait until the socket may be readable, at most one slice."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        try:
            descriptor = self._subscription.fileno()
            loop.add_reader(descriptor, readable.set)
        except (NotImplementedError, OSError):  # the default loop of Windows, or a closed socket
            await asyncio.sleep(_SLICE_S / 10)
            return
        try:
            await asyncio.wait_for(readable.wait(), _SLICE_S)
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(descriptor)


class _Timeout:
    """Measures the time without a message."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._since_s = time.monotonic()

    def check(self, subscriber: Subscriber) -> None:
        """Raise :class:`SilenceError` after the timeout, with what is known about the publisher."""
        if self._timeout_s is None or time.monotonic() - self._since_s < self._timeout_s:
            return
        if subscriber.alive:
            known = ", ".join(subscriber.cameras) or "none"
            what = f"is alive but published none of the selected poses; its cameras: {known}"
        elif subscriber.refusal:
            what = f"refuses this subscriber: {subscriber.refusal}"
        else:
            what = "sends no heartbeats; start a line with keypointsink there, or check the address"
        raise SilenceError(f"nothing for {self._timeout_s:g} s: {subscriber.address} {what}")


def _to_set(camera: str | Iterable[str] | None) -> frozenset[str] | None:
    if camera is None:
        return None
    cameras = frozenset([camera]) if isinstance(camera, str) else frozenset(camera)
    if not cameras:
        raise PropertyError("subscriber: no camera is selected; name one, or leave out camera= for all")
    for name in cameras:
        check_camera_name(name, "subscriber", "name a camera of the publisher, or leave out camera= for all")
    return cameras


def _live_topics(wanted: Sequence[str], prefix: str) -> list[str]:
    always = [topics.heartbeat_topic(prefix), topics.skeleton_topic("", prefix)]
    return [*always, *(prefix + topic for topic in wanted)]


def _snapshot_topics(wanted: Sequence[str], prefix: str) -> dict[str, str]:
    """By each wanted topic, the one that requests its snapshot, with a new token."""
    token = secrets.token_hex(8)
    return {topic: topics.snapshot_topic(token, topic, prefix) for topic in wanted}


def load_peer_keys(server_key: str | Path | None, client_key: str | Path | None) -> PeerKeys | None:
    """The keys of a connection, from the files that a subscriber is given; None without ``server_key``."""
    own = curve.Keys.load(client_key) if client_key is not None else None
    if server_key is None:
        return None
    return PeerKeys(curve.load_public(server_key), own or curve.Keys.generate())
