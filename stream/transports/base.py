"""What every transport promises: an :class:`Outbox` on one side, an :class:`Inbox` on the other.

A link carries *items*: a key ``(camera, seq)`` and the buffers that ``stream.transports.wire`` made of a message.
Three promises, judged by ``stream.testing.check_transport``:

* **Nothing is forgotten.** The outbox keeps every item until the other side says it is *done*, and sends it again, in
  order, to a receiver that was restarted. Done means that nothing downstream will ever need the item again, so the
  acknowledgement that reaches a source at last is the credit for its next frame, and the licence to reuse the pixels.
* **Nothing comes twice.** The inbox hands out each key once, in order per camera, whoever was restarted.
* **Nobody waits for a slow one unless asked to.** A leaky inbox keeps only the newest items that wait, and reports what
  it dropped; a dropped item is done.
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
"""As GStreamer's ``queue``: ``downstream`` drops the oldest waiting item, ``upstream`` refuses the newest."""

Buffers = Sequence[bytes | memoryview]

MAX_BUFFERS = 130
"""The most buffers of one item."""

MAX_BUFFER_BYTES = 256 * 1024 * 1024
"""The largest buffer of an item: an 8K picture is 100 MB."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One item received: its key, its buffers (views that live as long as this object) and when it arrived."""

    key: Key
    buffers: tuple[bytes | memoryview, ...]
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """Counters of one end of a link, since it was opened."""

    items: int = 0
    waiting: int = 0
    unacknowledged: int = 0
    dropped: int = 0
    resent: int = 0
    duplicates: int = 0
    malformed: int = 0


class Outbox(Protocol):
    """The sending end of a link, to exactly one receiver."""

    def send(self, key: Key, buffers: Buffers) -> None:
        """Take an item to be delivered; never blocks. Bounding what is in flight is the source's affair (credits).

        The items of a camera come in rising ``seq``. Raises :class:`stream.errors.TransportError` for one that does
        not, or that is too large to be delivered.
        """

    def acknowledged(self, timeout_ms: int = 0) -> list[Key]:
        """Keys whose items the receiver is done with, since the last call; waits up to ``timeout_ms`` for one.

        Also does the link's housekeeping (greeting, sending again), so call it often.
        """

    def statistics(self) -> LinkStatistics: ...

    def close(self) -> None:
        """Give back sockets and memory; idempotent."""


class Inbox(Protocol):
    """The receiving end of a link, from any number of senders."""

    def receive(self, max_items: int = 1, timeout_ms: int = 0) -> list[Delivery]:
        """The next items in order, at most ``max_items``; an empty list when none came within ``timeout_ms``.

        With ``max_items=0`` none is handed out, but those that arrive are taken in, and too many of them dropped.
        """

    def done(self, key: Key) -> None:
        """Nothing on this side needs the item any more; acknowledges it to its sender."""

    def dropped(self) -> list[Key]:
        """Keys a leaky inbox dropped since the last call (already acknowledged)."""

    def statistics(self) -> LinkStatistics: ...

    def close(self) -> None:
        """Give back sockets and memory; idempotent."""
