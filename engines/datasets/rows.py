"""One person in one frame after another: what a network learns from and what it is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Clip, Floats, Frame, Person
from engines.errors import EngineError
from engines.skeletons import convert
from engines.vision import crop


@dataclass(frozen=True)
class Row:
    """One person in one labelled frame: ``box`` as the published loaders cut it to its frame, ``joints`` (K, 3) of the
    network's skeleton."""

    clip: Clip
    frame: Frame
    person: Person
    box: Floats
    joints: NDArray[np.float32]


def rows_of(clips: Sequence[Clip], skeleton: str, *, annotated: bool = True) -> list[Row]:
    """Everybody in ``clips``; with ``annotated``, who has a joint that the skeleton has too.

    Raises :class:`EngineError` where that is nobody.
    """
    people = ((clip, frame, person) for clip in clips for frame in clip.frames for person in frame.people)
    rows = [row for one in people if (row := _row(*one, skeleton)) and (not annotated or row.joints[:, 2].any())]
    if not rows:
        of = f"of {clips[0].name!r} or {len(clips) - 1} others" if clips else "for there are no clips"
        raise EngineError(f"nobody is left to look at: no frame {of} has a person with joints of {skeleton!r}")
    return rows


def _row(clip: Clip, frame: Frame, person: Person, skeleton: str) -> Row | None:
    box = crop.clip_to_frame(person.box, frame.size)
    if box is None or not box[2:].all():
        return None
    return Row(clip, frame, person, box, convert(person.joints[None], clip.skeleton, skeleton)[0])
