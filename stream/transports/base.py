"""The interface of a link: an :class:`Outbox` on the sending side, an :class:`Inbox` on the receiving side.

A link carries *items*: a key ``(camera, seq)`` and the buffers that ``stream.transports.wire`` made of a message.
It has three guarantees, tested by ``stream.testing.check_transport``:

* **No loss.** The outbox keeps every item until the receiver acknowledges it, and sends it again, in order, to a
  receiver that was restarted. An item is acknowledged when nothing downstream needs it any more, so the acknowledgement
  that reaches a source is the credit for its next frame, and allows it to reuse the pixels.
* **No duplicates.** The inbox delivers each key once, in order per camera, whichever side was restarted.
* **No waiting for a slow receiver, unless configured.** A leaky inbox keeps only the newest waiting items and reports
  the dropped ones; a dropped item is acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from stream.messages import EOS_SEQ, Key

__all__ = [
    "EOS_SEQ",
    "MAX_BUFFERS",
    "MAX_BUFFER_BYTES",
    "Buffers",
    "Delivery",
    "Inbox",
    "Leaky",
    "LinkStatistics",
    "Outbox",
]

Leaky = Literal["no", "upstream", "downstream"]
"""As in GStreamer's ``queue``: ``downstream`` drops the oldest waiting item, ``upstream`` refuses the newest."""

Buffers = Sequence[bytes | memoryview]

MAX_BUFFERS = 130
"""Maximum number of buffers of an item."""

MAX_BUFFER_BYTES = 256 * 1024 * 1024
"""Maximum size of a buffer: an 8K picture has 100 MB."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A received item: its key, its buffers (views, valid as long as this object) and its arrival time."""

    key: Key
    buffers: tuple[bytes | memoryview, ...]
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """Counters of one end of a link since it was opened."""

    items: int = 0
    waiting: int = 0
    unacknowledged: int = 0
    dropped: int = 0
    resent: int = 0
    duplicates: int = 0
    malformed: int = 0
    refused: int = 0


class Outbox(Protocol):
    """The sending end of a link, to exactly one receiver."""

    def send(self, key: Key, buffers: Buffers) -> None:
        """Send an item; never blocks. The number of items in flight is bounded by the source (credits), not here.

        The items of a camera must have increasing ``seq``. Raises :class:`stream.errors.TransportError` for one that
        does not, or that is too large.
        """

    def take_acknowledged(self, timeout_ms: int = 0) -> list[Key]:
        """Return the keys acknowledged since the last call; waits up to ``timeout_ms`` for one.

        It also pings the receiver and resends items, so call it often.
        """

    def statistics(self) -> LinkStatistics: ...

    def close(self) -> None:
        """Release sockets and memory; idempotent."""


class Inbox(Protocol):
    """The receiving end of a link, from any number of senders."""

    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        """Return the next items in order, at most ``max_items``; an empty list if none arrive within ``timeout_ms``.

        With ``max_items=0`` it returns none, but arriving items are still queued, and dropped if the queue is full.
        """

    def acknowledge(self, key: Key) -> None:
        """Acknowledge an item to its sender: nothing on this side needs it any more."""

    def take_dropped(self) -> list[Key]:
        """Return the keys that a leaky inbox dropped since the last call; they are acknowledged already."""

    def statistics(self) -> LinkStatistics: ...

    def close(self) -> None:
        """Release sockets and memory; idempotent."""
