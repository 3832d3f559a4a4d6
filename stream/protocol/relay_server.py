"""The sockets of a relay: publishers connect to one, subscribers to the other, and it passes between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from stream.errors import TransportError
from stream.protocol import schema, topics
from stream.protocol.placements import Placements
from stream.protocol.relay import Relay, RelayStatistics
from stream.transports import zmq_socket
from stream.transports.access import Access
from stream.transports.curve import REMEDY, Keys
from stream.transports.intake import Intake
from stream.transports.publisher import Publisher, PublisherStatistics

DEFAULT_PUBLISHERS = "tcp://127.0.0.1:5571"

_LOG = logging.getLogger(__name__)

_OWNER = "relay"
_TURN_MS = 50
_CHECK_S = 0.2


class RelayServer:
    """A relay: ``publishers`` is the address to which publishers connect, ``bind`` that of subscribers.

    ``keys`` is its CURVE pair, for both; ``clients`` and ``publisher_keys`` are folders with the public keys of the
    subscribers and of the publishers that are admitted. The file ``placements`` keeps those beyond a restart. Raises
    :class:`TransportError` for an address that is invalid, in use, or beyond loopback without keys.
    """

    def __init__(
        self,
        bind: str,
        publishers: str = DEFAULT_PUBLISHERS,
        *,
        keys: Keys | None = None,
        clients: Path | None = None,
        publisher_keys: Path | None = None,
        prefix: str = "",
        heartbeat_ms: int = 1000,
        max_waiting: int = 256,
        max_subscribers: int = 256,
        max_publishers: int = 256,
        rate: float = 1000.0,
        placements: Path | None = None,
    ) -> None:
        _check_access(bind, publishers, keys, clients, publisher_keys)
        self._prefix, self._next_check_s, self._has_said_slow = prefix, 0.0, False
        self._relay = Relay(
            self._publish,
            self._answer,
            now_ns=time.time_ns,
            now_s=time.monotonic,
            prefix=prefix,
            heartbeat_ms=heartbeat_ms,
            rate=rate,
            placements=Placements(placements),
        )
        self._intake = Intake(
            publishers,
            topics=topics.RELAYED,
            on_disconnected=self._relay.disconnected,
            max_bytes=schema.MAX_MESSAGE_BYTES,
            max_publishers=max_publishers,
            access=Access(keys, publisher_keys),
            owner=_OWNER,
        )
        try:
            cache = self._relay.cache
            self._publisher = Publisher(
                bind,
                snapshot=cache.snapshot,
                heartbeat=lambda: (topics.heartbeat_topic(prefix), cache.heartbeat()),
                heartbeat_ms=heartbeat_ms,
                max_waiting=max_waiting,
                max_subscribers=max_subscribers,
                access=Access(keys, clients),
                owner=_OWNER,
            )
        except BaseException:
            self._intake.close()
            raise

    @property
    def bind(self) -> str:
        """The address of subscribers, with the chosen port."""
        return self._publisher.endpoint

    @property
    def publishers(self) -> str:
        """The address of publishers, with the chosen port."""
        return self._intake.endpoint

    @property
    def refused(self) -> int:
        """Publishers that were disconnected for a limit or a revoked key."""
        return self._intake.refused

    def statistics(self) -> tuple[RelayStatistics, PublisherStatistics]:
        """The counters of both sides."""
        return self._relay.statistics(), self._publisher.statistics()

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Pass messages on until ``is_stopped``."""
        while not is_stopped():
            for parts, connection in self._intake.receive(_TURN_MS):
                if not self._relay.take([part.buffer for part in parts], connection):
                    self._intake.count_stray(parts)
            if time.monotonic() >= self._next_check_s:
                self._next_check_s = time.monotonic() + _CHECK_S
                self._relay.check_silence()
                self._intake.want(self._wanted_pictures())
                self._say_if_slow()

    def close(self) -> None:
        """Close both sockets; idempotent."""
        self._intake.close()
        self._publisher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _publish(self, topic: str, payload: bytes) -> None:
        self._publisher.publish(topic, payload)

    def _answer(self, content: bytes) -> None:
        self._intake.answer(content)

    def _say_if_slow(self) -> None:
        if self._publisher.statistics().overflows and not self._has_said_slow:
            self._has_said_slow = True
            _LOG.warning("%s: a subscriber does not keep up, and loses messages; others lose none", _OWNER)

    def _wanted_pictures(self) -> frozenset[str]:
        """The topics of the pictures that a subscriber wants, of known cameras: publishers encode no others."""
        is_wanted = self._publisher.is_wanted
        known = self._relay.cameras
        return frozenset(
            topics.picture_topic(name) for name in known if is_wanted(topics.picture_topic(name, self._prefix))
        )


def _check_access(
    bind: str, publishers: str, keys: Keys | None, clients: Path | None, publisher_keys: Path | None
) -> None:
    remedy = f"give --keys, or an address of 127.0.0.1 ({REMEDY})"
    for address, option in ((bind, "--bind"), (publishers, "--publishers")):
        zmq_socket.check_address(address, f"relay {option}", has_keys=keys is not None, remedy=remedy)
    for folder, option in ((clients, "--clients"), (publisher_keys, "--publisher-keys")):
        if folder is not None and keys is None:
            raise TransportError(f"relay: {option} {folder} has no effect without --keys; give --keys as well")
    if keys is not None and publisher_keys is None:
        raise TransportError(
            "relay: with --keys, everybody who has its public key could publish; give --publisher-keys, a folder with "
            "the .key files of those who may"
        )
