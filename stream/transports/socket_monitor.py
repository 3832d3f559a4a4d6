"""What happened to the connections of a socket, as ZeroMQ's monitor reports it, and why a connection was refused.

ZeroMQ gives up a connection for good when its peer breaks the protocol: the socket stays open and never receives
anything again. :class:`ConnectionWatch` detects that.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import parse_monitor_message

_LOG = logging.getLogger(__name__)
_ADDRESSES = itertools.count()

GIVEN_UP_S = 0.3
"""After a lost connection, ZeroMQ announces within microseconds that it tries again; after so long, it will not."""

_TRYING = zmq.EVENT_CONNECTED | zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED
_HANDSHAKE = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
CONNECTING = _TRYING | _HANDSHAKE | zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
"""What :class:`ConnectionState` reads."""


class SocketMonitor:
    """The events of a socket's connections, of the kinds in the mask ``events``, as (kind, value).

    They must be read: unread ones are kept without a bound, since ZeroMQ would otherwise stop the socket.
    """

    def __init__(self, socket: zmq.Socket[bytes], events: int) -> None:
        # pyzmq's own address contains a descriptor, which the next socket may have while this monitor still exists.
        address = f"inproc://monitor-{os.getpid()}-{next(_ADDRESSES)}"
        self._socket = socket
        socket.monitor(address, events)
        self._pair = socket.context.socket(zmq.PAIR)
        self._pair.rcvhwm = self._pair.linger = 0
        self._pair.connect(address)

    def read(self, timeout_ms: int = 0) -> Iterator[tuple[int, int]]:
        """Yield the events that wait; wait up to ``timeout_ms`` (-1: without limit) for the first."""
        while self._pair.poll(timeout_ms):
            event = parse_monitor_message(self._pair.recv_multipart())
            yield int(event["event"]), int(event["value"])
            timeout_ms = 0

    def stop(self) -> None:
        """End the events; the last one is ``MONITOR_STOPPED``, if the mask has it."""
        if not self._socket.closed:
            self._socket.monitor(None, 0)

    def close(self) -> None:
        """Release the monitor, before its context ends."""
        self.stop()
        self._pair.close()


@dataclass(frozen=True, slots=True)
class PeerTerms:
    """What the peer of a connecting socket is, and the names of what settles who may connect: the peer's public key and
    one's own, and at the peer the folder of those who are admitted and their number."""

    kind: str
    server_key: str
    own_key: str
    admitted: str
    limit: str


PUBLISHER = PeerTerms("keypointsink", "server_key=", "client_key=", "clients=", "max_subscribers=")


class ConnectionState:
    """Whether a connecting socket is connected, and why its last connection was refused, from its events.

    ``has_keys`` if it uses CURVE.
    """

    def __init__(self, *, has_keys: bool = False, terms: PeerTerms = PUBLISHER) -> None:
        self.refusal = ""
        self.is_connected = False
        self._has_keys, self._terms = has_keys, terms
        self._is_established = False
        self._lost_s: float | None = None

    def take(self, kind: int, value: int, now_s: float) -> None:
        """Take an event."""
        self.is_connected = kind == zmq.EVENT_HANDSHAKE_SUCCEEDED
        if kind == zmq.EVENT_DISCONNECTED:
            self._lost_s = now_s
        elif kind & _TRYING:
            self._lost_s = None
            self._is_established &= kind != zmq.EVENT_CONNECTED
        elif kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._is_established, self.refusal = True, ""
        elif kind == zmq.EVENT_CLOSED:  # nothing listens there
            self.refusal = ""
        elif kind & _HANDSHAKE:
            self.refusal = self._describe(kind, value)

    def is_given_up(self, now_s: float) -> bool:
        """True if the connection is lost and ZeroMQ does not try again; then the socket must be replaced."""
        if self._lost_s is None or now_s - self._lost_s < GIVEN_UP_S:
            return False
        if self._is_established:
            self.refusal = "it sent what this protocol forbids, such as a message that is too long"
        elif not self.refusal:
            self.refusal = self._is_another
        return True

    @property
    def _is_another(self) -> str:
        return f"what listens there is no {self._terms.kind}; check the address"

    def _describe(self, kind: int, value: int) -> str:
        terms = self._terms
        if kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return (
                f"it does not know this key; put the public key into its {terms.admitted} folder, "
                f"or give {terms.own_key} another"
            )
        if kind == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            if value != zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
                return self._is_another
            if self._has_keys:
                return f"it uses no keys; leave out {terms.server_key} and {terms.own_key}"
            return f"it requires CURVE keys; give {terms.server_key} (its .key file)"
        if value == errno.EAGAIN:
            return "it accepts connections but does not answer; check the address"
        keys = (
            f"refuses these keys ({terms.server_key}, {terms.own_key})"
            if self._has_keys
            else f"requires CURVE keys ({terms.server_key})"
        )
        return f"it closes the connection: it is no {terms.kind}, {keys}, or has {terms.limit} already"


class ConnectionWatch:
    """Watches a connecting socket in a thread, and logs each reason for which its connection is refused once.

    ``logged`` are those that were logged since a connection was last made; the watch of the next socket gets them too.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        owner: str,
        *,
        has_keys: bool = False,
        last_refusal: str = "",
        logged: set[str] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._owner, self._now_s = owner, now_s
        self._state = ConnectionState(has_keys=has_keys)
        self._state.refusal = last_refusal
        self._logged = {last_refusal} if logged is None else logged
        self._monitor = SocketMonitor(socket, CONNECTING)
        self._thread = threading.Thread(target=self._run, name=f"{owner}-connection", daemon=True)
        self._thread.start()

    @property
    def refusal(self) -> str:
        """Why the last connection was refused; empty if it was not."""
        return self._state.refusal

    def is_given_up(self) -> bool:
        """True if ZeroMQ has given up the connection; then the socket must be replaced."""
        given_up = self._state.is_given_up(self._now_s())
        self._log()
        return given_up

    def close(self) -> None:
        """Stop watching; to be called before the socket is closed."""
        self._monitor.stop()
        self._thread.join()
        self._monitor.close()

    def _run(self) -> None:
        while True:
            for kind, value in self._monitor.read(timeout_ms=-1):
                if kind == zmq.EVENT_MONITOR_STOPPED:
                    return
                self._state.take(kind, value, self._now_s())
                if self._state.is_connected:
                    self._logged.clear()
                self._log()

    def _log(self) -> None:
        if (refusal := self._state.refusal) and refusal not in self._logged:
            self._logged.add(refusal)
            _LOG.warning("%s is refused: %s", self._owner, refusal)
