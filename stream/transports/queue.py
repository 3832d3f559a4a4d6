"""The queue of an inbox, which drops items if it is leaky."""

from __future__ import annotations

from collections import Counter, deque

from stream.errors import TransportError
from stream.messages import EOS_SEQ, Key
from stream.transports.base import Delivery, Leaky


class DeliveryQueue:
    """A queue of deliveries, in order of arrival.

    A leaky queue keeps at most ``max_items`` *of each camera*: with a common bound, a fast camera would displace the
    frames of a slow one. An end of stream is never dropped and not counted.
    """

    def __init__(self, leaky: Leaky = "no", max_items: int = 1) -> None:
        if max_items < 1:
            raise TransportError(f"a queue cannot keep max_items={max_items}; give at least 1")
        self.leaky = leaky
        self.max_items = max_items
        self._items: deque[Delivery] = deque()
        self._per_camera: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, delivery: Delivery) -> Key | None:
        """Add a delivery; return the key of the one that was dropped for it, if any."""
        dropped: Key | None = None
        if self._is_full(delivery.key):
            if self.leaky == "upstream":
                return delivery.key
            dropped = self._drop_oldest(delivery.key[0])
        self._items.append(delivery)
        self._count(delivery.key, 1)
        return dropped

    def take(self, max_items: int) -> list[Delivery]:
        """Take the oldest deliveries, at most ``max_items``."""
        taken = [self._items.popleft() for _ in range(min(max_items, len(self._items)))]
        for delivery in taken:
            self._count(delivery.key, -1)
        return taken

    def _is_full(self, key: Key) -> bool:
        camera, seq = key
        return self.leaky != "no" and seq != EOS_SEQ and self._per_camera[camera] >= self.max_items

    def _drop_oldest(self, camera: str) -> Key:
        oldest = next(one for one in self._items if one.key[0] == camera)
        self._items.remove(oldest)
        self._count(oldest.key, -1)
        return oldest.key

    def _count(self, key: Key, step: int) -> None:
        camera, seq = key
        if seq != EOS_SEQ:
            self._per_camera[camera] += step
            if not self._per_camera[camera]:
                del self._per_camera[camera]
