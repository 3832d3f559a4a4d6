"""Crop lock: a person's crop is held still while they stay in it, so that features of a frame can be used again.

The paper's way makes a new crop of every key frame's box; each frame of a window then has to pass the backbone again,
though nothing but the crop has moved. Here the crop of a person is *anchored*: the region that their box makes stays
their crop for as long as the region that their box would make now

* lies inside the anchored one widened by ``margin``, and
* is not so small that the person shrinks: it is at least ``1 / (1 + margin)`` of the anchored one.

Otherwise the crop is anchored anew, and frames of the window pass the backbone again, once. Both limits are as far away
after anchoring as ``margin`` makes them, so a box that trembles about a limit does not anchor at every frame. A region
is wider than its box (1.25 times, as published): up to a margin of 0.17 the box itself never leaves the crop. With
``margin=0`` a crop is kept only while it is exactly the paper's.

That the crop itself is not widened is by measurement: docs/explanation/decisions/2026-11-21-crop-lock.md.

No pixel is touched here: the rule is a function of boxes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from engines.inference.regions import Region
from engines.vision.windows import NOBODY

ROUNDING = 1e-6
"""Of a region's size: what single precision may lose between two ways of computing the same region."""


@dataclass(frozen=True)
class Anchor:
    """A crop: its ``region``, and the ``number`` that only this one ever had."""

    region: Region
    number: int


@dataclass
class _Held:
    anchor: Anchor
    seen_seq: int


@dataclass
class _Camera:
    size: tuple[int, int]
    seq: int
    people: dict[int, _Held] = field(default_factory=dict)


class Crops(Protocol):
    """Who decides which crop a person gets."""

    def begin(self, camera: str, seq: int, size: tuple[int, int]) -> None:
        """Key frame ``seq`` of ``camera``, a picture of ``size`` (width, height) px, is next."""

    def anchor(self, camera: str, identity: int, wanted: Region) -> Anchor:
        """The crop of somebody whose box makes the region ``wanted``, in the key frame that was begun last."""

    def held(self) -> frozenset[int]:
        """The numbers of the anchors that may be met again."""

    def clear(self) -> None:
        """Hold nobody's crop."""


class ExactCrop:
    """The paper's way: every key frame's box makes a crop of its own."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def begin(self, camera: str, seq: int, size: tuple[int, int]) -> None:
        """Nothing is held."""

    def anchor(self, camera: str, identity: int, wanted: Region) -> Anchor:  # noqa: ARG002
        return Anchor(wanted, next(self._numbers))

    def held(self) -> frozenset[int]:
        return frozenset()

    def clear(self) -> None:
        """Nothing is held."""


class CropLock:
    """The crops of everybody in every camera; ``margin`` is a share of the crop's size, 0 or more.

    ``patience`` is how many frames somebody may be away and still keep their crop.
    """

    def __init__(self, margin: float, patience: int = 0) -> None:
        self.margin = margin
        self.patience = patience
        self._numbers = count(1)
        self._cameras: dict[str, _Camera] = {}

    def begin(self, camera: str, seq: int, size: tuple[int, int]) -> None:
        """Everybody's crop is forgotten when the picture has another size or ``seq`` does not go on: it is another
        stream then, though of the same name. Those who have been away for too long are forgotten alone.
        """
        known = self._cameras.get(camera)
        if known is None or known.size != size or seq <= known.seq:
            self._cameras[camera] = _Camera(size, seq)
            return
        known.seq = seq
        known.people = {
            identity: held for identity, held in known.people.items() if seq - held.seen_seq <= self.patience + 1
        }

    def anchor(self, camera: str, identity: int, wanted: Region) -> Anchor:
        """The crop that is held where it still fits; exactly what is wanted, for this once, for whom nobody follows."""
        if identity == NOBODY:
            return Anchor(wanted, next(self._numbers))
        seen = self._cameras[camera]
        held = seen.people.get(identity)
        anchor = held.anchor if held and self._still_fits(held.anchor.region, wanted) else self._new(wanted)
        seen.people[identity] = _Held(anchor, seen.seq)
        return anchor

    def held(self) -> frozenset[int]:
        return frozenset(held.anchor.number for held in self._all_held())

    def clear(self) -> None:
        self._cameras = {}

    def _all_held(self) -> Iterator[_Held]:
        return (held for camera in self._cameras.values() for held in camera.people.values())

    def _new(self, wanted: Region) -> Anchor:
        return Anchor(wanted, next(self._numbers))

    def _still_fits(self, locked: Region, wanted: Region) -> bool:
        smallest = float(locked.scale[0]) / (1 + self.margin)
        return float(wanted.scale[0]) >= smallest * (1 - ROUNDING) and locked.widened(1 + self.margin).holds(wanted)
