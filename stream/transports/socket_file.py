"""The file of a socket that is bound to an ``ipc://`` address: others find the socket by it, and it may be removed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import zmq

_SCHEME = "ipc://"


class SocketFile:
    """The file of ``socket``, which is bound to ``address``; of another address, nothing happens.

    Connections outlive the file, so that only what connects afterwards, such as a part that is restarted, would notice.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self._socket, self._address = socket, address
        self._path = Path(address.removeprefix(_SCHEME)) if address.startswith(_SCHEME) else None
        self._made = self._identify()

    def restore(self) -> None:
        """Bind again if the file was removed or replaced. Connections that exist are kept."""
        if self._path is None or self._identify() == self._made:
            return
        # The address is not unbound first: ZeroMQ does that in another thread, and would remove the new file.
        with contextlib.suppress(zmq.ZMQError):  # its folder is gone too
            self._socket.bind(self._address)
            self._made = self._identify()

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat() if self._path is not None else None
        except OSError:
            found = None
        return (found.st_dev, found.st_ino) if found is not None else None
