"""Why a live address cannot be opened, where FFmpeg's reason is none: ``Invalid data``, ``Input/output error``."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
_TIMEOUT_S = 1.0


def find_reason(url: str) -> str:
    """A reason in a few words, found by connecting to the address once more; empty where none is found.

    ``url`` is revealed; nothing of it but the name of the host is in the reason.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        return ""
    port = parts.port or _PORTS[scheme]
    try:
        socket.create_connection((parts.hostname, port), _TIMEOUT_S).close()
    except socket.gaierror:
        return f"no host is called {parts.hostname!r}"
    except TimeoutError:
        return f"no answer on port {port}"
    except OSError as error:
        return error.strerror or str(error)
    return f"what answers on port {port} is no {scheme.upper()} server"
