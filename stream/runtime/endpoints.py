"""The ends of a part's links: the inbox it reads, an outbox for every part that reads what it gives; and pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from stream.messages import Eos, Frame, Message, People, Poses, Window
from stream.pipeline.pipeline import Pipeline, QueueSpec
from stream.pipeline.wiring import Part
from stream.runtime.run_dir import run_id_of
from stream.transports.base import Delivery, Inbox, LinkStatistics, Outbox
from stream.transports.curve import Keys
from stream.transports.shm_ring import FrameReader, FrameRing
from stream.transports.wire import inline, pack, unpack
from stream.transports.zmq_link import Pollable, open_inbox, open_outbox, wait

MOST_PATH_BYTES = 100
"""Socket paths end after 104 bytes on macOS and 108 on Linux; one stays clear of both."""

SPARE_SLOTS = 2
"""Slots beyond the frames in flight: the one being written, and the one that a live source then has to drop."""


class PollableInbox(Inbox, Pollable, Protocol):
    """An inbox that can be watched."""


class PollableOutbox(Outbox, Pollable, Protocol):
    """An outbox that can be watched."""


@dataclass
class Links:
    """What a part is joined by; ``is_near[i]`` when the receiver of ``outboxes[i]`` shares this host's memory."""

    inbox: PollableInbox | None
    outboxes: Sequence[PollableOutbox]
    is_near: Sequence[bool] = ()
    wait: Callable[[Sequence[Pollable], Sequence[Pollable], int], bool] = wait
    reader: FrameReader = field(default_factory=FrameReader)
    ring: FrameRing | None = None

    def idle(self, timeout_ms: int) -> None:
        """Wait until an end of a link has something to say."""
        self.wait([self.inbox] if self.inbox is not None else [], self.outboxes, timeout_ms)

    def idle_for_news(self, timeout_ms: int) -> None:
        """Wait until a receiver has something to say; what waits in the inbox may wait on."""
        self.wait([], self.outboxes, timeout_ms)

    # -- pixels -------------------------------------------------------------------------------------------------------

    def place(self, frame: Frame) -> Frame:
        """A source's frame with its pixels in a slot of the ring, where its receivers can find them."""
        if self.ring is None or (frame.pixels.flags.writeable and self.ring.reference(frame) is not None):
            return frame  # pixels that can no longer be written were placed before, for another frame
        pixels = self.ring.allocate((*frame.pixels.shape[:2], 3))
        np.copyto(pixels, frame.pixels)
        placed = replace(frame, pixels=pixels)
        self.ring.reference(placed)
        return placed

    def pack(self, message: Message | Eos) -> list[Sequence[bytes | memoryview]]:
        """The buffers of a message for every outbox: by reference where the receiver is near, else with its pixels."""
        reference = self.reader.reference if self.ring is None else self.ring.reference
        near = pack(message, reference=reference) if any(self.is_near) else []
        far = pack(message, reference=inline) if not all(self.is_near) else []
        return [near if is_near else far for is_near in self.is_near]

    def unpack(self, delivery: Delivery) -> Message | Eos:
        """The message that was delivered. Raises ``WireError``, or ``TransportError`` when its pixels are gone."""
        return unpack(delivery.buffers, resolve=self.reader.resolve)

    def check(self, message: Message) -> None:
        """Whether the pixels of a message are still what they were. Raises ``StaleFrame``."""
        for frame in frames_of(message):
            self.reader.check_frame(frame)

    # -- books and end ------------------------------------------------------------------------------------------------

    def statistics(self) -> tuple[LinkStatistics, LinkStatistics]:
        """Of the inbox, and of all outboxes together."""
        received = self.inbox.statistics() if self.inbox is not None else LinkStatistics()
        sent = [outbox.statistics() for outbox in self.outboxes]
        return received, LinkStatistics(
            unacknowledged=sum(one.unacknowledged for one in sent),
            resent=sum(one.resent for one in sent),
            malformed=sum(one.malformed for one in sent),
        )

    def close(self) -> None:
        """Give back sockets and mappings; idempotent. The ring's segment stays, since a restart wants it back."""
        for outbox in self.outboxes:
            outbox.close()
        if self.inbox is not None:
            self.inbox.close()
        self.reader.close()


def open_links(pipeline: Pipeline, part: Part, run_dir: Path) -> Links:
    """Bind the part's inbox, connect its outboxes, find its frame ring. Raises :class:`TransportError`."""
    keys = Keys.from_environment()
    queues = [pipeline.queues[name] for name in part.outboxes]
    targets = [(queue, consumer) for queue in queues for consumer in queue.consumers]
    links = Links(None, [])
    try:
        if part.inbox is not None:
            links.inbox = _open_inbox(pipeline.queues[part.inbox], part, run_dir, keys)
        links.outboxes = [
            open_outbox(_reachable(address_of(queue, consumer, run_dir)), part.name, keys=keys)
            for queue, consumer in targets
        ]
    except BaseException:
        links.close()
        raise
    links.is_near = [is_near(queue) for queue, _ in targets]
    if part.source is not None and any(links.is_near):
        links.ring = FrameRing(run_id_of(run_dir), part.name, pipeline.in_flight + SPARE_SLOTS)
    return links


def _open_inbox(queue: QueueSpec, part: Part, run_dir: Path, keys: Keys | None) -> PollableInbox:
    address = address_of(queue, part.name, run_dir)
    return open_inbox(address, part.name, leaky=queue.leaky, max_items=queue.max_items, keys=keys)


def address_of(queue: QueueSpec, consumer: str, run_dir: Path) -> str:
    """Where the part ``consumer`` listens for what comes through ``queue``."""
    return queue.address or f"ipc://{socket_path(run_dir, f'{queue.name}.{consumer}')}"


def socket_path(run_dir: Path, name: str) -> Path:
    """A path for a socket called ``name``, under a short name of its own where the system would not take it."""
    path = run_dir / f"{name}.sock"
    if len(str(path).encode()) <= MOST_PATH_BYTES:
        return path
    return run_dir / f"{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}.sock"


def is_near(queue: QueueSpec) -> bool:
    """True when both sides of a queue surely share memory; tcp may lead to another host or container, loopback too."""
    return not queue.address.startswith("tcp://")


def _reachable(address: str) -> str:
    """``tcp://*`` is everywhere to listen, but nowhere to connect to."""
    return address.replace("tcp://*:", "tcp://127.0.0.1:", 1)


def frames_of(message: Message) -> tuple[Frame, ...]:
    """Every frame a message holds, its key frame first."""
    match message:
        case Frame():
            return (message,)
        case People() | Poses():
            return (message.frame,)
        case Window():
            return (message.key_frame, *message.frames, message.people.frame)
