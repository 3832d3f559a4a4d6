"""Hands the newest frames to the viewers; each gets what it can take, and none delays another."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Collection

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from engines.formats.json import NOT_JSON

MAX_VIEWERS = 32
_IN_FLIGHT = 2
"""How many frames of a camera are on their way to a viewer that has not drawn them: the page is not further behind."""

_POLICY_VIOLATION, _TRY_AGAIN = 1008, 1013


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """What a viewer says: ``show``, the cameras that it wants from now on; ``drawn``, a camera of which it has drawn a
    frame."""

    show: list[int] | None = None
    drawn: int | None = None


_orders = msgspec.json.Decoder(Order)


class Viewer:
    """The frames of one viewer that wait, at most one of each camera; and what is on its way."""

    def __init__(self, state: str) -> None:
        self.shown: frozenset[int] = frozenset()
        self.state: str | None = state
        self.changed = asyncio.Event()
        self.changed.set()
        self._waiting: dict[int, bytes] = {}
        self._in_flight: Counter[int] = Counter()

    def offer(self, camera: int, packet: bytes) -> None:
        """The newest frame of a camera, in place of one that still waits."""
        if camera in self.shown:
            self._waiting[camera] = packet
            self.changed.set()

    def show(self, cameras: frozenset[int]) -> None:
        """From now on, these cameras."""
        self.shown = cameras
        self._waiting = {camera: packet for camera, packet in self._waiting.items() if camera in cameras}

    def drawn(self, camera: int) -> None:
        """A frame of a camera was drawn."""
        if self._in_flight[camera]:  # or a viewer could fill the memory with numbers of no camera
            self._in_flight[camera] -= 1
            self.changed.set()

    def tell(self, state: str) -> None:
        """The newest state."""
        self.state = state
        self.changed.set()

    def take(self) -> bytes | None:
        """A frame that may be sent now, the one that has waited longest."""
        for camera in self._waiting:
            if self._in_flight[camera] < _IN_FLIGHT:
                self._in_flight[camera] += 1
                return self._waiting.pop(camera)
        return None


class Hub:
    """All viewers; its methods are called in the thread of the event loop.

    ``on_watch`` is called with True when a viewer wants the first camera, and with False when none wants any.
    """

    def __init__(self, on_watch: Callable[[bool], None]) -> None:
        self._on_watch, self._is_watched = on_watch, False
        self._newest: dict[int, bytes] = {}
        self._state = "{}"
        self.viewers: set[Viewer] = set()

    def publish(self, camera: int, packet: bytes) -> None:
        """A new frame, whose bytes all viewers share."""
        self._newest[camera] = packet
        for viewer in self.viewers:
            viewer.offer(camera, packet)

    def forget(self, cameras: Collection[int]) -> None:
        """Drop the last frames of cameras that are not shown any more."""
        for camera in cameras:
            self._newest.pop(camera, None)

    def set_state(self, state: str) -> None:
        """A new state, for all viewers."""
        self._state = state
        for viewer in self.viewers:
            viewer.tell(state)

    async def serve(self, websocket: WebSocket) -> None:
        """Serve a viewer until it leaves; refuse it if there are too many."""
        await websocket.accept()
        if len(self.viewers) >= MAX_VIEWERS:
            await websocket.close(_TRY_AGAIN, f"{MAX_VIEWERS} viewers are connected, which is the most")
            return
        viewer = Viewer(self._state)
        self.viewers.add(viewer)
        sender = asyncio.create_task(self._send(websocket, viewer))
        try:
            with contextlib.suppress(WebSocketDisconnect):
                await self._receive(websocket, viewer)
        finally:
            self.viewers.discard(viewer)
            self._update_watched()
            sender.cancel()
            await asyncio.wait([sender])

    async def _receive(self, websocket: WebSocket, viewer: Viewer) -> None:
        while True:
            try:
                order = _orders.decode(await websocket.receive_text())
            except (*NOT_JSON, KeyError):  # the second for bytes in place of text
                await websocket.close(_POLICY_VIOLATION, "a viewer sends show or drawn")
                return
            if order.show is not None:
                self._show(viewer, frozenset(order.show))
            if order.drawn is not None:
                viewer.drawn(order.drawn)

    def _show(self, viewer: Viewer, cameras: frozenset[int]) -> None:
        added = cameras - viewer.shown
        viewer.show(cameras)
        for camera in added & self._newest.keys():
            viewer.offer(camera, self._newest[camera])
        self._update_watched()

    def _update_watched(self) -> None:
        is_watched = any(viewer.shown for viewer in self.viewers)
        if is_watched != self._is_watched:
            self._is_watched = is_watched
            self._on_watch(is_watched)

    async def _send(self, websocket: WebSocket, viewer: Viewer) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                await viewer.changed.wait()
                viewer.changed.clear()
                if viewer.state is not None:
                    state, viewer.state = viewer.state, None
                    await websocket.send_text(state)
                while (packet := viewer.take()) is not None:
                    await websocket.send_bytes(packet)
