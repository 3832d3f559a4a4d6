"""Addresses of sockets, however they are written: which mean the same, and which this host alone can reach."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Hashable

from stream.errors import PropertyError

_TCP = re.compile(r"tcp://(?P<host>\[[^\]]*\]|[^:]*):(?P<port>\d+)", re.ASCII)
_HOSTS = {"localhost": "127.0.0.1", "0.0.0.0": "*"}


def identify_address(address: str) -> Hashable:
    """Equal for two spellings of one address.

    >>> identify_address("tcp://LOCALHOST:05570") == identify_address("tcp://127.0.0.1:5570")
    True
    """
    if address.startswith("ipc://") and not address.startswith("ipc://@"):
        return "ipc", os.path.realpath(address.removeprefix("ipc://"))
    if match := _TCP.fullmatch(address):
        host = match["host"].lower()
        return "tcp", _HOSTS.get(host, host), int(match["port"])
    return address


def split_listen(listen: str, example: str, name: str = "--listen") -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, the value of ``name``. Raises :class:`PropertyError`, with an ``example``.

    >>> split_listen("[::1]:8080", "127.0.0.1:8080")
    ('::1', 8080)
    """
    host, colon, port = listen.rpartition(":")
    if not (host and colon and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise PropertyError(f"{name} {listen!r} is not HOST:PORT; write it as in {example}")
    return host.strip("[]"), int(port)


def is_loopback_host(host: str) -> bool:
    """True for ``localhost`` and the addresses of loopback, without brackets.

    >>> [is_loopback_host(host) for host in ("localhost", "127.0.0.2", "::1", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
