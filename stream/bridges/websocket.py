"""``ws://``: a WebSocket server on this machine, for pages and programs that read JSON."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from engines.url import Url
from stream.bridges.outlet import Outlet, split_address
from stream.bridges.payload import encode_frame
from stream.errors import TransportError
from stream.protocol.pose_message import PoseMessage

__all__ = ("WebSocketOutlet",)

_PORT = 8765
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_START_S = 10.0
_MAX_CLIENTS = 64


class WebSocketOutlet(Outlet):
    """Serves on the address, which must be loopback's; every client gets each frame as a text message.

    With a path, clients must use it. A client that reads too slowly skips frames, and does not delay others. Pages of
    other sites cannot connect: a browser says where a page comes from, and only this machine's are let in.
    Raises :class:`TransportError` for another host, and for a port that is not free.
    """

    def __init__(self, address: Url) -> None:
        self._target = target = split_address(address, _PORT)
        if target.host not in _LOOPBACK:
            raise TransportError(
                f"{address} is open to other hosts; use ws://127.0.0.1:{target.port} behind a proxy that has TLS"
            )
        self._clients: dict[ServerConnection, asyncio.Queue[str]] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._errors: list[OSError] = []
        self._unheard = self._skipped = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        self._started.wait(_START_S)
        for error in self._errors:
            self._thread.join()
            self._loop.close()
            raise TransportError(f"cannot listen on {address}: {error.strerror}; choose another port") from error

    def send(self, message: PoseMessage) -> bool:
        """Give the frame to every client; the newest replaces one that a client has not read yet."""
        if self._clients:
            self._loop.call_soon_threadsafe(self._offer, encode_frame(message).decode())
        else:
            self._unheard += 1
        return True

    @property
    def unread(self) -> Mapping[str, int]:
        """Frames while no client was connected, and those that clients skipped."""
        return {"without a client": self._unheard, "skipped by clients that read too slowly": self._skipped}

    def close(self) -> None:
        """Disconnect all clients."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._loop.close()

    # -- in the server's thread ----------------------------------------------------------------------------------------

    def _offer(self, text: str) -> None:
        for waiting in self._clients.values():
            if waiting.full():
                waiting.get_nowait()
                self._skipped += 1
            waiting.put_nowait(text)

    async def _serve(self) -> None:
        try:
            async with serve(
                self._handle,
                self._target.host,
                self._target.port,
                process_request=self._refuse,
                max_size=1024,
                compression=None,
            ):
                self._started.set()
                await self._stop.wait()
        except OSError as error:
            self._errors.append(error)
            self._started.set()

    def _refuse(self, connection: ServerConnection, request: Request) -> Response | None:
        origin = request.headers.get("Origin")
        if origin and urlsplit(origin).hostname not in _LOOPBACK:
            return connection.respond(403, f"pages of {origin} may not read this; serve them from this machine\n")
        if self._target.path and request.path.strip("/") != self._target.path:
            return connection.respond(404, f"keypoints are at /{self._target.path}\n")
        if len(self._clients) >= _MAX_CLIENTS:
            return connection.respond(503, f"{_MAX_CLIENTS} clients are connected, which is the most\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        waiting: asyncio.Queue[str] = asyncio.Queue(1)
        self._clients[connection] = waiting
        sender = asyncio.ensure_future(self._send_to(connection, waiting))
        try:
            await connection.wait_closed()
        finally:
            sender.cancel()
            del self._clients[connection]

    async def _send_to(self, connection: ServerConnection, waiting: asyncio.Queue[str]) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send(await waiting.get())
