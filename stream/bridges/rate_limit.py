"""Limits how many messages of each camera pass in a second, and lets the newest pass."""

from __future__ import annotations

from stream.protocol.pose_message import PoseMessage


class RateLimit:
    """Passes at most ``rate_hz`` messages a second of each camera; all of them where it is None.

    A message that comes too early waits until its turn, and a newer one takes its place; so the last message before a
    pause, in which the room has become empty, say, is passed too. ``now_s`` is any clock that only goes forward.

    >>> limit = RateLimit(rate_hz=5)
    >>> frames = [PoseMessage("hall", n, n, 0, 0, (640, 480), "coco17", ()) for n in range(3)]
    >>> [message.frame_seq for message in limit.offer(frames[0], now_s=0.0)]
    [0]
    >>> limit.offer(frames[1], now_s=0.05), limit.offer(frames[2], now_s=0.1)
    ([], [])
    >>> [message.frame_seq for message in limit.due(now_s=0.35)], limit.thinned
    ([2], 1)
    """

    def __init__(self, rate_hz: float | None) -> None:
        self._interval_s = 0.0 if rate_hz is None else 1.0 / rate_hz
        self._next_s: dict[str, float] = {}
        self._waiting: dict[str, PoseMessage] = {}
        self.thinned = 0
        """How many messages were left out, since a newer one took their place."""

    def offer(self, message: PoseMessage, now_s: float) -> list[PoseMessage]:
        """Take a message, and return it if its camera has its turn."""
        if message.camera in self._waiting:
            self.thinned += 1
        self._waiting[message.camera] = message
        return self._pass(message.camera, now_s) if self._next_s.get(message.camera, now_s) <= now_s else []

    def due(self, now_s: float) -> list[PoseMessage]:
        """The messages whose turn was half an interval ago, so that no newer one is likely to come."""
        late = [camera for camera in self._waiting if self._next_s[camera] + self._interval_s / 2 <= now_s]
        return [message for camera in late for message in self._pass(camera, now_s)]

    def _pass(self, camera: str, now_s: float) -> list[PoseMessage]:
        # Turns keep their distance on average, unless the camera paused.
        self._next_s[camera] = max(self._next_s.get(camera, now_s) + self._interval_s, now_s)
        return [self._waiting.pop(camera)]

    def flush(self) -> list[PoseMessage]:
        """All messages that wait, at the end."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return waiting
