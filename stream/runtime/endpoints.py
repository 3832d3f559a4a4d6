"""The links of a part: the inbox it reads, an outbox for every part that reads it, and the pixels they share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from stream.messages import Eos, Frame, Message, People, Poses, Window
from stream.pipeline.pipeline import Pipeline, QueueSpec
from stream.pipeline.wiring import Part
from stream.runtime.run_dir import get_run_id, load_token
from stream.transports.base import Delivery, Inbox, LinkStatistics, Outbox
from stream.transports.curve import Keys
from stream.transports.run_token import RunToken
from stream.transports.shm_ring import FrameReader, FrameRing
from stream.transports.wire import inline, pack, unpack
from stream.transports.zmq_link import Pollable, open_inbox, open_outbox, wait
from stream.transports.zmq_socket import Credentials

MAX_PATH_BYTES = 100
"""Socket paths may have 104 bytes on macOS and 108 on Linux."""

SPARE_SLOTS = 2
"""Slots beyond the frames in flight: one for the frame being written, one for a frame that a live source then drops."""


class PollableInbox(Inbox, Pollable, Protocol):
    """An inbox that can be polled."""


class PollableOutbox(Outbox, Pollable, Protocol):
    """An outbox that can be polled."""


@dataclass
class Links:
    """The links of one part; ``is_local[i]`` when the receiver of ``outboxes[i]`` shares this host's memory."""

    inbox: PollableInbox | None
    outboxes: Sequence[PollableOutbox]
    is_local: Sequence[bool] = ()
    wait: Callable[[Sequence[Pollable], Sequence[Pollable], int], bool] = wait
    reader: FrameReader = field(default_factory=FrameReader)
    ring: FrameRing | None = None

    def wait_for_any(self, timeout_ms: int) -> None:
        """Wait until an item or an acknowledgement has come."""
        self.wait([self.inbox] if self.inbox is not None else [], self.outboxes, timeout_ms)

    def wait_for_acknowledgements(self, timeout_ms: int) -> None:
        """Wait until an acknowledgement has come; items in the inbox do not end the wait."""
        self.wait([], self.outboxes, timeout_ms)

    # -- pixels -------------------------------------------------------------------------------------------------------

    def store_pixels(self, frame: Frame) -> Frame:
        """The same frame with its pixels in a slot of the ring, where receivers can read them."""
        if self.ring is None or (frame.pixels.flags.writeable and self.ring.reference(frame) is not None):
            return frame  # pixels that can no longer be written were stored before, for another frame
        pixels = self.ring.allocate((*frame.pixels.shape[:2], 3))
        np.copyto(pixels, frame.pixels)
        stored = replace(frame, pixels=pixels)
        self.ring.reference(stored)
        return stored

    def pack(self, message: Message | Eos) -> list[Sequence[bytes | memoryview]]:
        """The buffers of a message for every outbox: by reference where the receiver is local, else with pixels."""
        reference = self.reader.reference if self.ring is None else self.ring.reference
        local = pack(message, reference=reference) if any(self.is_local) else []
        remote = pack(message, reference=inline) if not all(self.is_local) else []
        return [local if is_local else remote for is_local in self.is_local]

    def unpack(self, delivery: Delivery) -> Message | Eos:
        """The message that was delivered. Raises ``WireError``, ``TransportError`` when its pixels are gone, or
        ``ShortageError`` when this process has no descriptors or memory left to read them."""
        return unpack(delivery.buffers, resolve=self.reader.resolve)

    def check(self, message: Message) -> None:
        """Check that the pixels of a message were not overwritten. Raises ``StaleFrame``."""
        for frame in get_frames(message):
            self.reader.check_frame(frame)

    # -- statistics and end -------------------------------------------------------------------------------------------

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
        """Close sockets and mappings; idempotent. The ring's segment stays, since a restarted part takes it over."""
        for outbox in self.outboxes:
            outbox.close()
        if self.inbox is not None:
            self.inbox.close()
        self.reader.close()


def open_links(pipeline: Pipeline, part: Part, run_dir: Path) -> Links:
    """Bind the part's inbox, connect its outboxes, find its frame ring. Raises :class:`TransportError`."""
    find_keys = partial(_find_keys, Keys.from_environment(), load_token(run_dir))
    queues = [pipeline.queues[name] for name in part.outboxes]
    targets = [(queue, consumer) for queue in queues for consumer in queue.consumers]
    links = Links(None, [])
    try:
        if part.inbox is not None:
            links.inbox = _open_inbox(pipeline.queues[part.inbox], part, run_dir, find_keys)
        addresses = [_connectable(get_address(queue, consumer, run_dir)) for queue, consumer in targets]
        links.outboxes = [open_outbox(address, part.name, keys=find_keys(address)) for address in addresses]
    except BaseException:
        links.close()
        raise
    links.is_local = [is_local(queue) for queue, _ in targets]
    if part.source is not None and any(links.is_local):
        links.ring = FrameRing(get_run_id(run_dir), part.name, pipeline.in_flight + SPARE_SLOTS)
    return links


def _open_inbox(queue: QueueSpec, part: Part, run_dir: Path, find_keys: Callable[[str], Credentials]) -> PollableInbox:
    address = get_address(queue, part.name, run_dir)
    return open_inbox(address, part.name, leaky=queue.leaky, max_items=queue.max_items, keys=find_keys(address))


def _find_keys(keys: Keys | None, token: RunToken, address: str) -> Credentials:
    """The line's keys for ``tcp://``, if it has any; else the token of the run, which does not leave this host."""
    return keys if keys is not None and address.startswith("tcp://") else token


def get_address(queue: QueueSpec, consumer: str, run_dir: Path) -> str:
    """The address at which the part ``consumer`` receives what comes through ``queue``."""
    return queue.address or get_socket_address(run_dir, f"{queue.name}.{consumer}")


def get_socket_address(run_dir: Path, name: str) -> str:
    """The address of a socket called ``name``; a digest of the name where the path would be too long for the system."""
    path = run_dir / f"{name}.sock"
    if len(str(path).encode()) > MAX_PATH_BYTES:
        path = run_dir / f"{hashlib.blake2b(name.encode(), digest_size=6).hexdigest()}.sock"
    return f"ipc://{path}"


def is_local(queue: QueueSpec) -> bool:
    """True when both sides of a queue share memory. TCP may lead to another host or container, loopback too."""
    return not queue.address.startswith("tcp://")


def _connectable(address: str) -> str:
    """``tcp://*`` is an address to bind, but not to connect to."""
    return address.replace("tcp://*:", "tcp://127.0.0.1:", 1)


def get_frames(message: Message) -> tuple[Frame, ...]:
    """Every frame a message holds, its key frame first."""
    match message:
        case Frame():
            return (message,)
        case People() | Poses():
            return (message.frame,)
        case Window():
            return (message.key_frame, *message.frames, message.people.frame)
