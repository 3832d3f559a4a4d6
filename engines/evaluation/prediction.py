"""What an engine finds for the people of a data set: the path of a live line, with windows read from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from engines.datasets.clips import Source
from engines.datasets.pictures import Pixels, read_pictures
from engines.datasets.rows import Row
from engines.datasets.windows import Border, window_numbers, window_sources
from engines.evaluation.pck import Found
from engines.inference.engine import Engine, PersonWindows
from engines.vision.crop import HALF_PIXEL
from engines.vision.windows import NO_ID

Frame = tuple[int, ...]
"""The places among all rows of the people of one frame."""

TOGETHER = 4
"""Windows that share a run of the network; as many are read meanwhile, five pictures of 6 MB each in full HD."""


def keypoints_of(
    engine: Engine, rows: Sequence[Row], border: Border, done: Callable[[], None] = lambda: None
) -> list[Found]:
    """(K, 3) of every row, in order: px in its frame by index, and its score. ``done`` is called after each frame.

    Raises :class:`EngineError` naming a picture or what is wrong with the network.
    """
    found: list[Found] = [np.zeros((0, 3), np.float32)] * len(rows)
    for frames, windows in _ahead(_Reader(rows, engine.signature.offsets, border), frames_of(rows)):
        for frame, keypoints in zip(frames, engine.estimate(windows), strict=True):
            for place, joints in zip(frame, keypoints, strict=True):
                joints[:, :2] -= HALF_PIXEL
                found[place] = joints
            done()
    return found


def frames_of(rows: Sequence[Row]) -> list[Frame]:
    """Who is in which frame: clip by clip, each in order of time."""
    clips: dict[int, int] = {}
    keys = [(clips.setdefault(id(row.clip), len(clips)), row.frame.number) for row in rows]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    return [tuple(places) for _, places in groupby(order, keys.__getitem__)]


class _Reader:
    """Windows of frames, one after another; pictures that the window before had are not read again."""

    def __init__(self, rows: Sequence[Row], offsets: tuple[int, ...], border: Border) -> None:
        self._rows, self._offsets, self._border = rows, offsets, border
        self._read: dict[Source, Pixels] = {}

    def __call__(self, frames: Sequence[Frame]) -> list[PersonWindows]:
        return [self._window([self._rows[place] for place in frame]) for frame in frames]

    def _window(self, people: Sequence[Row]) -> PersonWindows:
        clip, key = people[0].clip, people[0].frame.number
        numbers = window_numbers(key, self._offsets, clip.span, self._border)
        boxes = [[row.box[0], row.box[1], row.box[0] + row.box[2], row.box[1] + row.box[3]] for row in people]
        ids = [NO_ID if row.person.track is None else row.person.track for row in people]
        return PersonWindows(
            self._pictures(window_sources(clip, key, self._offsets, self._border)),
            tuple((clip.name, number) for number in numbers),
            np.array(boxes, np.float32),
            np.array(ids, np.int64),
        )

    def _pictures(self, sources: Sequence[Source]) -> tuple[NDArray[np.uint8], ...]:
        new = [source for source in dict.fromkeys(sources) if source not in self._read]
        known = self._read | dict(zip(new, read_pictures(new), strict=True))
        self._read = {source: known[source] for source in sources}
        return tuple(known[source] for source in sources)


def _ahead(reader: _Reader, frames: Sequence[Frame]) -> Iterator[tuple[Sequence[Frame], list[PersonWindows]]]:
    """Some frames and their windows, the next being read meanwhile."""
    runs = [frames[start : start + TOGETHER] for start in range(0, len(frames), TOGETHER)]
    with ThreadPoolExecutor(1, "reader") as thread:
        begun: Future[list[PersonWindows]] | None = thread.submit(reader, runs[0]) if runs else None
        for place, run in enumerate(runs):
            assert begun is not None
            windows = begun.result()
            begun = thread.submit(reader, runs[place + 1]) if place + 1 < len(runs) else None
            yield run, windows
