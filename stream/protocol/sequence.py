"""What a subscriber makes of the messages that reach it: which are new, how many were lost; no sockets.

A message is a topic and a payload (``stream.protocol.schema``). Random and hostile ones are counted and dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stream.errors import WireError
from stream.protocol import schema
from stream.protocol.schema import EndOfStream, Heartbeat, PoseMessage, Skeleton

MAX_EARLY = 256
"""The most messages held back because the skeleton that names their keypoints is still under way to a newcomer."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of one camera. ``lost`` messages went missing in ``gaps`` runs; ``duplicates`` were dropped."""

    messages: int = 0
    lost: int = 0
    gaps: int = 0
    duplicates: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(mine + theirs for mine, theirs in zip(_values(self), _values(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counters of a subscriber since it was made: of all cameras, and of each.

    ``skipped`` messages were passed over for newer ones (``latest``); ``malformed`` were none of this protocol;
    ``sessions`` is how many lives of the publisher were met.
    """

    total: Counts = field(default_factory=Counts)
    cameras: Mapping[str, Counts] = field(default_factory=dict)
    skipped: int = 0
    malformed: int = 0
    sessions: int = 0


class _Camera:
    """Numbers of one camera within the present session, and counters since ever."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.ended = False
        self.counts = Counts()

    def take(self, seq: int, *, retained: bool) -> bool:
        """Note message ``seq``; False when it is known already."""
        if self.last is not None and seq <= self.last:
            # A newcomer's last value is often one it has just seen; nobody sent that by mistake.
            self.counts += Counts(duplicates=not retained)
            return False
        if self.last is not None:
            self.missed(seq - 1)
        self.last = seq
        return True

    def missed(self, seq: int) -> None:
        """Everything up to message ``seq`` was sent; what of it did not come is lost."""
        if self.last is not None and seq > self.last:
            self.counts += Counts(lost=seq - self.last, gaps=1)
            self.last = seq


class Reception:
    """Takes messages of ``cameras`` (all where None) in order and gives those that are new to the user."""

    def __init__(self, cameras: frozenset[str] | None = None, person: int | None = None, prefix: str = "") -> None:
        self._wanted, self._person, self._prefix = cameras, person, prefix
        self._cameras: dict[str, _Camera] = {}
        self._announced: set[str] = set()
        self._early: list[PoseMessage] = []
        self._greeted = False
        self._session = ""
        self._malformed = self._sessions = 0
        self.skeletons: dict[str, Skeleton] = {}
        self.heartbeat: Heartbeat | None = None

    def take(self, topic: bytes, payload: bytes, now_ns: int) -> Iterator[PoseMessage]:
        """Pose messages this one leads to: none, itself, or several that waited for their skeleton."""
        try:
            retained = schema.wanted_by(topic.decode(), self._prefix) is not None
            found = schema.decode(payload)
        except (WireError, UnicodeDecodeError):
            self.malformed()
            return
        if found is not None:
            self._meet(found.session)
        match found:
            case PoseMessage() if self._is_new(found.camera, found.seq, retained):
                yield from self._named(dataclasses.replace(found, received_ns=now_ns, retained=retained))
            case EndOfStream() if self._is_new(found.camera, found.seq, retained):
                self._cameras[found.camera].ended = True
            case Skeleton():
                self.skeletons[found.name] = found
            case Heartbeat():
                self._beat(found)
                if retained:  # with one a snapshot ends
                    yield from self._greet()

    def malformed(self) -> None:
        """Count something that was no message."""
        self._malformed += 1

    @property
    def ended(self) -> bool:
        """True when every camera that is wanted, or was heard of, has ended."""
        wanted = self._announced | self._cameras.keys() if self._wanted is None else self._wanted
        return bool(wanted) and all(name in self._cameras and self._cameras[name].ended for name in wanted)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Cameras the publisher has, as far as is known."""
        return tuple(sorted(self._announced | self._cameras.keys()))

    def statistics(self, skipped: int = 0) -> Statistics:
        """The counters so far."""
        # A copy, since another thread may be taking messages in.
        cameras = {name: camera.counts for name, camera in self._cameras.copy().items()}
        return Statistics(sum(cameras.values(), Counts()), cameras, skipped, self._malformed, self._sessions)

    # -- what happens --------------------------------------------------------------------------------------------------

    def _meet(self, session: str) -> None:
        """A new session numbers from 0 again and tells its skeletons again."""
        if session == self._session:
            return
        self._session = session
        self._sessions += 1
        self._greeted = False
        self._announced.clear()
        self.skeletons.clear()
        for camera in self._cameras.values():
            camera.last, camera.ended = None, False

    def _is_new(self, name: str, seq: int, retained: bool) -> bool:
        if self._wanted is not None and name not in self._wanted:
            return False  # ZeroMQ filters by the beginning of a topic: 'hall' brings 'hallway' as well
        return self._cameras.setdefault(name, _Camera()).take(seq, retained=retained)

    def _beat(self, heartbeat: Heartbeat) -> None:
        self.heartbeat = heartbeat
        head = schema.poses_topic("", self._prefix)
        for topic, seq in heartbeat.topics.items():
            name = topic.removeprefix(head)
            self._announced.add(name)
            if name in self._cameras:
                self._cameras[name].missed(seq)

    def _named(self, message: PoseMessage) -> Iterator[PoseMessage]:
        """``message`` with its joints, or nothing while their names are under way."""
        camera = self._cameras[message.camera]
        camera.ended = False
        camera.counts += Counts(messages=1)
        self._early.append(message)
        if self._greeted or message.skeleton in self.skeletons or len(self._early) > MAX_EARLY:
            yield from self._greet()

    def _greet(self) -> Iterator[PoseMessage]:
        """Whatever a newcomer is told has been told: nothing is held back any more."""
        self._greeted = True
        waiting, self._early = self._early, []
        for message in waiting:
            yield from self._finished(message)

    def _finished(self, message: PoseMessage) -> Iterator[PoseMessage]:
        known = self.skeletons.get(message.skeleton)
        joints = known.joints if known else ()
        people = tuple(dataclasses.replace(person, joints=joints) for person in message.people)
        named = dataclasses.replace(message, joints=joints, people=people)
        if self._person is None:
            yield named
        elif person := named.person(self._person):
            yield dataclasses.replace(named, people=(person,))


def _values(counts: Counts) -> tuple[int, ...]:
    return counts.messages, counts.lost, counts.gaps, counts.duplicates
