"""Follows one publisher: its keypoints always, its pictures while it is watched."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stream.errors import PosestreamError
from stream.protocol.pictures import PictureSubscriber
from stream.protocol.pose_message import PoseMessage
from stream.protocol.schema import Picture, Skeleton
from stream.protocol.subscriber import Subscriber
from stream.web.join import Join

MAX_CAMERAS = 64
"""How many cameras of a publisher are shown."""

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_PERIOD_S = 5.0
_NO_PICTURES_S = 2.0
"""A camera without pictures for so long is shown without them, at this interval:"""
_BARE_INTERVAL_S = 1 / 15
_STATISTICS_S = 0.5

Deliver = Callable[["CameraState", PoseMessage, bytes], None]


@dataclass(frozen=True)
class Address:
    """Where a line publishes: the arguments of :class:`stream.protocol.subscriber.Subscriber`."""

    address: str
    camera: tuple[str, ...] = ()
    prefix: str = ""
    server_key: Path | None = None
    client_key: Path | None = None


@dataclass
class CameraState:
    """What is known of a camera; ``arrivals_s`` are the times of its messages over the last seconds."""

    name: str
    last: PoseMessage
    arrivals_s: deque[float] = field(default_factory=deque)
    picture_s: float = float("-inf")
    """When its last picture came, by ``time.monotonic()``."""
    shown_s: float = float("-inf")
    shown: tuple[str, int] = "", -1
    """Session and number of the last frame that was shown with a picture."""
    lost: int = 0

    def count(self, message: PoseMessage, now_s: float) -> None:
        """A message has come."""
        self.last = message
        self.arrivals_s.append(now_s)
        while now_s - self.arrivals_s[0] > _PERIOD_S:
            self.arrivals_s.popleft()

    def fps(self, now_s: float) -> float:
        """Messages a second, over five seconds."""
        recent = [at_s for at_s in tuple(self.arrivals_s) if now_s - at_s <= _PERIOD_S]
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-3) if len(recent) > 1 else 0.0

    def silent_s(self, now_s: float) -> float:
        """How long ago the last message came."""
        arrivals_s = tuple(self.arrivals_s)
        return now_s - arrivals_s[-1] if arrivals_s else float("inf")

    def has_pictures(self, now_s: float) -> bool:
        """True if a picture came lately."""
        return now_s - self.picture_s <= _NO_PICTURES_S


class Feed:
    """Calls ``deliver(camera, message, jpeg)`` for the frames of one publisher, in threads of its own.

    ``jpeg`` is empty for a camera that sends no pictures. Nothing is delivered unless :meth:`watch` was called with
    True, and nothing is asked of the publisher but its keypoints. Close it at the end. Raises :class:`TransportError`
    for an address or keys that cannot be used.
    """

    def __init__(self, address: Address, deliver: Deliver) -> None:
        self.address, self._deliver = address, deliver
        self.cameras: dict[str, CameraState] = {}
        self.skeletons: dict[str, Skeleton] = {}
        self.trouble = "no message yet; start a line with keypointsink there, or check the address"
        self.hidden: set[str] = set()
        """Cameras beyond :data:`MAX_CAMERAS`, which are not shown."""
        self._subscriber = Subscriber(
            address.address,
            camera=address.camera or None,
            prefix=address.prefix,
            server_key=address.server_key,
            client_key=address.client_key,
        )
        self._join = Join()
        self._lock = threading.Lock()
        self._watched, self._closing = threading.Event(), threading.Event()
        self._watched_s = 0.0
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"feed of {address.address}", daemon=True)
            for work in (self._receive_poses, self._receive_pictures)
        ]
        for thread in self._threads:
            thread.start()

    def watch(self, is_watched: bool) -> None:
        """Begin or end delivering frames, and asking for pictures."""
        if is_watched and not self._watched.is_set():
            self._watched_s = time.monotonic()
            self._watched.set()
        elif not is_watched:
            self._watched.clear()

    def close(self) -> None:
        """End the threads. Idempotent."""
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self._subscriber.close()

    # -- the threads ---------------------------------------------------------------------------------------------------

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except PosestreamError as error:  # another major version, which no waiting mends
            self.trouble = str(error)
            self._closing.set()

    def _receive_poses(self) -> None:
        subscriber, next_s = self._subscriber, 0.0
        while not self._closing.is_set():
            message = subscriber.poll(_POLL_S)
            if message is not None:
                self._take(message)
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + _STATISTICS_S
                self._read_statistics()

    def _read_statistics(self) -> None:
        subscriber = self._subscriber
        for name, counts in subscriber.statistics.cameras.items():
            if name in self.cameras:
                self.cameras[name].lost = counts.lost
        self.skeletons = subscriber.skeletons
        if subscriber.alive:
            self.trouble = ""
        elif subscriber.refusal:
            self.trouble = f"refuses this subscriber: {subscriber.refusal}"
        elif not self.trouble:
            self.trouble = "sends nothing any more"

    def _take(self, message: PoseMessage) -> None:
        if message.skeleton not in self.skeletons:
            self.skeletons = self._subscriber.skeletons
        now_s = time.monotonic()
        camera = self._find(message, now_s)
        if camera is None or not self._watched.is_set():
            return
        picture = self._join.add_poses(message)
        if picture is not None:
            self._show(camera, message, picture)
        elif self._is_bare(camera, now_s):
            camera.shown_s = now_s
            self._deliver(camera, message, b"")

    def _is_bare(self, camera: CameraState, now_s: float) -> bool:
        """True if a camera without pictures has its turn."""
        has_none = now_s - max(camera.picture_s, self._watched_s) > _NO_PICTURES_S
        return has_none and now_s - camera.shown_s >= _BARE_INTERVAL_S

    def _find(self, message: PoseMessage, now_s: float) -> CameraState | None:
        with self._lock:
            camera = self.cameras.get(message.camera)
            if camera is None:
                if len(self.cameras) >= MAX_CAMERAS:
                    if len(self.hidden) < MAX_CAMERAS:
                        self.hidden.add(message.camera)
                    return None
                camera = self.cameras[message.camera] = CameraState(message.camera, message)
                _log.info("camera %r is published on %s", message.camera, self.address.address)
        if not message.retained:
            camera.count(message, now_s)
        return camera

    def _receive_pictures(self) -> None:
        while not self._closing.is_set():
            if not self._watched.wait(_POLL_S):
                continue
            address = self.address
            with PictureSubscriber(
                address.address, prefix=address.prefix, server_key=address.server_key, client_key=address.client_key
            ) as subscriber:
                while self._watched.is_set() and not self._closing.is_set():
                    picture = subscriber.poll(_POLL_S)
                    if picture is not None:
                        self._take_picture(picture)

    def _take_picture(self, picture: Picture) -> None:
        camera = self.cameras.get(picture.camera)
        if camera is None:  # not shown, or not known yet; it must not wait, since a publisher may invent cameras
            return
        message = self._join.add_picture(picture)
        if message is not None:
            self._show(camera, message, picture)

    def _show(self, camera: CameraState, message: PoseMessage, picture: Picture) -> None:
        """Deliver a frame with its picture, unless the other thread has delivered a later one."""
        with self._lock:
            session, last = camera.shown
            if session == message.session and message.frame_seq <= last:
                return
            camera.shown, camera.picture_s = (message.session, message.frame_seq), time.monotonic()
            self._deliver(camera, message, picture.jpeg)
