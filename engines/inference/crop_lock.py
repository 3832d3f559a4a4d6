"""Crop lock: a person's crop stays the same while they stay in it, so that features of a frame can be reused.

In the papers every key frame's box makes a new crop, so each frame of a window has to pass the backbone again, although
only the crop has moved. Here a person's crop is *anchored*: the region of their box stays their crop while the region
that their box would make now

* lies inside the anchored one widened by ``margin``, and
* is at least ``1 / (1 + margin)`` of its size, so that the person does not become small in the crop.

Otherwise the crop is anchored anew, and the frames of the window pass the backbone once more. Right after anchoring
both limits are ``margin`` away, so a trembling box does not anchor again at every frame. A region is wider than its
box (1.25 times, as published): up to a margin of 0.17 the box itself never leaves the crop. With ``margin=0`` a crop
stays only while it is exactly the paper's.

Someone who walks leaves crop after crop on the same side. From the second one on, the new crop is anchored ahead of
them by :data:`LEAD` of the margin, within which it stays for longer, as they have nearly the whole margin to cross
instead of half of it. Up and down no crop is ahead: who crouches comes up again.

The crop itself is not widened; docs/explanation/decisions/2026-11-21-crop-lock.md has the measurements. The rule is a
function of boxes alone and reads no pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from engines.inference.regions import Region
from engines.vision.windows import NO_ID

ROUNDING = 1e-6
"""Relative error allowed between two single-precision computations of the same region."""


LEAD = 0.7
"""How far ahead of a walking person their crop is anchored, as a share of the margin on one side."""


@dataclass(frozen=True)
class Anchor:
    """A crop: its ``region``, and a ``number`` that no other crop has."""

    region: Region
    number: int


@dataclass
class _Locked:
    """A person's crop, where the middle of their region was when it was anchored, x px, and how far they had moved then
    since the one before, px."""

    anchor: Anchor
    last_seq: int
    start: float
    step: float = 0.0


@dataclass
class _Camera:
    size: tuple[int, int]
    seq: int
    people: dict[int, _Locked] = field(default_factory=dict)


class CropPolicy(Protocol):
    """Decides on each person's crop."""

    def start_frame(self, camera: str, seq: int, size: tuple[int, int]) -> None:
        """Begin key frame ``seq`` of ``camera``, a frame of ``size`` (width, height) px."""

    def get_anchor(self, camera: str, identity: int, wanted: Region) -> Anchor:
        """The crop of a person in the frame begun last; ``wanted`` is the region of their box."""

    def list_active(self) -> frozenset[int]:
        """The numbers of the anchors that may be returned again."""

    def clear(self) -> None:
        """Forget all crops."""


class ExactCrop:
    """Every key frame's box makes a crop of its own, as in the papers."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def start_frame(self, camera: str, seq: int, size: tuple[int, int]) -> None:
        """Does nothing."""

    def get_anchor(self, camera: str, identity: int, wanted: Region) -> Anchor:  # noqa: ARG002
        return Anchor(wanted, next(self._numbers))

    def list_active(self) -> frozenset[int]:
        return frozenset()

    def clear(self) -> None:
        """Does nothing."""


class CropLock:
    """Locks the crops of all people of all cameras.

    ``margin`` is a share of the crop's size, 0 or more. A person may be absent for ``patience`` frames and keep their
    crop.
    """

    def __init__(self, margin: float, patience: int = 0) -> None:
        self.margin = margin
        self.patience = patience
        self._numbers = count(1)
        self._cameras: dict[str, _Camera] = {}

    def start_frame(self, camera: str, seq: int, size: tuple[int, int]) -> None:
        """Forget the crops of people who have been absent for too long.

        If the frame size changes or ``seq`` does not increase, the camera's stream has started again, and all of its
        crops are forgotten.
        """
        known = self._cameras.get(camera)
        if known is None or known.size != size or seq <= known.seq:
            self._cameras[camera] = _Camera(size, seq)
            return
        known.seq = seq
        known.people = {
            identity: locked for identity, locked in known.people.items() if seq - locked.last_seq <= self.patience + 1
        }

    def get_anchor(self, camera: str, identity: int, wanted: Region) -> Anchor:
        """The locked crop if it still fits, else a new one; a person without an identity always gets a new one."""
        if identity == NO_ID:
            return self._make_anchor(wanted)
        known = self._cameras[camera]
        locked = known.people.get(identity)
        if locked is None:
            locked = _Locked(self._make_anchor(wanted), known.seq, float(wanted.center[0]))
        elif not self._still_fits(locked.anchor.region, wanted):
            locked = self._anchor_anew(locked, wanted)
        locked.last_seq = known.seq
        known.people[identity] = locked
        return locked.anchor

    def list_active(self) -> frozenset[int]:
        return frozenset(locked.anchor.number for camera in self._cameras.values() for locked in camera.people.values())

    def clear(self) -> None:
        self._cameras = {}

    def _make_anchor(self, wanted: Region) -> Anchor:
        return Anchor(wanted, next(self._numbers))

    def _anchor_anew(self, locked: _Locked, wanted: Region) -> _Locked:
        """A crop around ``wanted``, or ahead of it if the person left the last two on the same side."""
        start = float(wanted.center[0])
        step = start - locked.start
        room = LEAD * self.margin * wanted.width / 2 if step * locked.step > 0 else 0.0
        ahead = wanted.move(max(-room, min(step, room))) if room else wanted
        return _Locked(self._make_anchor(ahead), locked.last_seq, start, step)

    def _still_fits(self, locked: Region, wanted: Region) -> bool:
        widest = (1 + self.margin) * (1 + ROUNDING)
        return wanted.width * widest >= locked.width and locked.reaches(wanted, widest)
