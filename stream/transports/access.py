"""Who may connect to a socket that listens: CURVE keys, and the folder of those who are admitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from stream.transports.curve import Keys
from stream.transports.peers import AllowedKeys

_DOMAIN = "posestream"


@dataclass(frozen=True, slots=True)
class Access:
    """Access control: ``keys`` turns encryption on; ``clients`` is a folder with the public keys of those who may
    connect. Without ``clients``, everybody who has the public key of ``keys`` may."""

    keys: Keys | None = None
    clients: Path | None = None


def start_authenticator(
    context: zmq.Context[zmq.Socket[bytes]], allowed: AllowedKeys | None
) -> ThreadAuthenticator | None:
    """Admit only ``allowed`` to the sockets of ``context``, which it must have for itself; None where all are."""
    if allowed is None:
        return None
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback(domain=_DOMAIN, credentials_provider=allowed)
    return authenticator


def encrypt(socket: zmq.Socket[bytes], access: Access) -> None:
    """Make a socket that will listen ask for keys, if ``access`` has some."""
    if access.keys is None:
        return
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = access.keys.public, access.keys.secret
    if access.clients is not None:
        socket.zap_domain = _DOMAIN.encode()


def find_connection(frame: zmq.Frame) -> int:
    """The descriptor of the connection that a message came from; -1 if it has ended."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


def find_user(frame: zmq.Frame) -> str:
    """The public key that the sender of a message has proved; empty without an authenticator."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
