"""The items that wait in an inbox, and who must go when it is leaky."""

from __future__ import annotations

from collections import Counter, deque

from stream.errors import TransportError
from stream.messages import EOS_SEQ, Key
from stream.transports.base import Delivery, Leaky


class Waiting:
    """A line of deliveries, in order of arrival.

    A leaky one keeps at most ``max_items`` *of each camera*: were the bound common, a fast camera would push a slow one
    out of the line. An end of stream is never dropped and not counted.
    """

    def __init__(self, leaky: Leaky = "no", max_items: int = 1) -> None:
        if max_items < 1:
            raise TransportError(f"a queue cannot keep max_items={max_items}; give it room for at least 1")
        self.leaky = leaky
        self.max_items = max_items
        self._line: deque[Delivery] = deque()
        self._of_camera: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._line)

    def put(self, delivery: Delivery) -> Key | None:
        """Let one more wait; returns the key of the one that had to go for it, if any."""
        if self._is_full(delivery.key):
            if self.leaky == "upstream":
                return delivery.key
            gone: Key | None = self._drop_oldest(delivery.key[0])
        else:
            gone = None
        self._line.append(delivery)
        self._count(delivery.key, 1)
        return gone

    def take(self, max_items: int) -> list[Delivery]:
        """The oldest, at most ``max_items`` of them."""
        taken = [self._line.popleft() for _ in range(min(max_items, len(self._line)))]
        for delivery in taken:
            self._count(delivery.key, -1)
        return taken

    def _is_full(self, key: Key) -> bool:
        camera, seq = key
        return self.leaky != "no" and seq != EOS_SEQ and self._of_camera[camera] >= self.max_items

    def _drop_oldest(self, camera: str) -> Key:
        oldest = next(one for one in self._line if one.key[0] == camera)
        self._line.remove(oldest)
        self._count(oldest.key, -1)
        return oldest.key

    def _count(self, key: Key, step: int) -> None:
        camera, seq = key
        if seq != EOS_SEQ:
            self._of_camera[camera] += step
            if not self._of_camera[camera]:
                del self._of_camera[camera]
