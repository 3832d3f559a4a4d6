"""Publishes at a relay, in place of a socket of its own that listens."""

from __future__ import annotations

import logging
import math
import os
import platform
import time
from collections.abc import Callable

from stream.errors import StartError, TransportError, WireError
from stream.protocol import origin, topics
from stream.protocol.last_values import LastValues
from stream.protocol.origin import Origin, Receipt, Verdict
from stream.transports.relay_link import Introduction, RelayLink
from stream.transports.subscription import PeerKeys

_LOG = logging.getLogger(__name__)

JOIN_S = 2.0
"""How long opening waits for the relay."""

PATIENCE_S = 30.0
"""How long a line of files, which loses nothing while it can wait, waits for a relay that is away."""

_REPLACED_S = 2.0
"""How long all cameras are refused for good before the line ends: its other cameras may not have begun."""

_STEP_S = 0.01
_OFFER_S = 0.5
"""How often a line of files offers the first message of a camera that the relay does not take yet."""

_HEAD = topics.poses_topic("")


class RelayPublisher:
    """Publishes what a publisher of ``cache``'s session sends at the relay at ``address``; its methods are those of
    :class:`stream.transports.publisher.Publisher`.

    A message that the relay does not take is dropped and counted, or, if it ``waits``, tried again for
    :data:`PATIENCE_S`, in which ``progress()`` is called; then it also waits, before the second message of a camera,
    until the relay has said that the camera is passed on. Raises :class:`StartError`, since no restart helps, if that
    is in vain, and if newer placements have replaced it for all its cameras.
    """

    def __init__(
        self,
        address: str,
        cache: LastValues,
        *,
        placement: int = 0,
        waits: bool = False,
        progress: Callable[[], object] = lambda: None,
        heartbeat_ms: int = 1000,
        max_waiting: int = 256,
        keys: PeerKeys | None = None,
        owner: str = "publisher",
    ) -> None:
        self.endpoint, self._owner, self._cache = address, owner, cache
        self._waits, self._progress = waits, progress
        self._cameras: set[str] = set()
        self._taken: set[str] = set()
        self._refused: dict[str, Verdict] = {}
        self._replaced_s = math.inf
        self._receipt: Receipt | None = None
        sender = Origin(session=cache.session, placement=placement, name=f"process {os.getpid()} on {platform.node()}")
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
        if not topic.startswith(_HEAD):
            self._link.publish(topic, payload, counts=False)  # a skeleton that is lost is in the introduction
            return
        camera = topic.removeprefix(_HEAD)
        self._cameras.add(camera)
        if not self._waits:
            self._try(camera, topic, payload, counts=True)
            return
        if camera in self._taken:
            is_sent = self._wait(lambda: self._try(camera, topic, payload, counts=False) or self._is_replaced(camera))
        else:
            is_sent = self._offer(camera, topic, payload)
        if not is_sent or self._is_replaced(camera):
            raise StartError(f"{self._owner}: {self._describe_failure(camera)}")

    def _offer(self, camera: str, topic: str, payload: bytes) -> bool:
        """Send the message again and again until the relay has said that it passes the camera on; False if that takes
        too long. What it receives twice it drops."""
        is_sent, again_s = False, 0.0

        def offer() -> bool:
            nonlocal is_sent, again_s
            was_refused = camera in self._refused
            if is_sent and camera in self._taken:
                return True
            if time.monotonic() >= again_s:
                is_sent = self._link.publish(topic, payload, counts=False) and not was_refused
                again_s = time.monotonic() + _OFFER_S
            return self._is_replaced(camera)

        return self._wait(offer)

    def confirm(self) -> None:
        """After the end of all cameras, make sure that the relay has passed on everything, if it ``waits``.

        Raises :class:`TransportError`.
        """
        sent = self._cache.sent
        if not self._waits or not sent:
            return
        self._link.send_heartbeat()
        if not self._wait(lambda: self._receipt and self._receipt.of == sent):
            raise TransportError(
                f"{self._owner}: the relay {self.endpoint} has not confirmed that it received everything; check its log"
            )
        if self._receipt and (missing := self._receipt.missing):
            before = "; what it passed on before it was restarted is not known" if self._link.joins > 1 else ""
            raise TransportError(
                f"{self._owner}: the relay {self.endpoint} has not passed on {missing:,} of {sent:,} messages; "
                f"its log says why{before}"
            )

    def is_wanted(self, topic: str) -> bool:
        """True if a subscriber of the relay wants ``topic``."""
        return self._link.is_wanted(topic)

    def wait_until_asked(self, timeout_s: float) -> None:
        """Wait for nothing: who joins the relay later is answered by it."""

    def status(self) -> str:
        """A few words, where something is amiss; else empty."""
        refused = ", ".join(sorted(self._refused.copy()))
        return ", ".join(filter(None, (self._link.status(), f"relay refuses {refused}" if refused else "")))

    def close(self) -> None:
        """Send a last heartbeat and close; idempotent."""
        self._link.close()

    # -- what the relay takes ------------------------------------------------------------------------------------------

    def _try(self, camera: str, topic: str, payload: bytes, *, counts: bool) -> bool:
        if camera not in self._refused:
            self._replaced_s = math.inf
            return self._link.publish(topic, payload, counts=counts)
        self._link.dropped += counts
        if time.monotonic() - self._replaced_s >= _REPLACED_S:
            raise StartError(f"{self._owner}: {self._describe_failure(camera)}; no other camera is left")
        return False

    def _wait(self, is_done: Callable[[], object]) -> bool:
        """Wait until ``is_done()``; False if that takes too long."""
        end_s = time.monotonic() + PATIENCE_S
        while not is_done():
            if time.monotonic() >= end_s:
                return False
            self._progress()
            time.sleep(_STEP_S)
        return True

    def _is_replaced(self, camera: str) -> bool:
        verdict = self._refused.get(camera)
        return verdict is not None and verdict.is_final

    def _describe_failure(self, camera: str) -> str:
        if (verdict := self._refused.get(camera)) is not None:
            return f"the relay {self.endpoint} refuses camera {camera!r}: {verdict.reason}"
        if self._link.refusal:
            return f"the relay {self.endpoint} refuses this publisher: {self._link.refusal}"
        return (
            f"the relay {self.endpoint} has taken nothing for {PATIENCE_S:g} s; "
            "start 'posestream relay' there, or check the address"
        )

    # -- what the relay says, in a thread of the link ------------------------------------------------------------------

    def _take_answer(self, content: bytes) -> None:
        """Take what the relay sends to all its publishers; most is for others."""
        try:
            answer = origin.decode_answer(content)
        except WireError:  # of a later version
            return
        if answer.session != self._cache.session:
            return
        if isinstance(answer, Receipt):
            self._receipt = answer
        else:
            self._take_verdict(answer)

    def _take_verdict(self, verdict: Verdict) -> None:
        before = self._refused.pop(verdict.camera, None)
        if verdict.reason:
            self._refused[verdict.camera] = verdict
            self._taken.discard(verdict.camera)
        else:
            self._taken.add(verdict.camera)
        if verdict == before or not (verdict.reason or before):
            return
        is_replaced = bool(self._cameras) and all(map(self._is_replaced, self._cameras.copy()))
        self._replaced_s = time.monotonic() if is_replaced else math.inf
        if verdict.reason:
            text = f"refuses camera {verdict.camera!r}: {verdict.reason}"
        else:
            text = f"takes camera {verdict.camera!r} again"
        _LOG.warning("%s: the relay %s %s", self._owner, self.endpoint, text)
