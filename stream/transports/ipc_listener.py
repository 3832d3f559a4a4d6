"""Listens at the path of an ``ipc://`` address, and notices when the path is taken away.

ZeroMQ removes whatever is at the path before it binds, and the path again when it closes, even if both are another
program's by then. So the listening socket is made here and passed to ZeroMQ (``ZMQ_USE_FD``): only a socket of this
user without a listener is replaced, and only our own path is removed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket as network
import stat
import time
from pathlib import Path
from typing import NoReturn

import zmq

from stream.errors import TransportError
from stream.transports.file_identity import FileIdentity, identify, is_at

_logger = logging.getLogger(__name__)

_BACKLOG = 128
_CHECK_S = 1.0
"""How often :meth:`IpcListener.restore` looks at the path."""


class IpcListener:
    """Binds a ZeroMQ ``socket`` to ``address``, and keeps it bound; ``owner`` names it in messages.

    With ``is_private`` this user alone may connect, otherwise whom the umask allows it.
    Raises :class:`TransportError` if a file is in the way, and ``OSError`` as ``bind`` does.
    """

    def __init__(self, socket: zmq.Socket[bytes], address: str, owner: str, *, is_private: bool = True) -> None:
        self._socket, self._address, self._owner, self._is_private = socket, address, owner, is_private
        self._path = Path(address.removeprefix("ipc://"))
        self._next_check_s = 0.0
        self._has_warned = False
        self._file = self._bind()

    def restore(self) -> None:
        """Bind anew if the path was removed, or replaced by something else; call it often.

        Connections that exist are kept.
        """
        if time.monotonic() >= self._next_check_s:
            self._next_check_s = time.monotonic() + _CHECK_S
            if not is_at(self._path, self._file):
                self._restore()

    def _restore(self) -> None:
        # The former path is not unbound: that would end the connections that exist.
        try:
            self._file = self._bind(is_replaced=True)
        except (TransportError, zmq.ZMQError, OSError) as error:
            if not self._has_warned:
                _logger.warning("%s has lost its socket %s: %s", self._owner, self._path, _describe(error))
            self._has_warned = True
        else:
            self._has_warned = False
            _logger.warning("%s: %s was removed by another program and is made anew", self._owner, self._path)

    def close(self) -> None:
        """Remove the path if it is ours; idempotent. Close the ZeroMQ socket as well."""
        if is_at(self._path, self._file):
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _bind(self, *, is_replaced: bool = False) -> FileIdentity | None:
        clear(self._path, self._owner, is_replaced=is_replaced)
        with network.socket(network.AF_UNIX, network.SOCK_STREAM) as listening:
            listening.setblocking(False)
            listening.bind(str(self._path))
            if self._is_private:
                with contextlib.suppress(FileNotFoundError):  # removed already: it is made anew
                    self._path.chmod(0o600)
            listening.listen(_BACKLOG)
            self._socket.setsockopt(zmq.USE_FD, listening.fileno())
            try:
                self._socket.bind(self._address)
                listening.detach()  # ZeroMQ closes it
            finally:
                self._socket.setsockopt(zmq.USE_FD, -1)
        return identify(self._path)


def clear(path: Path, owner: str, *, is_replaced: bool = False) -> None:
    """Remove a socket of this user without a listener, so that another can be bound there.

    A file of this user is removed only if it ``is_replaced``: our socket was at this path before.

    Raises ``OSError`` with EADDRINUSE while another program listens at it, and :class:`TransportError` for anything
    else that is there.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if is_replaced and stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid():
        path.unlink(missing_ok=True)
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise TransportError(f"{owner} cannot listen on ipc://{path}: a file is there; move it or choose another path")
    if found.st_uid != os.getuid():
        raise TransportError(
            f"{owner} cannot listen on ipc://{path}: a socket of user {found.st_uid} is there; choose another path"
        )
    with network.socket(network.AF_UNIX, network.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            return
        except BlockingIOError:  # a program listens, its backlog is full
            _raise_in_use(path)
        else:
            _raise_in_use(path)


def _raise_in_use(path: Path) -> NoReturn:
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "another program listens there; end it"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
