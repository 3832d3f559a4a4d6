"""The receiving side of the protocol, without sockets: new, lost and duplicate messages, and names of joints.

A message is a topic and a payload (``stream.protocol.schema``). Malformed messages are counted and dropped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from stream.errors import VersionError, WireError
from stream.protocol import schema, topics
from stream.protocol.joining import INTERVALS, Joining
from stream.protocol.pose_message import PoseMessage
from stream.protocol.schema import EndOfStream, Heartbeat, Skeleton

MAX_HELD_BACK, MAX_HELD_BACK_BYTES = 256, 16 * 1024 * 1024
"""Maximum number and size of the messages that wait for the skeleton with the names of their joints."""

MAX_CAMERAS, MAX_SKELETONS = 1024, 64
"""How many are remembered, so that no publisher exhausts the memory; the least recently used are forgotten first."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Counts:
    """Counters of one camera: ``messages`` received, ``lost`` in ``gaps`` gaps, and ``duplicates`` dropped.

    >>> Counts(messages=3) + Counts(messages=2, lost=1, gaps=1)
    Counts(messages=5, lost=1, gaps=1, duplicates=0)
    """

    messages: int = 0
    lost: int = 0
    gaps: int = 0
    duplicates: int = 0

    def __add__(self, other: Counts) -> Counts:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(one + another for one, another in pairs))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of a subscriber since it was opened: in total, and per camera.

    ``skipped`` messages were replaced by newer ones (``latest``); ``malformed`` ones were not of this protocol;
    ``sessions`` is the number of runs of the publisher.
    """

    total: Counts = field(default_factory=Counts)
    cameras: Mapping[str, Counts] = field(default_factory=dict)
    skipped: int = 0
    malformed: int = 0
    sessions: int = 0


class _Camera:
    """Message numbers of one camera in the current session, and its counters over all sessions.

    ``last`` is the last number received or counted as lost; -1 if the first message will be number 0, None if unknown.
    """

    def __init__(self) -> None:
        self.last: int | None = None
        self.ended = False
        self.counts = Counts()

    def take(self, seq: int, *, retained: bool) -> bool:
        """Record message ``seq``; return False if it is a duplicate."""
        if self.last is not None and seq <= self.last:
            # A snapshot may repeat a message that was just received: that is not a duplicate.
            self.counts += Counts(duplicates=not retained)
            return False
        if self.last is not None:
            self.count_lost(seq - 1)
        self.last = seq
        return True

    def count_lost(self, seq: int) -> None:
        """Count the messages up to ``seq`` that did not arrive as lost."""
        if self.last is not None and seq > self.last:
            self.counts += Counts(lost=seq - self.last, gaps=1)
            self.last = seq


class Reception:
    """Filters the messages of ``cameras`` (all if None), and of ``person`` if given, to those that are new."""

    def __init__(
        self,
        cameras: frozenset[str] | None = None,
        person: int | None = None,
        prefix: str = "",
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._person, self._prefix, self._now_s = cameras, person, prefix, now_s
        self._cameras: dict[str, _Camera] = {}
        self._forgotten = Counts()
        self._announced: set[str] = set()
        self._joining = Joining([topics.poses_topic(camera) for camera in sorted(cameras or {""})])
        self._held_back: list[PoseMessage] = []
        self._held_back_bytes = 0
        self._is_released = False
        self._session = ""
        self._malformed = self._sessions = 0
        self._received_s, self._interval_ms = 0.0, 0
        self.skeletons: dict[str, Skeleton] = {}

    def take(self, topic: bytes, payload: bytes, now_ns: int) -> Iterator[PoseMessage]:
        """Take one message; yield the pose messages that are ready: none, this one, or those that waited for it.

        Raises :class:`VersionError` for a publisher of another major version.
        """
        self._received_s = self._now_s()
        try:
            name = topic.decode()
            wanted = topics.parse_snapshot_topic(name, self._prefix)
            found = schema.decode(payload)
        except VersionError:
            raise
        except (WireError, UnicodeDecodeError):
            self.count_malformed()
            return
        if found is not None:
            self._check_session(found.session)
        retained = wanted is not None
        if retained and not isinstance(found, Heartbeat):
            self._joining.count(name)
        match found:
            case PoseMessage() if self._is_new(found, retained):
                message = dataclasses.replace(found, received_ns=now_ns, retained=retained)
                yield from self._hold_back(message, len(payload))
            case EndOfStream() if self._is_new(found, retained):
                self._cameras[found.camera].ended = True
            case Skeleton():
                _remember(self.skeletons, found.name, found, MAX_SKELETONS)
            case Heartbeat():
                is_whole = wanted is not None and self._joining.is_whole(name, found.snapshot)
                yield from self._take_heartbeat(found, wanted if is_whole else None)

    def ask_again(self) -> list[str]:
        """Return the topics whose snapshot has not arrived whole, though the publisher is alive; to be called often.

        Each is returned again only when the next one has had time to arrive.
        """
        return self._joining.ask_again(self._now_s(), self._interval_ms / 1e3) if self.alive else []

    @property
    def asked_again(self) -> int:
        """How often :meth:`ask_again` returned something in this session."""
        return self._joining.asked_again

    @property
    def alive(self) -> bool:
        """True if a message arrived within the last three heartbeat intervals of the publisher."""
        return self._interval_ms > 0 and self._now_s() - self._received_s <= INTERVALS * self._interval_ms / 1e3

    @property
    def silent_s(self) -> float:
        """Seconds since the last message of any kind; 0 before the first one."""
        return self._now_s() - self._received_s if self._interval_ms else 0.0

    def count_malformed(self) -> None:
        """Count a malformed message."""
        self._malformed += 1

    @property
    def ended(self) -> bool:
        """True if every selected camera has ended; without a selection, every known camera."""
        wanted = self._announced | self._cameras.keys() if self._wanted is None else self._wanted
        return bool(wanted) and self.ended_cameras >= wanted

    @property
    def ended_cameras(self) -> frozenset[str]:
        """The known cameras whose last message was their end."""
        return frozenset(name for name, camera in self._cameras.copy().items() if camera.ended)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The known cameras of the publisher."""
        return tuple(sorted(self._announced | self._cameras.keys()))

    def statistics(self, skipped: int = 0) -> Statistics:
        """The counters so far."""
        # A copy, since another thread may be receiving.
        cameras = {name: camera.counts for name, camera in self._cameras.copy().items()}
        return Statistics(sum(cameras.values(), self._forgotten), cameras, skipped, self._malformed, self._sessions)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _check_session(self, session: str) -> None:
        """Reset for a new session, which numbers from 0 and sends its skeletons again."""
        if session == self._session:
            return
        self._session = session
        self._sessions += 1
        self._is_released = False
        self._joining.begin(self._received_s)
        self._announced.clear()
        self.skeletons.clear()
        for camera in self._cameras.values():
            camera.last, camera.ended = None, False

    def _is_new(self, message: PoseMessage | EndOfStream, retained: bool) -> bool:
        if self._wanted is not None and message.camera not in self._wanted:
            return False  # ZeroMQ filters by prefix: a subscription to 'hall' receives 'hallway' too
        camera = self._camera(message.camera)
        if isinstance(message, EndOfStream) and camera.last is None and not retained:
            return False  # the snapshot, still to come, has the last poses and then this end
        return camera.take(message.seq, retained=retained)

    def _camera(self, name: str) -> _Camera:
        camera = self._cameras.get(name) or _Camera()
        if camera.last is None and self._joining.is_settled(topics.poses_topic(name)):
            camera.last = -1
        for forgotten in _remember(self._cameras, name, camera, MAX_CAMERAS):
            self._forgotten += forgotten.counts
        return camera

    def _take_heartbeat(self, heartbeat: Heartbeat, wanted: str | None) -> Iterator[PoseMessage]:
        """Count lost messages. The heartbeat of a whole snapshot of ``wanted`` says where its numbers begin; it has no
        more skeletons."""
        self._interval_ms = heartbeat.interval_ms
        head = topics.poses_topic("", self._prefix)
        last = {topic.removeprefix(head): seq for topic, seq in islice(heartbeat.topics.items(), MAX_CAMERAS)}
        ended = {topic.removeprefix(head) for topic in heartbeat.ended}
        self._announced = set(last)
        for name, seq in last.items():
            if self._wanted is not None and name not in self._wanted:
                continue
            begins = wanted is not None and topics.poses_topic(name).startswith(wanted)
            camera = self._camera(name)
            if begins and camera.last is None:
                camera.last = seq
            camera.count_lost(seq)
            camera.ended |= name in ended and camera.last == seq
        if wanted is not None:
            self._joining.settle(wanted)
            yield from self._release()

    def _hold_back(self, message: PoseMessage, size: int) -> Iterator[PoseMessage]:
        """Yield the message with the names of its joints, or hold it back until they arrive."""
        camera = self._cameras[message.camera]
        camera.ended = False
        camera.counts += Counts(messages=1)
        self._held_back.append(message)
        self._held_back_bytes += size
        is_full = len(self._held_back) > MAX_HELD_BACK or self._held_back_bytes > MAX_HELD_BACK_BYTES
        if self._is_released or is_full or message.skeleton in self.skeletons:
            yield from self._release()

    def _release(self) -> Iterator[PoseMessage]:
        """Yield the messages held back: the snapshot is complete, or waiting for it has become too long."""
        self._is_released = True
        waiting, self._held_back, self._held_back_bytes = self._held_back, [], 0
        for message in waiting:
            yield from self._select(message)

    def _select(self, message: PoseMessage) -> Iterator[PoseMessage]:
        """Add the names of the joints and select the person, if one is given."""
        known = self.skeletons.get(message.skeleton)
        joints = known.joints if known else ()
        people = tuple(dataclasses.replace(person, joints=joints) for person in message.people)
        named = dataclasses.replace(message, joints=joints, people=people)
        if self._person is None:
            yield named
        elif person := named.person(self._person):
            yield dataclasses.replace(named, people=(person,))


def _remember(book: dict[str, _Value], name: str, value: _Value, limit: int) -> list[_Value]:
    """Store the most recent entry of ``book``; return those that were forgotten for it."""
    book.pop(name, None)
    book[name] = value
    return [book.pop(next(iter(book))) for _ in range(len(book) - limit)]
