"""A subscriber to the pictures that ``keypointsink pictures=true`` publishes beside the poses."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from stream.errors import VersionError, WireError
from stream.protocol import schema, topics
from stream.protocol.schema import Picture
from stream.protocol.subscriber import load_peer_keys
from stream.transports.subscription import Subscription

_PARTS = 2
_MAX_WAITING = 4
"""Pictures are worth nothing when they are late."""


class PictureSubscriber:
    """Receives the pictures of all cameras of a publisher; the publisher makes none while there is no such subscriber.

    The arguments are those of :class:`stream.protocol.subscriber.Subscriber`. ``malformed`` counts messages that are no
    pictures. Not thread-safe. Raises :class:`TransportError`, and :class:`VersionError` while receiving.
    """

    def __init__(
        self,
        address: str,
        *,
        prefix: str = "",
        server_key: str | Path | None = None,
        client_key: str | Path | None = None,
    ) -> None:
        self.malformed = 0
        self._subscription = Subscription(
            address,
            [topics.picture_topic("", prefix)],
            keys=load_peer_keys(server_key, client_key),
            max_bytes=schema.MAX_MESSAGE_BYTES,
            max_waiting=_MAX_WAITING,
        )

    def poll(self, timeout_s: float = 0.0) -> Picture | None:
        """Return the next picture; None if none arrives within ``timeout_s``."""
        if not self._subscription.poll(int(timeout_s * 1000)):
            return None
        parts = self._subscription.receive()
        try:
            found = schema.decode(parts[1].bytes) if len(parts) == _PARTS else None
        except WireError as error:
            if isinstance(error, VersionError):
                raise
            found = None
        if isinstance(found, Picture):
            return found
        self.malformed += 1
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._subscription.close()
