"""How long a supervisor waits, and how often it restarts a part."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class RestartPolicy:
    """The limits of a supervisor; all but ``restarts`` in seconds.

    A part that is silent for ``silence_s`` (its heartbeat comes twice a second) or whose loop has not turned for
    ``hang_s`` is killed and restarted, after a delay that doubles from ``first_delay_s`` to ``longest_delay_s``. After
    ``restarts`` restarts within ``within_s`` the supervisor gives up, and the line ends. A part has ``opening_s`` to
    open its elements, since a network may take long to load, and as long to end once it has closed them. A clean stop
    takes at most ``stop_s`` to deliver what is in flight, longer only while a part reports progress in a long step, as
    writing a file, and then at most ``quit_s`` until all processes have ended.
    """

    silence_s: float = 4.0
    hang_s: float = 10.0
    opening_s: float = 120.0
    restarts: int = 5
    within_s: float = 60.0
    first_delay_s: float = 0.1
    longest_delay_s: float = 5.0
    stop_s: float = 10.0
    quit_s: float = 3.0


class Restarts:
    """The restarts of one part: when the next one is due, and whether there have been too many.

    >>> restarts = Restarts(RestartPolicy(restarts=2, within_s=60))
    >>> [restarts.delay_s(now_s) for now_s in (0.0, 1.0, 2.0)]
    [0.1, 0.2, None]
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._times_s: deque[float] = deque()
        self.count = 0

    def delay_s(self, now_s: float) -> float | None:
        """The part has ended: how long to wait before its restart, or None when there were too many."""
        while self._times_s and self._times_s[0] <= now_s - self._policy.within_s:
            self._times_s.popleft()
        recent = len(self._times_s)
        if recent >= self._policy.restarts:
            return None
        self._times_s.append(now_s)
        self.count += 1
        return float(min(self._policy.longest_delay_s, self._policy.first_delay_s * 2**recent))
