"""What a relay decides, without sockets: which publisher a camera belongs to, and the numbers of its messages.

To its subscribers a relay is one publisher with one session. A message keeps its bytes but for ``session`` and ``seq``:
the numbers of a camera go on where a publisher is followed by another, and gaps stay gaps, so that what was lost on the
way to the relay counts as lost at its subscribers too.

Of two publishers with the same camera, the one with the higher placement has it, and for good: a host that was cut off
and comes back is refused. With equal placements the second is refused until the first has gone.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import msgspec
from msgspec import Struct

from engines.formats.files import FormatError
from engines.formats.msgpack import decode_msgpack
from stream.errors import PropertyError, VersionError, WireError
from stream.protocol import origin, schema, topics
from stream.protocol.last_values import LastValues, count_sent
from stream.protocol.numbers import check_camera
from stream.protocol.origin import Origin, Receipt, Verdict
from stream.protocol.placements import Placements
from stream.protocol.schema import Heartbeat, Session, Skeleton, Text, Unsigned, Version
from stream.protocol.sequence import MAX_CAMERAS, MAX_SKELETONS

_LOG = logging.getLogger(__name__)
_OWNER = "relay"

MAX_CAMERAS_EACH = 256
"""Cameras of one publisher, so that none takes the places of all."""

MAX_PUBLISHERS = 4096
"""Runs of publishers that are remembered; of those that have gone, the least recently heard are forgotten first."""

MAX_GAP = 10**9
"""A number that is so far ahead of the last one, a year of messages, is not believed."""

_MAX_WARNINGS = 256

MAX_RETAINED_BYTES = 256 * 1024
"""A longer message is passed on, and not kept for subscribers that join late: 1,024 cameras take 256 MiB at most."""

_PARTS = 3
_SILENT_INTERVALS = 3
_UNIT_BYTES = 16 * 1024


class _Head(Struct, frozen=True, kw_only=True):
    """What a relay reads of poses, ends and pictures."""

    version: Version
    kind: Text
    session: Session
    camera: Text = ""
    seq: Unsigned = 0


_heads = msgspec.msgpack.Decoder(_Head)
_maps = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.msgpack.Encoder()


class Allowance:
    """Lets ``rate`` units a second pass, and as many at once: a message is one unit, and one more for each 16 KiB.

    >>> allowance = Allowance(rate=2)
    >>> [allowance.take(100, now_s) for now_s in (0.0, 0.1, 0.2, 0.6)]
    [True, True, False, True]
    """

    def __init__(self, rate: float) -> None:
        self._rate = self._units = rate
        self._since_s = 0.0

    def take(self, size: int, now_s: float) -> bool:
        """True if a message of ``size`` bytes may pass now; a long one is paid off by those after it."""
        self._units = min(self._rate, self._units + (now_s - self._since_s) * self._rate)
        self._since_s = now_s
        if self._units < 1:
            return False
        self._units -= 1 + size // _UNIT_BYTES
        return True


@dataclass
class _Publisher:
    """A run of a publisher: who it is, over which connection it was last heard, and when."""

    origin: Origin
    connection: int = -1
    heard_s: float = 0.0
    interval_s: float = 1.0
    is_away: bool = False
    cameras: set[str] = field(default_factory=set)
    announced: set[str] = field(default_factory=set)
    """The cameras of which it was said over this connection that they are passed on."""

    refused: dict[str, str] = field(default_factory=dict)
    """By camera, why it is not passed on."""

    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class _Camera:
    """``base`` is what the relay adds to the publisher's numbers, ``last`` the last number passed on or counted as
    lost; -1 before the first."""

    owner: _Publisher
    base: int
    poses: Allowance
    pictures: Allowance
    last: int = -1
    ended: bool = False


@dataclass(frozen=True, slots=True)
class RelayStatistics:
    """Publishers that are here and cameras that are known now; messages since the relay was opened: ``forwarded``,
    ``lost`` before they reached it or ``dropped`` because a camera sent too many (which ``lost`` counts as well),
    ``refused`` because another publisher has their camera, ``duplicates``, and ``malformed``."""

    publishers: int = 0
    cameras: int = 0
    forwarded: int = 0
    lost: int = 0
    dropped: int = 0
    refused: int = 0
    duplicates: int = 0
    malformed: int = 0


class Relay:
    """Takes the messages of publishers and gives ``publish(topic, payload)`` what subscribers shall receive.

    ``answer(content)`` receives what is sent to all publishers. At most ``rate`` units a second of a camera pass
    (:class:`Allowance`).
    """

    def __init__(
        self,
        publish: Callable[[str, bytes], object],
        answer: Callable[[bytes], object],
        *,
        now_ns: Callable[[], int],
        now_s: Callable[[], float],
        prefix: str = "",
        heartbeat_ms: int = 1000,
        rate: float = 1000.0,
        placements: Placements | None = None,
    ) -> None:
        self._placements = Placements() if placements is None else placements
        self._publish, self._answer, self._now_s = publish, answer, now_s
        self._prefix, self._rate = prefix, rate
        self._session = f"{secrets.randbits(63):016x}"
        self._raw_session = msgspec.Raw(_encoder.encode(self._session))
        self.cache = LastValues(self._session, prefix, heartbeat_ms, now_ns)
        self._publishers: dict[str, _Publisher] = {}
        self._sessions: dict[int, str] = {}
        self._cameras: dict[str, _Camera] = {}
        self._skeletons: dict[str, tuple[Skeleton, Origin]] = {}
        self._counts: Counter[str] = Counter()
        self._warned: set[str] = set()

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that it knows."""
        return tuple(self._cameras)

    def statistics(self) -> RelayStatistics:
        """The counters so far."""
        here = sum(not publisher.is_away for publisher in self._publishers.values())
        return RelayStatistics(here, len(self._cameras), **self._counts)

    def take(self, parts: Sequence[bytes | memoryview], connection: int) -> bool:
        """Take a message that came over ``connection``, -1 if that has ended meanwhile; False if it was none."""
        try:
            if len(parts) != _PARTS:
                raise WireError(f"a message of {len(parts)} parts, not of topic, content and origin")
            sender = origin.decode_origin(parts[2])
            head = _read_head(parts[1], sender)
            publisher = self._hear(sender, connection)
        except WireError as error:
            self._counts["malformed"] += 1
            self._warn(f"dropped what is no message of a publisher: {error}")
            return False
        try:
            return self._take(head, bytes(parts[1]), publisher)
        except (WireError, PropertyError, FormatError) as error:
            self._count("malformed", publisher)
            self._warn(f"dropped a message of {sender}: {error}")
            return False

    def disconnected(self, connection: int) -> None:
        """The connection has ended."""
        self._sessions.pop(connection, None)
        for publisher in self._publishers.values():
            if publisher.connection == connection and not publisher.is_away:
                self._leave(publisher)

    def check_silence(self) -> None:
        """Find publishers that have sent nothing for three of their heartbeats; to be called now and then."""
        now_s = self._now_s()
        for publisher in self._publishers.values():
            silence_s = now_s - publisher.heard_s
            if not publisher.is_away and silence_s > _SILENT_INTERVALS * publisher.interval_s:
                self._leave(publisher)

    # -- publishers ----------------------------------------------------------------------------------------------------

    def _hear(self, sender: Origin, connection: int) -> _Publisher:
        """The publisher of ``sender``. Raises :class:`WireError` for a second one over one connection."""
        session = sender.session
        known = self._publishers.get(session)
        if connection < 0:
            if known is None:
                raise WireError("the first message of a publisher, whose connection has ended meanwhile")
            return known
        if self._sessions.setdefault(connection, session) != session:
            raise WireError("a message with another session than those before it over one connection")
        publisher = known or _Publisher(sender)
        self._publishers.pop(session, None)
        self._publishers[session] = publisher  # the most recently heard is the last
        publisher.origin, publisher.heard_s = sender, self._now_s()
        if publisher.connection != connection:
            publisher.connection = connection
            publisher.announced.clear()
        if publisher.is_away:
            publisher.is_away = False
            _LOG.warning("%s: publisher %s is back", _OWNER, sender)
        if len(self._publishers) > MAX_PUBLISHERS:
            self._publishers.pop(next((one for one, each in self._publishers.items() if each.is_away), session))
        return publisher

    def _leave(self, publisher: _Publisher) -> None:
        publisher.is_away = True
        running = sorted(name for name in publisher.cameras if not self._cameras[name].ended)
        if running:
            _LOG.warning("%s: publisher %s is away, with %s", _OWNER, publisher.origin, _list(running))

    # -- messages ------------------------------------------------------------------------------------------------------

    def _take(self, head: _Head, payload: bytes, publisher: _Publisher) -> bool:
        match head.kind:
            case "poses" | "end":
                self._take_numbered(head, payload, publisher)
            case "picture":
                self._take_picture(head, payload, publisher)
            case "heartbeat" | "skeleton":
                match schema.decode(payload):
                    case Heartbeat() as heartbeat:
                        self._take_heartbeat(heartbeat, publisher)
                    case Skeleton() as skeleton:
                        self._take_skeleton(skeleton, payload, publisher)
        return True

    def _take_numbered(self, head: _Head, payload: bytes, publisher: _Publisher) -> None:
        camera = self._admit(head.camera, publisher, head.seq)
        if camera is None:
            self._count("refused", publisher)
            return
        if not camera.poses.take(len(payload), self._now_s()):
            self._count("dropped", publisher)
            self._warn(
                f"publisher {publisher.origin} sends more of camera {head.camera!r} than {self._rate:g} messages a "
                "second (--max-rate); the rest is dropped"
            )
            return
        seq = _renumber(camera, head.seq)
        if seq <= camera.last:
            self._count("duplicates", publisher)
            return
        self._count_lost(head.camera, camera, seq - 1)
        self._forward(head.camera, camera, seq, self._rewrite(payload, seq), is_end=head.kind == "end")

    def _take_picture(self, head: _Head, payload: bytes, publisher: _Publisher) -> None:
        camera = self._cameras.get(head.camera)
        if camera is None or camera.owner is not publisher or not camera.pictures.take(len(payload), self._now_s()):
            return
        self._publish(topics.picture_topic(head.camera, self._prefix), self._rewrite(payload))

    def _take_skeleton(self, skeleton: Skeleton, payload: bytes, publisher: _Publisher) -> None:
        known, first = self._skeletons.get(skeleton.name, (None, publisher.origin))
        if known is not None:
            if known.joints != skeleton.joints:
                self._warn(
                    f"publisher {publisher.origin} has other joints in skeleton {skeleton.name!r} than {first}, whose "
                    "are used; run one version of posestream on both"
                )
            return
        if len(self._skeletons) >= MAX_SKELETONS:
            self._warn(f"skeleton {skeleton.name!r} of {publisher.origin} is not passed on: it is one of too many")
            return
        self._skeletons[skeleton.name] = skeleton, publisher.origin
        topic, renewed = topics.skeleton_topic(skeleton.name, self._prefix), self._rewrite(payload)
        self.cache.store(topic, renewed, "last")
        self._publish(topic, renewed)

    def _take_heartbeat(self, heartbeat: Heartbeat, publisher: _Publisher) -> None:
        """Count what was lost at the end, and pass on the ends that were."""
        publisher.interval_s = heartbeat.interval_ms / 1e3
        head, ended = topics.poses_topic(""), set(heartbeat.ended)
        for topic, seq in islice(heartbeat.topics.items(), MAX_CAMERAS_EACH):
            name = topic.removeprefix(head)
            is_end = topic in ended
            camera = self._admit(name, publisher, seq if is_end else seq + 1, tells_again=True)
            if camera is None or (renewed := _renumber(camera, seq)) <= camera.last:
                continue
            if is_end:
                self._count_lost(name, camera, renewed - 1)
                end = schema.encode_end(session=self._session, seq=renewed, camera=name, wall_ns=heartbeat.wall_ns)
                self._forward(name, camera, renewed, end, is_end=True)
            else:
                self._count_lost(name, camera, renewed)
                self.cache.mark_sent(topics.poses_topic(name, self._prefix), renewed, is_end=False)
        if ended and ended == heartbeat.topics.keys():
            of = count_sent(heartbeat.topics.values())
            missing = max(of - publisher.counts["forwarded"], 0)
            self._answer(origin.encode(Receipt(session=heartbeat.session, of=of, missing=missing)))

    def _forward(self, name: str, camera: _Camera, seq: int, payload: bytes, *, is_end: bool) -> None:
        topic = topics.poses_topic(name, self._prefix)
        camera.last, camera.ended = seq, is_end
        if len(payload) <= MAX_RETAINED_BYTES:
            self.cache.store(topic, payload, "end" if is_end else "last")  # before it is sent, as a publisher does
        else:
            self.cache.discard(topic, "last")
        self._publish(topic, payload)
        self.cache.mark_sent(topic, seq, is_end=is_end)
        self._count("forwarded", camera.owner)

    def _count_lost(self, name: str, camera: _Camera, seq: int) -> None:
        """Count the messages up to ``seq`` that have not come. Who joins later has not lost them, and so must not
        receive what came before."""
        lost = seq - camera.last
        if lost > 0:
            camera.last = seq
            self._count("lost", camera.owner, lost)
            self.cache.discard(topics.poses_topic(name, self._prefix), "last")

    def _count(self, what: str, publisher: _Publisher, number: int = 1) -> None:
        self._counts[what] += number
        publisher.counts[what] += number

    def _rewrite(self, payload: bytes, seq: int | None = None) -> bytes:
        """The same message in the relay's session; every other value keeps its bytes."""
        content = decode_msgpack(_maps, payload, schema.MAX_MESSAGE_BYTES)
        content["session"] = self._raw_session
        if seq is not None:
            content["seq"] = msgspec.Raw(_encoder.encode(seq))
        return _encoder.encode(content)

    # -- whose camera it is --------------------------------------------------------------------------------------------

    def _admit(self, name: str, publisher: _Publisher, first: int, *, tells_again: bool = False) -> _Camera | None:
        """The camera, if it is ``publisher``'s, whose next message may be number ``first``; None if it is refused.

        ``tells_again`` if the publisher is to receive the reason once more, since answers may be lost.
        """
        camera = self._cameras.get(name)
        if camera is not None and camera.owner is publisher:
            self._tell_taken(name, publisher)
            return camera
        refusal = self._refuse_new(name, publisher) if camera is None else self._find_refusal(name, camera, publisher)
        if refusal is not None:
            self._tell(publisher, refusal, again=tells_again)
            return None
        if camera is None:
            camera = _Camera(publisher, -first, Allowance(self._rate), Allowance(self._rate))
            self._cameras[name] = camera
        else:
            self._replace(name, camera, publisher)
            camera.base = camera.last + 1 - first
        publisher.cameras.add(name)
        self._placements.store(name, publisher.origin.placement)
        self._tell_taken(name, publisher)
        return camera

    def _refuse_new(self, name: str, publisher: _Publisher) -> Verdict | None:
        check_camera(name, f"publisher {publisher.origin}")
        session, placement, newer = publisher.origin.session, publisher.origin.placement, self._placements.find(name)
        if placement < newer:
            reason = f"placement {placement} of {publisher.origin.name} was replaced by placement {newer}"
            return Verdict(session=session, camera=name, reason=reason, is_final=True)
        if len(publisher.cameras) >= MAX_CAMERAS_EACH:
            return Verdict(
                session=session, camera=name, reason=f"a publisher may have {MAX_CAMERAS_EACH} cameras, and has them"
            )
        if len(self._cameras) >= MAX_CAMERAS:
            return Verdict(
                session=session,
                camera=name,
                reason=f"the relay has {MAX_CAMERAS} cameras already; restart it to forget those that have gone",
            )
        return None

    def _find_refusal(self, name: str, camera: _Camera, publisher: _Publisher) -> Verdict | None:
        owner, theirs, ours = camera.owner, publisher.origin, camera.owner.origin
        if theirs.placement < ours.placement:
            reason = f"placement {theirs.placement} of {theirs.name} was replaced by {ours}"
            return Verdict(session=theirs.session, camera=name, reason=reason, is_final=True)
        if theirs.placement == ours.placement and not (owner.is_away or camera.ended):
            reason = f"{ours} publishes a camera of this name already; rename one with camera="
            return Verdict(session=theirs.session, camera=name, reason=reason)
        return None

    def _replace(self, name: str, camera: _Camera, publisher: _Publisher) -> None:
        former, camera.owner = camera.owner, publisher
        former.cameras.discard(name)
        if not camera.ended:
            _LOG.warning(
                "%s: camera %r now comes from %s, before from %s", _OWNER, name, publisher.origin, former.origin
            )
        if (refusal := self._find_refusal(name, camera, former)) and refusal.is_final:
            self._tell(former, refusal)

    def _tell_taken(self, name: str, publisher: _Publisher) -> None:
        """Answer, once over each connection and after each refusal, that the camera is passed on."""
        if publisher.refused.pop(name, "") or name not in publisher.announced:
            publisher.announced.add(name)
            self._answer(origin.encode(Verdict(session=publisher.origin.session, camera=name)))

    def _tell(self, publisher: _Publisher, verdict: Verdict, *, again: bool = False) -> None:
        if len(publisher.refused) >= MAX_CAMERAS_EACH and verdict.camera not in publisher.refused:
            return
        is_new = publisher.refused.get(verdict.camera) != verdict.reason
        if is_new:
            publisher.refused[verdict.camera] = verdict.reason
            _LOG.warning("%s: camera %r of %s is refused: %s", _OWNER, verdict.camera, publisher.origin, verdict.reason)
        if is_new or again:
            self._answer(origin.encode(verdict))

    def _warn(self, text: str) -> None:
        if text not in self._warned and len(self._warned) < _MAX_WARNINGS:
            self._warned.add(text)
            _LOG.warning("%s: %s", _OWNER, text)


def _read_head(payload: bytes | memoryview, sender: Origin) -> _Head:
    try:
        head = decode_msgpack(_heads, payload, schema.MAX_MESSAGE_BYTES)
    except FormatError as error:
        raise WireError(f"not a message of protocol {schema.VERSION[0]}: {error}") from None
    if head.version[0] != schema.VERSION[0]:
        theirs, ours = ".".join(map(str, head.version)), ".".join(map(str, schema.VERSION))
        raise VersionError(f"the publisher uses protocol {theirs} and this relay {ours}; upgrade the older one")
    if head.session != sender.session:
        raise WireError(f"a message of session {head.session} with the origin {sender.session}")
    return head


def _renumber(camera: _Camera, seq: int) -> int:
    """The relay's number of the publisher's message ``seq``. Raises :class:`WireError` if it cannot be true."""
    renewed = camera.base + seq
    if renewed - camera.last > MAX_GAP:
        raise WireError(f"message {seq} of a camera is said to follow {camera.last - camera.base}")
    return renewed


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return f"camera {shown}" if len(names) == 1 else f"cameras {shown}" + (" and more" if len(names) > 5 else "")
