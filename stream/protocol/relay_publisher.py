"""Publishes at a relay, in place of a socket of its own that listens."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable

from stream.errors import TransportError, WireError
from stream.protocol import origin, topics
from stream.protocol.last_values import LastValues
from stream.protocol.origin import Origin, Verdict
from stream.transports.relay_link import Introduction, RelayLink
from stream.transports.subscription import PeerKeys

_LOG = logging.getLogger(__name__)

JOIN_S = 2.0
"""How long opening waits for the relay."""

PATIENCE_S = 30.0
"""How long a line of files, which loses nothing while it can wait, waits for a relay that is away."""

_STEP_S = 0.01
_HEAD = topics.poses_topic("")


class RelayPublisher:
    """Publishes what a publisher of ``cache``'s session sends at the relay at ``address``; its methods are those of
    :class:`stream.transports.publisher.Publisher`.

    A message that the relay does not take is dropped and counted, or, if it ``waits``, tried again for
    :data:`PATIENCE_S`, in which ``progress()`` is called; then :class:`TransportError` is raised.
    """

    def __init__(
        self,
        address: str,
        cache: LastValues,
        *,
        placement: int = 0,
        name: str = "",
        waits: bool = False,
        progress: Callable[[], object] = lambda: None,
        heartbeat_ms: int = 1000,
        max_waiting: int = 256,
        keys: PeerKeys | None = None,
        owner: str = "publisher",
    ) -> None:
        self.endpoint, self._owner, self._session = address, owner, cache.session
        self._waits, self._progress, self._patience_s = waits, progress, PATIENCE_S
        self._refused: dict[str, Verdict] = {}
        sender = Origin(session=cache.session, placement=placement, name=name or _describe_process())
        self._link = RelayLink(
            address,
            origin=origin.encode(sender),
            introduction=Introduction(frozenset(topics.RELAYED), cache.introduction),
            heartbeat=lambda: (topics.heartbeat_topic(), cache.heartbeat()),
            on_answer=self._take_answer,
            heartbeat_ms=heartbeat_ms,
            max_waiting=max_waiting,
            keys=keys,
            owner=owner,
        )
        self._link.wait_until_joined(JOIN_S)

    @property
    def dropped(self) -> int:
        """Messages that the relay has not taken."""
        return self._link.dropped

    def publish(self, topic: str, payload: bytes) -> None:
        """Send to the relay; see the class for what it does if that is not possible."""
        camera = topic.removeprefix(_HEAD) if topic.startswith(_HEAD) else None
        if not self._waits:
            self._try(topic, payload, camera, counts=camera is not None)
            return
        end_s = time.monotonic() + self._patience_s
        while not self._try(topic, payload, camera, counts=False):
            if time.monotonic() >= end_s or self._is_final(camera):
                self._patience_s = 0.0  # until the relay is back
                raise TransportError(f"{self._owner}: {self._describe_failure(camera)}")
            self._progress()
            time.sleep(_STEP_S)
        self._patience_s = PATIENCE_S

    def is_wanted(self, topic: str) -> bool:
        """True if a subscriber of the relay wants ``topic``."""
        return self._link.is_wanted(topic)

    def wait_until_asked(self, timeout_s: float) -> None:
        """Wait for nothing: who joins the relay later is answered by it."""

    def status(self) -> str:
        """A few words, where something is amiss; else empty."""
        refused = ", ".join(sorted(camera for camera, _ in self._refused.copy().items()))
        return ", ".join(filter(None, (self._link.status(), f"relay refuses {refused}" if refused else "")))

    def close(self) -> None:
        """Send a last heartbeat and close; idempotent."""
        self._link.close()

    def _try(self, topic: str, payload: bytes, camera: str | None, *, counts: bool) -> bool:
        if camera in self._refused:
            self._link.dropped += counts
            return False
        return self._link.publish(topic, payload, counts=counts)

    def _is_final(self, camera: str | None) -> bool:
        verdict = self._refused.get(camera or "")
        return verdict is not None and verdict.is_final

    def _describe_failure(self, camera: str | None) -> str:
        verdict = self._refused.get(camera or "")
        if verdict is not None:
            return f"the relay {self.endpoint} refuses camera {camera!r}: {verdict.reason}"
        if self._link.refusal:
            return f"the relay {self.endpoint} refuses this publisher: {self._link.refusal}"
        return (
            f"the relay {self.endpoint} has taken nothing for {PATIENCE_S:g} s; "
            "start 'posestream relay' there, or check the address"
        )

    def _take_answer(self, content: bytes) -> None:
        """Take what the relay tells all its publishers; most is for others."""
        try:
            verdict = origin.decode_verdict(content)
        except WireError:  # of a later version
            return
        if verdict.session != self._session:
            return
        before = self._refused.pop(verdict.camera, None)
        if verdict.reason:
            self._refused[verdict.camera] = verdict
        if verdict == before:
            return
        if verdict.reason:
            text = f"refuses camera {verdict.camera!r}: {verdict.reason}"
        else:
            text = f"takes camera {verdict.camera!r} again"
        _LOG.warning("%s: the relay %s %s", self._owner, self.endpoint, text)


def _describe_process() -> str:
    return f"process {os.getpid()} on {platform.node()}"
