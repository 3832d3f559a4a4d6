"""Instances: the people of clips one by one, as a network is trained and evaluated on them."""

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
class Instance:
    """One person in one labelled frame. ``box`` is clipped to the frame as in the published loaders; ``joints`` (K, 3)
    are those of the network's skeleton."""

    clip: Clip
    frame: Frame
    person: Person
    box: Floats
    joints: NDArray[np.float32]


def list_instances(clips: Sequence[Clip], skeleton: str, *, only_annotated: bool = True) -> list[Instance]:
    """The people in ``clips``; with ``only_annotated`` those with an annotated joint that ``skeleton`` has.

    Raises :class:`EngineError` if there are none.
    """
    people = ((clip, frame, person) for clip in clips for frame in clip.frames for person in frame.people)
    found = [instance for one in people if (instance := _instance(*one, skeleton))]
    instances = [instance for instance in found if not only_annotated or instance.joints[:, 2].any()]
    if not instances:
        if not clips:
            raise EngineError("there are no clips, so there are no people to train or evaluate on")
        raise EngineError(
            f"{clips[0].name!r} and {len(clips) - 1} other clips have no person with joints of {skeleton!r}; give "
            "another data set or a network with other joints"
        )
    return instances


def _instance(clip: Clip, frame: Frame, person: Person, skeleton: str) -> Instance | None:
    box = crop.clip_to_frame(person.box, frame.size)
    if box is None or not box[2:].all():
        return None
    return Instance(clip, frame, person, box, convert(person.joints[None], clip.skeleton, skeleton)[0])
