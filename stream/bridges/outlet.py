"""The interface of what a bridge sends to, and what every kind of address has in common."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from engines.url import Url
from stream.errors import TransportError
from stream.protocol.pose_message import PoseMessage

_UNSAFE = re.compile(r"[^\w.~-]")


class Outlet(ABC):
    """Sends messages to one address; a context manager. No method but :meth:`close` waits for the other side."""

    default_rate_hz: float | None = None
    """How many messages of a camera are sent in a second unless the user says otherwise; None for all."""

    @abstractmethod
    def send(self, message: PoseMessage) -> bool:
        """Send a message; False when the other side cannot take it now."""

    @property
    def trouble(self) -> str:
        """Why nothing can be sent at the moment, or why what was sent is refused; empty when all is well."""
        return ""

    @property
    def keeps(self) -> bool:
        """False if what meets this trouble is lost, since it would be refused again."""
        return True

    @property
    def lost(self) -> int:
        """How many messages were taken by :meth:`send` and then not delivered, as far as the other side tells."""
        return 0

    @property
    def unread(self) -> Mapping[str, int]:
        """How many messages were taken that not all who might have read them did, by reason; none of them is lost to
        an address that must have it."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Deliver what was taken, for a few seconds at most, and close the connection. Idempotent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Target:
    """The components of an address: host, port, user and password (empty without any), and path without slashes."""

    host: str
    port: int
    user: str
    password: str
    path: str


def split_address(address: Url, port: int, path: str = "") -> Target:
    """Take an address apart; ``port`` and ``path`` are those of an address without any.

    Raises :class:`TransportError` for one without a host, or with a port that is none.

    >>> split_address(Url("mqtt://10.0.0.5/site/poses"), 1883)
    Target(host='10.0.0.5', port=1883, user='', password='', path='site/poses')
    """
    parts = urlsplit(address.reveal())
    try:
        given = parts.port
    except ValueError:
        raise TransportError(f"{address} has no valid port; write a number from 1 to 65535 after the host") from None
    if not parts.hostname:
        raise TransportError(f"{address} has no host; write {parts.scheme}://HOST:{port}")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Target(parts.hostname, given or port, user, password, unquote(parts.path).strip("/") or path)


def quote_level(name: str) -> str:
    """The name of a camera as one level of a topic: what has a meaning in topics is percent-encoded.

    >>> quote_level("hall/2"), quote_level("Küche")
    ('hall%2F2', 'Küche')
    """
    return _UNSAFE.sub(lambda match: quote(match[0], safe=""), name)
