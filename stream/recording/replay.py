"""Publishing of a recording once more: the same messages, byte for byte, at the pace at which they were recorded."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count

from stream.protocol import topics
from stream.protocol.last_values import LastValues
from stream.recording.recording import RecordedMessage, Recording

HEARTBEAT_MS = 1000
_MIN_TURN_S = 1.0
"""Or the turns of a recording of one frame would follow each other without a pause."""

Publish = Callable[[str, bytes], object]
Wait = Callable[[float], bool]
"""Waits so many seconds; True if it was stopped meanwhile."""

_SESSION_KEY = b"\xa7session\xb0"
"""The key ``session`` in msgpack, and the head of the 16 characters of its value."""


class Replay:
    """Publishes the messages of ``recording``; ``speed`` 2 takes half the time.

    Each turn after the first (``loop``) is a session of its own, or subscribers would take its messages for duplicates:
    of each message, the 16 digits of the session differ, and nothing else. :meth:`snapshot` and :meth:`heartbeat` are
    what a :class:`stream.transports.publisher.Publisher` calls; any thread may.
    """

    def __init__(self, recording: Recording, *, speed: float = 1.0, loop: bool = False) -> None:
        self._recording, self._speed, self._loop = recording, speed, loop
        self._cache = LastValues("0" * 16, "", HEARTBEAT_MS, time.time_ns)
        self._renamed: dict[str, str] = {}
        self._before: dict[str, int] = {}
        self.published: Counter[str] = Counter()
        """How many messages of each camera were published."""
        self.position_s = 0.0
        """How far it is in the recording."""
        self.turns = 0

    def snapshot(self, topic: str) -> Sequence[bytes]:
        """The answer to a subscription, as ``keypointsink`` gives it."""
        return self._cache.snapshot(topic)

    def heartbeat(self) -> tuple[str, bytes]:
        """The topic and the next heartbeat."""
        return topics.heartbeat_topic(), self._cache.heartbeat()

    def open(self) -> None:
        """Read the first message. Raises :class:`SourceError` and :class:`VersionError` for what cannot be played."""
        first = next(one.head for one in self._recording.messages() if one.head.kind != "skeleton")
        # Or subscribers would count what was removed before it as lost.
        self._before = self._recording.find_first() if first.seq else {}
        self._begin_session(first.session)

    def run(self, publish: Publish, wait: Wait, now_s: Callable[[], float] = time.monotonic) -> None:
        """Publish all messages, until the end or until ``wait`` says that it was stopped."""
        for turn in count() if self._loop else range(1):
            self._renamed.clear()
            begun_s = now_s()
            if not self._play(publish, wait, now_s, turn):
                return
            self.turns = turn + 1
            if self._loop and wait(max(begun_s + _MIN_TURN_S - now_s(), 0.0)):
                return

    def _play(self, publish: Publish, wait: Wait, now_s: Callable[[], float], turn: int) -> bool:
        """Publish all messages once; False if it was stopped."""
        begun_s, before_ns = now_s(), -1
        self.position_s = 0.0
        for message in self._recording.messages():
            if before_ns >= 0:  # a clock that was set back must not let an hour pass at once
                self.position_s += max(message.publish_ns - before_ns, 0) / 1e9
            before_ns = message.publish_ns
            # Waiting nothing, too, asks whether it was stopped.
            if wait(max(begun_s + self.position_s / self._speed - now_s(), 0.0)):
                return False
            self._publish(message, publish, self._rename(message.head.session) if turn else "")
        return True

    def _rename(self, session: str) -> str:
        return self._renamed.setdefault(session, secrets.token_hex(8))

    def _publish(self, message: RecordedMessage, publish: Publish, session: str) -> None:
        head, payload = message.head, message.payload
        if session:
            payload = _replace_session(payload, head.session, session)
        if self._cache.session != (session or head.session):
            self._begin_session(session or head.session)
        is_end, is_numbered = head.kind == "end", head.kind in ("poses", "end")
        self._cache.store(message.topic, payload, "end" if is_end else "last")
        publish(message.topic, payload)
        if is_numbered:
            self._cache.mark_sent(message.topic, head.seq, is_end=is_end)
            self.published[head.camera] += 1

    def _begin_session(self, session: str) -> None:
        self._cache = LastValues(session, "", HEARTBEAT_MS, time.time_ns)
        for topic, seq in self._before.items():
            self._cache.mark_sent(topic, seq - 1, is_end=False)


def _replace_session(payload: bytes, former: str, session: str) -> bytes:
    return payload.replace(_SESSION_KEY + former.encode(), _SESSION_KEY + session.encode(), 1)
