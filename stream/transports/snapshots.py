"""Snapshots on their way to the clients that asked for them, a part of each at a time.

A snapshot may have more messages than a publisher keeps for a client; sent at once, its end would be lost. ZeroMQ drops
a message, and does not say so, if live messages have filled the client's queue before. So the heartbeat at the end of a
snapshot has the number of messages before it, and a client asks again for what is not whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence


class Snapshots:
    """What clients have asked for and not yet received.

    ``make(topic)`` returns the messages of a snapshot, none for other topics; ``send(topic, message)`` returns False if
    the client's queue is full; ``per_turn`` is the number of messages that a client is sent in one turn.
    """

    def __init__(
        self, make: Callable[[str], Sequence[bytes]], send: Callable[[str, bytes], bool], per_turn: int
    ) -> None:
        self._make, self._send, self._per_turn = make, send, per_turn
        self._asked: dict[int, dict[str, None]] = {}
        self._begun: dict[int, deque[bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._asked)

    def ask(self, client: int, topic: str) -> None:
        """A client has subscribed to ``topic``."""
        self._asked.setdefault(client, {})[topic] = None

    def withdraw(self, client: int, topic: str) -> None:
        """A client has ended its subscription to ``topic``: what was not sent yet is not wanted."""
        asked = self._asked.get(client, {})
        if topic in asked:
            if next(iter(asked)) == topic:
                self._begun.pop(client, None)
            del asked[topic]

    def take_turn(self, clients: Container[int]) -> int:
        """Send each client the next part, and forget who is not among ``clients``; return how many were completed."""
        completed = 0
        for client in list(self._asked):
            if client in clients:
                completed += self._continue(client)
            if client not in clients or not self._asked[client]:
                del self._asked[client]
                self._begun.pop(client, None)
        return completed

    def _continue(self, client: int) -> int:
        completed, left, asked = 0, self._per_turn, self._asked[client]
        while asked:
            topic = next(iter(asked))
            if client not in self._begun:  # made when its turn comes: a client that asks for many has one in memory
                self._begun[client] = deque(self._make(topic))
            messages = self._begun[client]
            is_snapshot = bool(messages)
            while messages:
                if not left or not self._send(topic, messages[0]):
                    return completed
                messages.popleft()
                left -= 1
            completed += is_snapshot
            del asked[topic], self._begun[client]
        return completed
