"""A socket that listens for peers of many hosts: in a context of its own, with keys and a limit of connections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import zmq
from zmq.auth.thread import ThreadAuthenticator

from stream.transports.access import Access, encrypt, start_authenticator
from stream.transports.peers import AllowedKeys, Peers, disconnect
from stream.transports.socket_monitor import SocketMonitor
from stream.transports.zmq_socket import bind_address

Socket = zmq.Socket[bytes]

_KEYS_INTERVAL_S = 1.0
_CONNECTIONS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED


class ListeningSocket:
    """What ``make`` opens, bound to ``address``, and its ``peers``; not thread-safe.

    At most ``most`` peers are admitted, which ``option`` sets; ``owner`` names the socket in messages. Raises
    :class:`TransportError`; a port in use is retried for ``bind_timeout_s``.
    """

    def __init__(
        self,
        make: Callable[[zmq.Context[Socket]], Socket],
        address: str,
        *,
        access: Access | None,
        owner: str,
        most: int,
        option: str,
        bind_timeout_s: float = 0.0,
    ) -> None:
        access = access or Access()
        self._next_keys_s = 0.0
        # A separate context, since its authenticator must not apply to the line's own links.
        self._context: zmq.Context[Socket] = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        try:
            self.allowed = AllowedKeys(access.clients, owner) if access.clients is not None else None
            self._authenticator = start_authenticator(self._context, self.allowed)
            self.socket = make(self._context)
            self._monitor = SocketMonitor(self.socket, _CONNECTIONS)
            encrypt(self.socket, access)
            self.endpoint, self._listener = bind_address(self.socket, address, owner, bind_timeout_s, is_private=False)
        except BaseException:
            self._end_context()
            raise
        self.peers = Peers(most, lambda descriptor: disconnect(descriptor, self.endpoint), owner, option)

    def restore(self) -> None:
        """Listen anew where another program has removed the path of the socket; to be called often."""
        if self._listener is not None:
            self._listener.restore()

    def connections(self, timeout_ms: int = 0) -> Iterator[tuple[int, bool]]:
        """Wait for connections to begin or end; yield the descriptor of each, and True where it has begun."""
        for kind, descriptor in self._monitor.read(timeout_ms):
            yield descriptor, kind == zmq.EVENT_ACCEPTED

    def revoke_keys(self) -> None:
        """Disconnect peers whose keys were removed from their folder, which is read once a second."""
        if self.allowed is not None and time.monotonic() >= self._next_keys_s:
            self._next_keys_s = time.monotonic() + _KEYS_INTERVAL_S
            if self.allowed.refresh():
                self.peers.revoke(self.allowed.is_allowed)

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket, which sends for up to ``linger_ms``; idempotent."""
        if not self.socket.closed:
            self._monitor.close()
            if self._listener is not None:
                self._listener.close()
            self.socket.close(linger_ms)
            self._end_context()

    def _end_context(self) -> None:
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.destroy()
