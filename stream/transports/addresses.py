"""Addresses of sockets that mean the same, however they are written."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable

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
