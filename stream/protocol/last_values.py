"""What a publisher keeps for clients that join late: the last message of each topic, and what a heartbeat says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from stream.protocol import schema, topics


def count_sent(last: Iterable[int]) -> int:
    """How many messages were sent, by the ``last`` number of each topic, whose first is 0."""
    return sum(seq + 1 for seq in last)


class LastValues:
    """The snapshot for new subscribers: skeletons, the last message of each camera, and a heartbeat as its end."""

    def __init__(self, session: str, prefix: str, heartbeat_ms: int, now_ns: Callable[[], int]) -> None:
        self.session = session
        self._now_ns = now_ns
        self._prefix, self._heartbeat_ms = prefix, heartbeat_ms
        self._values: dict[tuple[str, str], bytes] = {}
        self._last: dict[str, int] = {}
        self._ended: set[str] = set()
        self._lock = threading.Lock()

    def store(self, topic: str, payload: bytes, retain_as: str) -> None:
        """Store ``payload`` as the newest of its (topic, ``retain_as``)."""
        with self._lock:
            self._values[topic, retain_as] = payload

    def discard(self, topic: str, retain_as: str) -> None:
        """Forget what was stored, if anything: later messages of ``topic`` exist and are not known."""
        with self._lock:
            self._values.pop((topic, retain_as), None)

    def mark_sent(self, topic: str, seq: int, *, is_end: bool) -> None:
        """Message ``seq`` was sent; heartbeats name it from now on, and not before."""
        with self._lock:
            self._last[topic] = seq
            (self._ended.add if is_end else self._ended.discard)(topic)

    @property
    def sent(self) -> int:
        """How many numbered messages were sent in this session."""
        with self._lock:
            return count_sent(self._last.values())

    def has(self, topic: str) -> bool:
        """True if something was published on ``topic``."""
        return (topic, "last") in self._values

    def introduction(self) -> list[tuple[str, bytes]]:
        """What a relay receives first, by topic: the skeletons, and a heartbeat with the numbers of all cameras."""
        head = topics.skeleton_topic("", self._prefix)
        with self._lock:
            skeletons = [(topic, payload) for (topic, _), payload in self._values.items() if topic.startswith(head)]
        return [*skeletons, (topics.heartbeat_topic(self._prefix), self.heartbeat())]

    def snapshot(self, topic: str) -> list[bytes]:
        """The answer to a subscription: nothing, unless it requests a snapshot."""
        wanted = topics.parse_snapshot_topic(topic, self._prefix)
        if wanted is None:
            return []
        with self._lock:
            skeletons = self._find(topics.skeleton_topic("", self._prefix))
            values = self._find(topics.poses_topic("", self._prefix), self._prefix + wanted)
        return [*skeletons, *values, self.heartbeat(len(skeletons) + len(values))]

    def heartbeat(self, snapshot: int | None = None) -> bytes:
        """The heartbeat: the number of the last message on each topic, and how many a ``snapshot`` has before it."""
        with self._lock:
            last, ended = dict(self._last), sorted(self._ended)
        return schema.encode_heartbeat(
            session=self.session,
            wall_ns=self._now_ns(),
            interval_ms=self._heartbeat_ms,
            topics=last,
            ended=ended,
            snapshot=snapshot,
        )

    def _find(self, *prefixes: str) -> list[bytes]:
        return [payload for (topic, _), payload in self._values.items() if all(map(topic.startswith, prefixes))]
