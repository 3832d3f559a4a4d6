"""The numbers that a publisher gives its messages, in memory that outlives a restart of its part."""

from __future__ import annotations

import secrets
from collections.abc import MutableMapping

from stream.errors import PropertyError
from stream.names import check_camera_name

# The camera name is part of a key in the context's memory, whose keys are short.
_MAX_CAMERA_BYTES = 80


class Numbers:
    """The last message number and frame of each camera, in memory that survives a restart.

    Number and frame must become valid together, but memory is written one integer at a time: the frame of number n goes
    to one of two keys by the parity of n, and writing n makes it valid.
    """

    def __init__(self, memory: MutableMapping[str, int], *, restarted: bool) -> None:
        self._memory = memory
        if not restarted:
            for name in [name for name in memory if name.startswith((_SESSION, _SEQ, _ENDED, *_FRAMES))]:
                del memory[name]
        self.session = f"{memory.setdefault(_SESSION, secrets.randbits(63)):016x}"

    def is_published(self, camera: str, frame_seq: int) -> bool:
        """True if this frame, or a later one, was published."""
        return frame_seq <= self.last_frame(camera)

    def last_frame(self, camera: str) -> int:
        """The last published frame of ``camera``; -1 before the first."""
        last = self._last(camera)
        return -1 if last < 0 else self._memory[_frame(last, camera)]

    def next(self, camera: str) -> int:
        """The number of the next message of ``camera``."""
        return self._last(camera) + 1

    def commit(self, camera: str, seq: int, frame_seq: int) -> None:
        """Record that message ``seq`` of ``camera``, with this frame, was sent."""
        self._memory[_frame(seq, camera)] = frame_seq
        self._memory[_SEQ + camera] = seq

    def commit_end(self, camera: str, seq: int) -> None:
        """Record that message ``seq`` of ``camera``, its end, was sent."""
        self._memory[_ENDED + camera] = seq
        self.commit(camera, seq, self.last_frame(camera))

    def is_ended(self, camera: str) -> bool:
        """True if the last message of ``camera`` was its end."""
        return self._memory.get(_ENDED + camera) == self._last(camera)

    def cameras(self) -> list[str]:
        """The cameras of which something was published."""
        return [name.removeprefix(_SEQ) for name in self._memory if name.startswith(_SEQ)]

    def _last(self, camera: str) -> int:
        return self._memory.get(_SEQ + camera, -1)


_SESSION = "session"
_SEQ = "seq/"
_ENDED = "ended/"
_FRAMES = ("frame0/", "frame1/")


def _frame(seq: int, camera: str) -> str:
    return _FRAMES[seq % 2] + camera


def check_camera(camera: str, owner: str) -> None:
    """Raise :class:`PropertyError` for a name of a camera that the protocol does not allow."""
    check_camera_name(camera, owner)
    if len(camera.encode()) > _MAX_CAMERA_BYTES:
        raise PropertyError(
            f"{owner}: the camera name {camera[:20]!r}… has {len(camera.encode())} bytes; "
            f"set camera= to a name of at most {_MAX_CAMERA_BYTES}"
        )
