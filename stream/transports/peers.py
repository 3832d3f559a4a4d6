"""The clients of a publisher: how many there are and what they may ask for, so that none exhausts its memory.

ZeroMQ stores every subscription before the publisher can read it, at about 50 bytes of memory for each byte of topic,
and offers no way to refuse one. So a client over a limit is disconnected, which also removes its subscriptions.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket as network
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engines.formats.files import stamp
from stream.errors import TransportError
from stream.transports.curve import load_public

_LOG = logging.getLogger(__name__)

MAX_TOPIC_BYTES = 512
MAX_TOPICS = 1000
MAX_TOPICS_BYTES = 32 * 1024
MAX_STRAY = 100
"""Of each client: bytes of one topic, number of topics, bytes of all topics, messages that are not subscriptions."""

MAX_ALL_TOPICS_BYTES = 1024 * 1024
"""Of all clients; above it, the one with the most is disconnected."""

REVOKED = "the key of a connected client was removed from clients="


@dataclass(slots=True)
class _Peer:
    topics: set[bytes] = field(default_factory=set)
    bytes: int = 0
    stray: int = 0
    key: str = ""


class Peers:
    """The connected clients, by the descriptor of their connection.

    ``disconnect(descriptor)`` ends a connection; ``max_peers`` is the number of connections, those that have not
    finished their handshake included, and ``limit`` what sets it. ``refused`` counts the connections that were ended
    for one of the limits, ``changes`` the events after which :meth:`topics` may differ.
    """

    def __init__(self, max_peers: int, disconnect: Callable[[int], None], owner: str, limit: str = "the limit") -> None:
        self._max_peers, self._disconnect, self._owner, self._limit = max_peers, disconnect, owner, limit
        self._peers: dict[int, _Peer] = {}
        self._warned: set[str] = set()
        self.refused = 0
        self.changes = 0

    def __contains__(self, descriptor: object) -> bool:
        return descriptor in self._peers

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def topics_bytes(self) -> int:
        """Bytes of the topics of all clients."""
        return sum(peer.bytes for peer in self._peers.values())

    def topics(self) -> frozenset[bytes]:
        """What the clients are subscribed to."""
        return frozenset[bytes]().union(*(peer.topics for peer in self._peers.values()))

    def connect(self, descriptor: int) -> None:
        """A client has connected."""
        self._peers[descriptor] = _Peer()
        if len(self._peers) > self._max_peers:
            self.refuse(descriptor, f"{self._max_peers} clients are connected already ({self._limit})")

    def disconnected(self, descriptor: int) -> None:
        """The connection of a client has ended."""
        self._peers.pop(descriptor, None)
        self.changes += 1

    def subscribe(self, descriptor: int, topic: bytes, key: str = "") -> bool:
        """A client has subscribed to ``topic``, and has proved its public ``key`` if it is not empty.

        False if it was disconnected.
        """
        peer = self._peers.get(descriptor)
        if peer is None:  # refused before, or gone
            return False
        peer.key = key
        if topic not in peer.topics:
            peer.topics.add(topic)
            self.changes += 1
            peer.bytes += len(topic)
        if len(topic) > MAX_TOPIC_BYTES or len(peer.topics) > MAX_TOPICS or peer.bytes > MAX_TOPICS_BYTES:
            return self.refuse(descriptor, "a client subscribed to more, or longer, topics than the protocol allows")
        if self.topics_bytes > MAX_ALL_TOPICS_BYTES:
            largest = max(self._peers, key=lambda each: self._peers[each].bytes)
            self.refuse(largest, f"all clients subscribed to more than {MAX_ALL_TOPICS_BYTES} bytes of topics")
            return largest != descriptor
        return True

    def unsubscribe(self, descriptor: int, topic: bytes) -> None:
        """A client has ended a subscription."""
        peer = self._peers.get(descriptor)
        if peer is not None and topic in peer.topics:
            peer.topics.remove(topic)
            self.changes += 1
            peer.bytes -= len(topic)

    def identify(self, descriptor: int, key: str) -> None:
        """A client has proved its public ``key``."""
        if (peer := self._peers.get(descriptor)) is not None:
            peer.key = key

    def count_stray(self, descriptor: int) -> None:
        """A client has sent a message that is not a subscription."""
        peer = self._peers.get(descriptor)
        if peer is not None:
            peer.stray += 1
            if peer.stray > MAX_STRAY:
                self.refuse(descriptor, "a client sent messages that are not subscriptions")

    def revoke(self, is_allowed: Callable[[bytes], bool]) -> None:
        """Disconnect the clients whose key is not allowed any more."""
        for descriptor, peer in list(self._peers.items()):
            if peer.key and not is_allowed(peer.key.encode()):
                self.refuse(descriptor, REVOKED)

    def refuse(self, descriptor: int, why: str) -> bool:
        """Disconnect a client; False."""
        if self._peers.pop(descriptor, None) is None:
            return False
        self.refused += 1
        self.changes += 1
        self._disconnect(descriptor)
        if why not in self._warned:
            self._warned.add(why)
            _LOG.warning("%s disconnected a client: %s", self._owner, why)
        return False


def disconnect(descriptor: int, endpoint: str) -> None:
    """End the connection of a client of ``endpoint``; ZeroMQ, which owns the descriptor, then closes it.

    Does nothing if the descriptor meanwhile belongs to something else.
    """
    with contextlib.suppress(OSError), network.socket(fileno=os.dup(descriptor)) as connection:
        name = connection.getsockname()
        own = f"ipc://{name}" if isinstance(name, str) else f":{name[1]}"
        if endpoint.endswith(own):
            connection.shutdown(network.SHUT_RDWR)


class AllowedKeys:
    """The public keys in ``folder``, which may change at any time. Raises :class:`TransportError` if there are none."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder, self._owner = folder, owner
        self._files: dict[str, tuple[int, ...]] = {}
        self._keys: frozenset[bytes] = frozenset()
        self.refresh()
        if not self._keys:
            raise TransportError(f"{owner}: no public keys (*.key) in {folder}; put those of the subscribers there")

    def refresh(self) -> bool:
        """Read the folder again if it has changed; True if the keys differ. One that cannot be read is not allowed."""
        found = {str(file): _stamp(file) for file in sorted(self._folder.glob("*.key"))}
        files = {file: state for file, state in found.items() if state is not None}
        if files == self._files:
            return False
        self._files, before = files, self._keys
        self._keys = frozenset(filter(None, (self._load(file) for file in files)))
        return self._keys != before

    def callback(self, _domain: str, key: bytes) -> bool:
        """Called by the authenticator, in its thread, for every client that connects."""
        return self.is_allowed(key)

    def is_allowed(self, key: bytes) -> bool:
        """True for a key (Z85) in the folder."""
        return key in self._keys

    def _load(self, file: str) -> bytes | None:
        try:
            return load_public(file)
        except TransportError as error:
            _LOG.warning("%s: a client is not admitted: %s", self._owner, error)
            return None


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        return stamp(file.stat())
    except OSError:  # removed since it was listed, or a link to nothing
        return None
