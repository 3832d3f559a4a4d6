"""How a subscriber joins: which of the snapshots that it asked for have arrived whole, and when to ask again."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import UNSET, UnsetType

INTERVALS = 3
"""After so many heartbeat intervals without a whole snapshot, a client asks again."""

_LEAST_S = 0.1
"""And not sooner, whatever a publisher says its interval is."""

_MAX_TOPICS = 1024


class Joining:
    """The snapshots of ``wanted`` topics in one session.

    A snapshot is whole if as many messages arrived as its heartbeat says; a publisher before 1.3 does not say.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = wanted
        self._received: dict[str, int] = {}
        self._whole: dict[str, None] = {}
        self._asked_s = 0.0
        self.asked_again = 0

    def begin(self, now_s: float) -> None:
        """A session begins, and with it the wait for its snapshots."""
        self._received.clear()
        self._whole.clear()
        self._asked_s, self.asked_again = now_s, 0

    def count(self, topic: str) -> None:
        """A message of a snapshot arrived, other than its heartbeat."""
        self._received[topic] = self._received.pop(topic, 0) + 1
        _forget_oldest(self._received)

    def is_whole(self, topic: str, stated: int | UnsetType) -> bool:
        """True if the ``stated`` messages came before the heartbeat of a snapshot, which has just arrived."""
        return self._received.pop(topic, 0) == stated or stated is UNSET

    def settle(self, wanted: str) -> None:
        """A whole snapshot of ``wanted`` has arrived."""
        self._whole[wanted] = None
        _forget_oldest(self._whole)

    def is_settled(self, topic: str) -> bool:
        """True if a whole snapshot has said which messages on ``topic`` came before it."""
        return any(map(topic.startswith, self._whole))

    def ask_again(self, now_s: float, interval_s: float) -> list[str]:
        """Return the wanted topics of which no whole snapshot arrived within :data:`INTERVALS`, and wait for them."""
        if not interval_s or now_s - self._asked_s < max(INTERVALS * interval_s, _LEAST_S):
            return []
        missing = [topic for topic in self._wanted if not self.is_settled(topic)]
        if missing:
            self._asked_s = now_s
            self.asked_again += 1
        return missing


def _forget_oldest(book: dict[str, int] | dict[str, None]) -> None:
    if len(book) > _MAX_TOPICS:
        del book[next(iter(book))]
