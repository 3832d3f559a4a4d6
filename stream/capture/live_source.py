"""What ``rtspsrc`` and ``camerasrc`` have in common: frames from somebody else's camera, for as long as it takes."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.capture.decoded_picture import Shot
from stream.capture.frame_conversion import frame_of
from stream.capture.reader import Feed
from stream.capture.reconnection import Backoff, Policy, Reconnecting, Retry
from stream.capture.timeline import Timeline
from stream.element import Source
from stream.messages import Frame
from stream.registry import label


@dataclass(kw_only=True)
class LiveSource(Source):
    """Frames as they come; an author gives :meth:`connect`, :attr:`address` and :attr:`remedy`.

    Never falls behind: at most ``max_items`` frames wait, older ones are dropped and leave a gap in ``seq``. A camera
    that is lost is tried again after ``backoff_s``, twice that, and so on to ``max_backoff_s``; ``pts_ns`` runs on.
    """

    src = Caps("video/raw")

    camera: Annotated[str, Meta(description="what the frames' camera is called; empty for the element's own name")] = ""
    num_frames: Annotated[int, Meta(ge=0, description="how many frames to give; 0 for as many as come")] = 0
    max_items: Annotated[int, Meta(ge=1, description="how many frames may wait; older ones are dropped")] = 2
    retry: Annotated[
        Retry,
        Meta(
            description="reconnect: wait for a camera that was lost, while a first connection that fails is an error; "
            "always: wait for the first one too; never: a loss is an error"
        ),
    ] = "reconnect"
    open_timeout_s: Annotated[float, Meta(gt=0, description="how long a connection may take to open")] = 5.0
    stall_timeout_s: Annotated[float, Meta(gt=0, description="how long no frame may come before it counts as lost")] = (
        3.0
    )
    backoff_s: Annotated[float, Meta(gt=0, description="the first pause before trying again; then it doubles")] = 0.5
    max_backoff_s: Annotated[float, Meta(gt=0, description="the longest pause before trying again")] = 5.0
    give_up_s: Annotated[float, Meta(ge=0, description="end with an error after so long without a frame; 0: never")] = (
        0.0
    )

    def connect(self) -> Feed:
        """Open the camera; called in a thread of its own, and again after every loss.

        Raises ``DisconnectedError`` for what may pass, :class:`SourceError` for what will not.
        """
        raise NotImplementedError

    @property
    def address(self) -> str:
        """What people call this camera in messages; without credentials."""
        raise NotImplementedError

    @property
    def remedy(self) -> str:
        """What to do when it cannot be reached."""
        raise NotImplementedError

    @property
    def length(self) -> int | None:
        return self.num_frames or None

    @property
    def live(self) -> bool:
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reconnecting is not None:
            self._reconnecting.close()
            self._reconnecting = None

    _reconnecting = None

    def frames(self) -> Iterator[Frame | None]:
        given = count(1)
        for frame in self._frames():
            yield frame
            if frame is not None and next(given) == self.num_frames:
                return

    def _frames(self) -> Iterator[Frame | None]:
        memory = self._memory()
        timeline, first = Timeline(memory, self.context.now_ns), memory.get("seq", -1) + 1
        self._reconnecting = self._new_reconnecting(is_known=first > 0)
        for word in self._reconnecting.shots():
            if word == "new":
                timeline.reconnected()
            elif word is None:
                yield None
            else:
                number, shot = word
                memory["seq"] = first + number
                yield self._frame(first + number, shot.at(timeline.place(shot.pts_ns)))

    def _memory(self) -> MutableMapping[str, int]:
        """What an earlier life of this stage left; nothing where the element is only used once more."""
        if not self.context.incarnation:
            for name in ("seq", "pts_ns", "origin_ns"):
                self.context.memory.pop(name, None)
        return self.context.memory

    def _frame(self, seq: int, shot: Shot) -> Frame:
        return frame_of(shot, self.camera or label(self), seq, self.context)

    def _new_reconnecting(self, *, is_known: bool) -> Reconnecting:
        policy = Policy(self.retry, self.open_timeout_s, self.stall_timeout_s, self.give_up_s, self.max_items)
        backoff = Backoff(self.backoff_s, max(self.backoff_s, self.max_backoff_s))
        return Reconnecting(self.connect, self.address, policy, backoff, is_known=is_known, remedy=self.remedy)
