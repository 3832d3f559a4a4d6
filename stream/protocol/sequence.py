"""The receiving side of the protocol, without sockets: new, lost and duplicate messages, and names of joints.

A message is a topic and a payload (``stream.protocol.schema``). Malformed messages are counted and dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stream.errors import WireError
from stream.protocol import schema
from stream.protocol.schema import EndOfStream, Heartbeat, PoseMessage, Skeleton

MAX_HELD_BACK = 256
"""Maximum number of messages that wait for the skeleton with the names of their joints."""


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
    """Message numbers of one camera in the current session, and its counters over all sessions."""

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

    def __init__(self, cameras: frozenset[str] | None = None, person: int | None = None, prefix: str = "") -> None:
        self._wanted, self._person, self._prefix = cameras, person, prefix
        self._cameras: dict[str, _Camera] = {}
        self._announced: set[str] = set()
        self._held_back: list[PoseMessage] = []
        self._has_snapshot = False
        self._session = ""
        self._malformed = self._sessions = 0
        self.skeletons: dict[str, Skeleton] = {}
        self.heartbeat: Heartbeat | None = None

    def take(self, topic: bytes, payload: bytes, now_ns: int) -> Iterator[PoseMessage]:
        """Take one message; yield the pose messages that are ready: none, this one, or those that waited for it."""
        try:
            retained = schema.parse_snapshot_topic(topic.decode(), self._prefix) is not None
            found = schema.decode(payload)
        except (WireError, UnicodeDecodeError):
            self.count_malformed()
            return
        if found is not None:
            self._check_session(found.session)
        match found:
            case PoseMessage() if self._is_new(found.camera, found.seq, retained):
                yield from self._hold_back(dataclasses.replace(found, received_ns=now_ns, retained=retained))
            case EndOfStream() if self._is_new(found.camera, found.seq, retained):
                self._cameras[found.camera].ended = True
            case Skeleton():
                self.skeletons[found.name] = found
            case Heartbeat():
                self._take_heartbeat(found)
                if retained:  # a snapshot ends with a heartbeat
                    yield from self._release()

    def count_malformed(self) -> None:
        """Count a malformed message."""
        self._malformed += 1

    @property
    def ended(self) -> bool:
        """True if every selected camera has ended; without a selection, every known camera."""
        wanted = self._announced | self._cameras.keys() if self._wanted is None else self._wanted
        return bool(wanted) and all(name in self._cameras and self._cameras[name].ended for name in wanted)

    @property
    def cameras(self) -> tuple[str, ...]:
        """The known cameras of the publisher."""
        return tuple(sorted(self._announced | self._cameras.keys()))

    def statistics(self, skipped: int = 0) -> Statistics:
        """The counters so far."""
        # A copy, since another thread may be receiving.
        cameras = {name: camera.counts for name, camera in self._cameras.copy().items()}
        return Statistics(sum(cameras.values(), Counts()), cameras, skipped, self._malformed, self._sessions)

    # -- messages ------------------------------------------------------------------------------------------------------

    def _check_session(self, session: str) -> None:
        """Reset for a new session, which numbers from 0 and sends its skeletons again."""
        if session == self._session:
            return
        self._session = session
        self._sessions += 1
        self._has_snapshot = False
        self._announced.clear()
        self.skeletons.clear()
        for camera in self._cameras.values():
            camera.last, camera.ended = None, False

    def _is_new(self, name: str, seq: int, retained: bool) -> bool:
        if self._wanted is not None and name not in self._wanted:
            return False  # ZeroMQ filters by prefix: a subscription to 'hall' receives 'hallway' too
        return self._cameras.setdefault(name, _Camera()).take(seq, retained=retained)

    def _take_heartbeat(self, heartbeat: Heartbeat) -> None:
        self.heartbeat = heartbeat
        head = schema.poses_topic("", self._prefix)
        for topic, seq in heartbeat.topics.items():
            name = topic.removeprefix(head)
            self._announced.add(name)
            if name in self._cameras:
                self._cameras[name].count_lost(seq)

    def _hold_back(self, message: PoseMessage) -> Iterator[PoseMessage]:
        """Yield the message with the names of its joints, or hold it back until they arrive."""
        camera = self._cameras[message.camera]
        camera.ended = False
        camera.counts += Counts(messages=1)
        self._held_back.append(message)
        if self._has_snapshot or message.skeleton in self.skeletons or len(self._held_back) > MAX_HELD_BACK:
            yield from self._release()

    def _release(self) -> Iterator[PoseMessage]:
        """Yield the messages held back: the snapshot is complete."""
        self._has_snapshot = True
        waiting, self._held_back = self._held_back, []
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
