"""An engine's predictions for the people of a data set, with windows read from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Source
from engines.datasets.instances import Instance
from engines.datasets.pictures import Pixels, read_pictures
from engines.datasets.windows import Border, window_numbers, window_sources
from engines.evaluation.pck import Keypoints
from engines.inference.engine import Engine, PersonWindows
from engines.vision.crop import HALF_PIXEL
from engines.vision.windows import NO_ID

FrameIndices = tuple[int, ...]
"""The indices among all instances of the people in one frame."""

BATCH_FRAMES = 4
"""Frames whose windows share a run of the network. The next batch is read meanwhile: in full HD, five pictures of 6 MB
for each window."""


def predict_keypoints(
    engine: Engine, instances: Sequence[Instance], border: Border, on_frame: Callable[[], None] = lambda: None
) -> list[Keypoints]:
    """(K, 3) for each instance: px in its frame by index, and a score. Calls ``on_frame`` after each frame.

    Raises :class:`EngineError` naming a picture or a problem of the network.
    """
    predictions: list[Keypoints] = [np.zeros((0, 3), np.float32)] * len(instances)
    reader = _WindowReader(instances, engine.signature.offsets, border)
    for frames, windows in _prefetch(reader, list_frames(instances)):
        for frame, people in zip(frames, engine.estimate(windows), strict=True):
            for index, joints in zip(frame, people, strict=True):
                joints[:, :2] -= HALF_PIXEL
                predictions[index] = joints
            on_frame()
    return predictions


def list_frames(instances: Sequence[Instance]) -> list[FrameIndices]:
    """The instances of each frame, clip by clip, in order of time."""
    clips: dict[int, int] = {}
    keys = [(clips.setdefault(id(one.clip), len(clips)), one.frame.number) for one in instances]
    order = sorted(range(len(instances)), key=keys.__getitem__)
    return [tuple(indices) for _, indices in groupby(order, keys.__getitem__)]


class _WindowReader:
    """Reads the windows of consecutive frames; pictures of the previous window are not read again."""

    def __init__(self, instances: Sequence[Instance], offsets: tuple[int, ...], border: Border) -> None:
        self._instances, self._offsets, self._border = instances, offsets, border
        self._cached: dict[Source, Pixels] = {}

    def __call__(self, frames: Sequence[FrameIndices]) -> list[PersonWindows]:
        return [self._window([self._instances[index] for index in frame]) for frame in frames]

    def _window(self, people: Sequence[Instance]) -> PersonWindows:
        clip, key = people[0].clip, people[0].frame.number
        numbers = window_numbers(key, self._offsets, clip.span, self._border)
        boxes = [[one.box[0], one.box[1], one.box[0] + one.box[2], one.box[1] + one.box[3]] for one in people]
        ids = [NO_ID if one.person.track is None else one.person.track for one in people]
        return PersonWindows(
            self._pictures(window_sources(clip, key, self._offsets, self._border)),
            tuple((clip.name, number) for number in numbers),
            np.array(boxes, np.float32),
            np.array(ids, np.int64),
        )

    def _pictures(self, sources: Sequence[Source]) -> tuple[NDArray[np.uint8], ...]:
        new = [source for source in dict.fromkeys(sources) if source not in self._cached]
        pictures = self._cached | dict(zip(new, read_pictures(new), strict=True))
        self._cached = {source: pictures[source] for source in sources}
        return tuple(pictures[source] for source in sources)


def _prefetch(
    reader: _WindowReader, frames: Sequence[FrameIndices]
) -> Iterator[tuple[Sequence[FrameIndices], list[PersonWindows]]]:
    """Batches of frames with their windows; the next batch is read while one is in use."""
    batches = [frames[start : start + BATCH_FRAMES] for start in range(0, len(frames), BATCH_FRAMES)]
    with ThreadPoolExecutor(1, "reader") as thread:
        pending: list[Future[list[PersonWindows]]] = [thread.submit(reader, batch) for batch in batches[:1]]
        for index, batch in enumerate(batches):
            windows = pending.pop().result()
            pending = [thread.submit(reader, following) for following in batches[index + 1 : index + 2]]
            yield batch, windows
