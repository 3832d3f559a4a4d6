"""Other programs that listen where a peer was expected."""

from __future__ import annotations

import socket as network
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\0" + b"NULL".ljust(20, b"\0") + bytes(32)
CURVE_GREETING = NULL_GREETING.replace(b"NULL\0", b"CURVE")


@contextmanager
def impostor(reply: bytes) -> Iterator[int]:
    """A server that answers every connection with ``reply`` and closes it; its port, which is free again afterwards."""
    with network.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server, reply))
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(network.SHUT_RDWR)
        thread.join()


def answer(server: network.socket, reply: bytes) -> None:
    while True:
        try:
            with server.accept()[0] as client:
                client.sendall(reply)
                client.settimeout(0.1)
                client.recv(1000)
        except TimeoutError:
            continue
        except OSError:
            if server.fileno() < 0 or not is_listening(server):
                return


def is_listening(server: network.socket) -> bool:
    return bool(server.getsockopt(network.SOL_SOCKET, network.SO_ACCEPTCONN))
