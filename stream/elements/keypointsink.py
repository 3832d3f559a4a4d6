"""``keypointsink``: publishes keypoints to any number of subscribers; the protocol is ``docs/reference/protocol.md``.

It listens for them, or with ``relay`` connects to a relay, which subscribers of many publishers share.

A slow subscriber loses messages and never slows the line. The messages of a camera are numbered without gaps, also
across restarts of its part: a frame that was published is not published again, and one that may not have been is
sent with the number it had.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

from msgspec import Meta

from stream.caps import Caps
from stream.element import Sink, Source
from stream.errors import PropertyError
from stream.messages import Frame, Poses
from stream.protocol import schema, topics
from stream.protocol.last_values import LastValues
from stream.protocol.numbers import Numbers, check_camera
from stream.protocol.relay_publisher import RelayPublisher
from stream.protocol.subscriber import load_peer_keys
from stream.transports import curve
from stream.transports.access import Access
from stream.transports.publisher import Publisher, check_address
from stream.transports.relay_link import check_relay_address

if TYPE_CHECKING:
    from stream.output.picture_encoder import PictureEncoder

_LOG = logging.getLogger(__name__)
_OWNER = "keypointsink"
_BIND = "tcp://127.0.0.1:5570"
# After a restart, the process that was killed may hold the port this long.
_RESTART_TIMEOUT_S = 5.0


@dataclass
class KeypointSink(Sink):
    """Publishes poses on ``bind``, one message per frame, topic ``poses/<camera>``; see docs/reference/protocol.md.

    Beyond loopback it requires CURVE keys (``keys``). With ``relay`` it does not listen: it connects to a ``posestream
    relay``. While that is away, a live line drops its messages, and a line of files waits, for up to 30 s. Raises
    :class:`TransportError` for a port in use, :class:`WireError` for a pose that contains NaN or infinity, and
    :class:`StartError` where a relay takes nothing of a line of files, or has newer placements for all cameras.
    """

    sink = Caps("people/poses")

    bind: Annotated[
        str, Meta(description="where to publish: tcp://HOST:PORT or ipc://PATH; PORT * takes any free port")
    ] = _BIND
    relay: Annotated[
        str, Meta(description="publish at the relay at this address, tcp://HOST:PORT, instead of listening on bind")
    ] = ""
    relay_key: Annotated[str, Meta(description="the relay's public CURVE .key file; required beyond loopback")] = ""
    placement: Annotated[
        int,
        Meta(
            ge=0,
            le=2**63 - 1,
            description="of two publishers with one camera, a relay takes the one with the higher placement, for good",
        ),
    ] = 0
    prefix: Annotated[str, Meta(description="prefix of every topic, e.g. 'site1/'", max_length=255)] = ""
    keys: Annotated[str, Meta(description="CURVE .key_secret file of this publisher; required beyond loopback")] = ""
    clients: Annotated[
        str,
        Meta(
            description="folder with the public .key files of the allowed subscribers; "
            "empty allows all that have the publisher's public key"
        ),
    ] = ""
    max_waiting: Annotated[int, Meta(ge=1, description="messages kept for a subscriber that does not keep up")] = 256
    max_subscribers: Annotated[int, Meta(ge=1, description="connections at a time; further ones are closed")] = 256
    linger_s: Annotated[
        float, Meta(ge=0, le=5, description="how long it waits after the end of all cameras for a first subscriber")
    ] = 2.0
    heartbeat_ms: Annotated[int, Meta(ge=50, le=60_000, description="time between two heartbeats")] = 1000
    pictures: Annotated[
        bool,
        Meta(
            description="publish the frames as JPEG as well, for posestream view; "
            "encoded only while a subscriber asks for them, and left out where that takes too long"
        ),
    ] = False
    picture_height: Annotated[
        int, Meta(ge=16, le=4320, description="higher frames are scaled down to so many px; keypoints keep their px")
    ] = 720
    picture_fps: Annotated[
        float, Meta(gt=0, le=120, description="the most pictures a second of each camera; keypoints are not limited")
    ] = 15.0

    def __post_init__(self) -> None:
        if self.relay:
            self._check_relay()
        else:
            self._check_bind()
        self._publisher: Publisher | RelayPublisher | None = None
        self._has_live_source = True
        self._pictures: PictureEncoder | None = None
        self._numbers = Numbers({}, restarted=False)
        self._cache = self._make_cache()

    def _check_bind(self) -> None:
        check_address(self.bind, _OWNER, has_keys=bool(self.keys))
        if self.clients and not self.keys:
            raise PropertyError(f"keypointsink: clients={self.clients} has no effect without keys=; set keys= as well")
        for name, value in (("relay_key", self.relay_key), ("placement", self.placement)):
            if value:
                raise PropertyError(f"keypointsink: {name}={value} has no effect without relay=; set relay= as well")

    def _check_relay(self) -> None:
        check_relay_address(self.relay, _OWNER, has_keys=bool(self.relay_key))
        if self.bind != _BIND:
            raise PropertyError(
                f"keypointsink: relay={self.relay} publishes there instead of on bind={self.bind}; "
                "for both, use two keypointsinks behind a tee"
            )
        for name, value, remedy in (
            ("prefix", self.prefix, "give it to the relay (posestream relay --prefix)"),
            ("clients", self.clients, "give it to the relay (posestream relay --clients)"),
            ("keys", "" if self.relay_key else self.keys, "set relay_key= as well"),
        ):
            if value:
                raise PropertyError(f"keypointsink: {name}={value} has no effect with relay={self.relay}; {remedy}")

    @property
    def endpoint(self) -> str:
        """The address it publishes on, with the chosen port, or that of its relay; ``bind`` while it is not open."""
        return self._publisher.endpoint if self._publisher else self.relay or self.bind

    def set_sources(self, sources: Sequence[Source]) -> None:
        self._has_live_source = any(source.is_live for source in sources) or not sources

    def check_camera(self, camera: str) -> None:
        """Raise :class:`PropertyError` for a name that the protocol does not allow."""
        check_camera(camera, _OWNER)

    def outputs(self, cameras: Sequence[str]) -> list[str]:  # noqa: ARG002 - one address for all of them
        return [] if self.relay or self.bind.endswith((":*", ":0")) else [self.bind]

    def status(self) -> str:
        return self._publisher.status() if isinstance(self._publisher, RelayPublisher) else ""

    def __enter__(self) -> Self:
        restarted = self.context.incarnation > 0
        self._numbers = Numbers(self.context.memory, restarted=restarted)
        self._cache = self._make_cache()
        self._publisher = self._open_relay() if self.relay else self._open_publisher(restarted=restarted)
        self._pictures = self._open_pictures() if self.pictures else None
        _LOG.info("publishing on %s", self._publisher.endpoint)
        return self

    def _open_publisher(self, *, restarted: bool) -> Publisher:
        return Publisher(
            self.bind,
            snapshot=self._cache.snapshot,
            heartbeat=lambda: (topics.heartbeat_topic(self.prefix), self._cache.heartbeat()),
            heartbeat_ms=self.heartbeat_ms,
            max_waiting=self.max_waiting,
            max_subscribers=self.max_subscribers,
            access=self._access(),
            owner=_OWNER,
            bind_timeout_s=_RESTART_TIMEOUT_S if restarted else 0.0,
        )

    def _open_relay(self) -> RelayPublisher:
        return RelayPublisher(
            self.relay,
            self._cache,
            placement=self.placement,
            waits=not self._has_live_source,
            progress=self.context.progress,
            heartbeat_ms=self.heartbeat_ms,
            max_waiting=self.max_waiting,
            keys=load_peer_keys(self.relay_key or None, self.keys or None),
            owner=_OWNER,
        )

    def consume(self, item: Poses) -> None:
        camera, frame_seq = item.key
        if self._numbers.is_published(camera, frame_seq):
            return
        check_camera(camera, _OWNER)
        self._publish_skeleton(item.skeleton)
        seq = self._numbers.next(camera)
        stamped = dataclasses.replace(item, frame=item.frame.stamp("published", self.context.now_ns()))
        payload = schema.encode_poses(stamped, session=self._cache.session, seq=seq)
        self._publish(topics.poses_topic(camera, self.prefix), payload, seq=seq)
        self._numbers.commit(camera, seq, frame_seq)
        if self._pictures and self._publisher and self._publisher.is_wanted(topics.picture_topic(camera, self.prefix)):
            self._pictures.offer(item.frame)

    def end(self, camera: str) -> None:
        """Publish the end of ``camera``'s stream, once."""
        if camera not in self._numbers.cameras() or self._numbers.is_ended(camera):
            return
        seq, now_ns = self._numbers.next(camera), self.context.now_ns()
        payload = schema.encode_end(session=self._cache.session, seq=seq, camera=camera, wall_ns=now_ns)
        self._publish(topics.poses_topic(camera, self.prefix), payload, seq=seq, retain_as="end")
        self._numbers.commit_end(camera, seq)

    def flush(self) -> None:
        """Publish the end of every camera's stream. Raises :class:`TransportError` if a relay has not received all that
        a line of files has published."""
        for camera in self._numbers.cameras():
            self.end(camera)
        if isinstance(self._publisher, RelayPublisher):
            self._publisher.confirm()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None
        if self._publisher is not None:
            cameras = self._numbers.cameras()
            if error is None and cameras and all(map(self._numbers.is_ended, cameras)):
                self._publisher.wait_until_asked(self.linger_s)
            self._publisher.close()
            self._publisher = None

    def _open_pictures(self) -> PictureEncoder:
        from stream.output.picture_encoder import PictureEncoder

        return PictureEncoder(
            self._publish_picture,
            height=self.picture_height,
            fps=self.picture_fps,
            max_bytes=schema.MAX_PICTURE_BYTES,
            owner=_OWNER,
        )

    def _publish_picture(self, frame: Frame, jpeg: bytes) -> None:
        if self._publisher is not None:
            payload = schema.encode_picture(frame, jpeg, session=self._cache.session)
            self._publisher.publish(topics.picture_topic(frame.camera, self.prefix), payload)

    def _make_cache(self) -> LastValues:
        cache = LastValues(self._numbers.session, self.prefix, self.heartbeat_ms, self.context.now_ns)
        for camera in self._numbers.cameras():
            topic = topics.poses_topic(camera, self.prefix)
            cache.mark_sent(topic, self._numbers.next(camera) - 1, is_end=self._numbers.is_ended(camera))
        return cache

    def _publish_skeleton(self, name: str) -> None:
        topic = topics.skeleton_topic(name, self.prefix)
        if not self._cache.has(topic):
            self._publish(topic, schema.encode_known_skeleton(name, session=self._cache.session))

    def _publish(self, topic: str, payload: bytes, *, seq: int | None = None, retain_as: str = "last") -> None:
        if self._publisher is None:
            raise RuntimeError("keypointsink is not open; use it within 'with'")
        # Stored before it is sent: a subscriber that connects in between then gets it twice, which it can detect,
        # rather than never.
        self._cache.store(topic, payload, retain_as)
        self._publisher.publish(topic, payload)
        if seq is not None:
            self._cache.mark_sent(topic, seq, is_end=retain_as == "end")

    def _access(self) -> Access:
        keys = curve.Keys.load(self.keys) if self.keys else None
        return Access(keys, Path(self.clients) if self.clients else None)
