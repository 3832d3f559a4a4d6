"""Leaves all but one in so many messages of each camera out."""

from __future__ import annotations

from collections import Counter

from stream.protocol.pose_message import PoseMessage


class Sampling:
    """Passes the first of every ``every`` messages of each camera; it has the methods of a ``RateLimit``.

    >>> sampling = Sampling(every=100)
    >>> frames = [PoseMessage("hall", n, n, 0, 0, (640, 480), "coco17", ()) for n in range(250)]
    >>> [frame.frame_seq for frame in frames if sampling.offer(frame, now_s=0.0)], sampling.thinned
    ([0, 100, 200], 247)
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._seen: Counter[str] = Counter()
        self.thinned = 0
        """How many messages were left out."""

    def offer(self, message: PoseMessage, now_s: float) -> list[PoseMessage]:  # noqa: ARG002 - as a RateLimit has it
        """Take a message, and return it if its camera has its turn."""
        is_next = self._seen[message.camera] % self._every == 0
        self._seen[message.camera] += 1
        self.thinned += not is_next
        return [message] if is_next else []

    def due(self, now_s: float) -> list[PoseMessage]:  # noqa: ARG002 - as a RateLimit has it
        """No message waits for its turn."""
        return []

    def flush(self) -> list[PoseMessage]:
        """No message waits for the end."""
        return []
