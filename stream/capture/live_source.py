"""The base class of the live sources, such as ``rtspsrc`` and ``camerasrc``: frames of a camera, with reconnection."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Annotated

from msgspec import Meta

from stream.caps import Caps
from stream.capture.decoded_picture import Shot
from stream.capture.frame_conversion import make_frame
from stream.capture.reader import Feed
from stream.capture.reconnection import Backoff, Policy, Reconnector, Retry
from stream.capture.timeline import Timeline
from stream.element import Source
from stream.messages import Frame
from stream.registry import label


@dataclass(kw_only=True)
class LiveSource(Source):
    """Frames as they arrive. Subclasses define :meth:`connect`, :attr:`address` and :attr:`remedy`.

    The source never falls behind: at most ``max_items`` frames wait, older ones are dropped and leave a gap in
    ``seq``. It reconnects to a lost camera after ``backoff_s``, then twice that, up to ``max_backoff_s``; ``pts_ns``
    continues.
    """

    src = Caps("video/raw")
    has_truth = False

    camera: Annotated[str, Meta(description="camera name in the frames; empty for the element's own name")] = ""
    num_frames: Annotated[int, Meta(ge=0, description="frames to deliver; 0 for no limit")] = 0
    max_items: Annotated[int, Meta(ge=1, description="frames that may wait; older ones are dropped")] = 2
    retry: Annotated[
        Retry,
        Meta(
            description="reconnect: wait for a lost camera, but fail if the first connection fails; "
            "always: wait for the first connection too; never: fail when the camera is lost"
        ),
    ] = "reconnect"
    open_timeout_s: Annotated[float, Meta(gt=0, description="seconds a connection may take to open")] = 5.0
    stall_timeout_s: Annotated[
        float, Meta(gt=0, description="seconds without a frame after which the camera is considered lost")
    ] = 3.0
    backoff_s: Annotated[float, Meta(gt=0, description="seconds before the first retry; doubled for each next one")] = (
        0.5
    )
    max_backoff_s: Annotated[float, Meta(gt=0, description="longest pause between retries, in seconds")] = 5.0
    give_up_s: Annotated[
        float, Meta(ge=0, description="seconds without a frame after which the source fails; 0 for never")
    ] = 0.0

    def connect(self) -> Feed:
        """Open the camera. Called in a separate thread, and again after every loss.

        Raises ``DisconnectedError`` if a retry may succeed, :class:`SourceError` if it cannot.
        """
        raise NotImplementedError

    @property
    def address(self) -> str:
        """The camera's name in messages, without credentials."""
        raise NotImplementedError

    @property
    def remedy(self) -> str:
        """What the user can do if the camera cannot be reached."""
        raise NotImplementedError

    @property
    def open_limit_s(self) -> float:
        """Seconds after which a connection that is being opened is given up, whatever it does."""
        return self.open_timeout_s

    @property
    def silence_limit_s(self) -> float:
        """Seconds without a frame after which a connection is given up, whatever it does."""
        return self.stall_timeout_s

    @property
    def closing_limit_s(self) -> float:
        """Seconds for which a new connection waits for the one before to be closed; 0 where both can be open."""
        return 0.0

    @property
    def length(self) -> int | None:
        return self.num_frames or None

    @property
    def is_live(self) -> bool:
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reconnector is not None:
            self._reconnector.close()
            self._reconnector = None

    _reconnector = None

    def describe_silence(self) -> str:
        reconnector: Reconnector | None = self._reconnector
        return "" if reconnector is None else reconnector.describe()

    def frames(self) -> Iterator[Frame | None]:
        delivered = count(1)
        for frame in self._frames():
            yield frame
            if frame is not None and next(delivered) == self.num_frames:
                return

    def _frames(self) -> Iterator[Frame | None]:
        memory = self._memory()
        timeline, first = Timeline(memory, self.context.now_ns), memory.get("seq", -1) + 1
        self._reconnector = self._new_reconnector(is_known=first > 0)
        for event in self._reconnector.shots():
            if event == "new":
                timeline.reset()
            elif event is None:
                yield None
            else:
                number, shot = event
                memory["seq"] = first + number
                yield self._frame(first + number, shot.at(timeline.place(shot.pts_ns)))

    def _memory(self) -> MutableMapping[str, int]:
        """What the part stored before a restart; cleared if it was not restarted."""
        if not self.context.incarnation:
            for name in ("seq", "pts_ns", "origin_ns"):
                self.context.memory.pop(name, None)
        return self.context.memory

    def _frame(self, seq: int, shot: Shot) -> Frame:
        return make_frame(shot, self.camera or label(self), seq, self.context)

    def _new_reconnector(self, *, is_known: bool) -> Reconnector:
        policy = Policy(
            self.retry, self.open_limit_s, self.silence_limit_s, self.give_up_s, self.max_items, self.closing_limit_s
        )
        backoff = Backoff(self.backoff_s, max(self.backoff_s, self.max_backoff_s))
        return Reconnector(self.connect, self.address, policy, backoff, is_known=is_known, remedy=self.remedy)
