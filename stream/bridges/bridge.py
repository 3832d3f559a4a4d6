"""The loop of a bridge: from a subscriber, through a limit and a bounded buffer, to an outlet."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from engines.url import Url
from stream.bridges.outlet import Outlet
from stream.bridges.rate_limit import RateLimit
from stream.bridges.sampling import Sampling
from stream.protocol.pose_message import PoseMessage
from stream.protocol.subscriber import Subscriber

_log = logging.getLogger(__name__)

_POLL_S = 0.02

Report = Callable[[str], None]


class Bridge:
    """Passes what ``subscriber`` receives on to ``outlet``.

    ``limit`` says which messages are sent, and ``max_waiting`` messages wait while the other side cannot take them;
    then the oldest are dropped. The message of a camera from before the subscription is not passed on, since it may be
    old; one that a snapshot has after a reconnection is.
    ``report`` is called with one line when the other side is away and when it is back.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        outlet: Outlet,
        to: Url,
        *,
        limit: RateLimit | Sampling,
        max_waiting: int,
        report: Report,
    ) -> None:
        self._subscriber, self._outlet, self._to, self._report = subscriber, outlet, to, report
        self._limit = limit
        self._known: set[str] = set()
        self._waiting: deque[PoseMessage] = deque()
        self._max_waiting = max_waiting
        self._away_since_s: float | None = None
        self._dropped_before = 0
        self.sent: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    @property
    def thinned(self) -> int:
        """How many messages the limit left out."""
        return self._limit.thinned

    @property
    def undelivered(self) -> int:
        """How many messages were dropped, wait still, or were lost on their way."""
        return self.dropped.total() + len(self._waiting) + self._outlet.lost

    @property
    def unread(self) -> Mapping[str, int]:
        """How many messages the outlet took that were not read by all, by reason."""
        return self._outlet.unread

    @property
    def lost(self) -> int:
        """How many messages the subscriber has lost."""
        return self._subscriber.statistics.total.lost

    def close(self) -> None:
        """Let the outlet deliver what it has taken, for a few seconds at most."""
        self._outlet.close()

    def run(self, is_stopped: Callable[[], bool]) -> None:
        """Pass messages on until ``is_stopped`` or the subscriber has finished; what waits then is tried once more."""
        while not is_stopped() and not self._subscriber.finished:
            message = self._subscriber.poll(_POLL_S)
            now_s = time.monotonic()
            if message is not None and (message.camera in self._known or not message.retained):
                self._keep(self._limit.offer(message, now_s))
            if message is not None:
                self._known.add(message.camera)
            self._keep(self._limit.due(now_s))
            self._send(now_s)
        self._keep(self._limit.flush())
        self._send(time.monotonic())

    def _keep(self, messages: list[PoseMessage]) -> None:
        self._waiting.extend(messages)
        while len(self._waiting) > self._max_waiting:
            self.dropped[self._waiting.popleft().camera] += 1

    def _send(self, now_s: float) -> None:
        while self._waiting and self._outlet.send(self._waiting[0]):
            camera = self._waiting.popleft().camera
            self.sent[camera] += 1
            if self.sent[camera] == 1:
                _log.info("%s has taken the first message of camera %r", self._to, camera)
        self._tell(self._outlet.trouble, now_s)

    def _tell(self, trouble: str, now_s: float) -> None:
        """Report the beginning and the end of an absence, once each."""
        if trouble and self._away_since_s is None:
            self._away_since_s, self._dropped_before = now_s, self.dropped.total()
            waiting = f"{self._max_waiting} messages wait for it, older ones are dropped"
            fate = waiting if self._outlet.keeps else "what it refuses is lost"
            self._report(f"{self._to} takes nothing: {trouble}; {fate}")
        elif not trouble and self._away_since_s is not None:
            dropped = self.dropped.total() - self._dropped_before
            self._report(f"{self._to} is back after {now_s - self._away_since_s:.1f} s; {dropped} messages dropped")
            self._away_since_s = None
