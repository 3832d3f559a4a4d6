"""Links within one process, with the same guarantees and no socket.

exchange = Exchange()
inbox = exchange.open_inbox("people")
outbox = exchange.open_outbox("people", "track")
"""

from __future__ import annotations

from collections import defaultdict, deque
from threading import Condition

from stream.errors import TransportError
from stream.transports.base import Leaky
from stream.transports.endpoint import HopInbox, HopOutbox
from stream.transports.hop_notes import Parts


class Exchange:
    """Connects ends with the same address. Messages on their way to a receiver are lost when it is closed."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.listening: set[str] = set()
        self.to_receiver: dict[str, deque[tuple[bytes, Parts]]] = defaultdict(deque)
        self.to_sender: dict[tuple[str, bytes], deque[Parts]] = defaultdict(deque)

    def open_outbox(self, address: str, sender: str) -> HopOutbox:
        """Open the sending end to the receiver at ``address``, which may start later.

        ``sender`` must be the same after a restart.
        """
        return HopOutbox(_SenderSide(self, address, sender.encode()), f"link from {sender} to {address}")

    def open_inbox(self, address: str, *, leaky: Leaky = "no", max_items: int = 1) -> HopInbox:
        """Open the receiving end. Raises :class:`TransportError` if the address has a receiver."""
        if address in self.listening:
            raise TransportError(f"{address} already has a receiver; close it or choose another address")
        inbox = HopInbox(_ReceiverSide(self, address), leaky, max_items)
        self.listening.add(address)
        return inbox


class _SenderSide:
    def __init__(self, exchange: Exchange, address: str, sender: bytes) -> None:
        self._exchange, self._address, self._sender = exchange, address, sender
        self._incoming = exchange.to_sender[address, sender]

    @property
    def pollable(self) -> Condition:
        return self._exchange.changed

    def write(self, parts: Parts) -> bool:
        with self._exchange.changed:
            if self._address in self._exchange.listening:
                self._exchange.to_receiver[self._address].append((self._sender, parts))
                self._exchange.changed.notify_all()
        return True

    def read(self) -> Parts | None:
        return self._incoming.popleft() if self._incoming else None

    def wait(self, timeout_ms: int) -> None:
        with self._exchange.changed:
            self._exchange.changed.wait_for(lambda: bool(self._incoming), timeout_ms / 1000)

    def close(self) -> None:
        return None


class _ReceiverSide:
    refused = 0

    def __init__(self, exchange: Exchange, address: str) -> None:
        self._exchange, self._address = exchange, address
        self._closed = False
        self._incoming = exchange.to_receiver[address]

    @property
    def pollable(self) -> Condition:
        return self._exchange.changed

    def write(self, sender: bytes, parts: Parts) -> None:
        with self._exchange.changed:
            self._exchange.to_sender[self._address, sender].append(parts)
            self._exchange.changed.notify_all()

    def read(self) -> tuple[bytes, Parts] | None:
        return self._incoming.popleft() if self._incoming else None

    def wait(self, timeout_ms: int) -> None:
        with self._exchange.changed:
            self._exchange.changed.wait_for(lambda: bool(self._incoming), timeout_ms / 1000)

    def close(self) -> None:
        with self._exchange.changed:
            if not self._closed:
                self._exchange.listening.discard(self._address)
                self._exchange.to_receiver.pop(self._address, None)
            self._closed = True
