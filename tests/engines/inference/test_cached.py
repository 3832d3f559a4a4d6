"""Cached features give the same keypoints as computing everything anew, whatever happens in a stream.

The network is a few lines of NumPy that treat every row separately, so that results are bit-identical. Slots are NaN
before they are filled, so that a slot read too early shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.inference.cached import CachedRunner
from engines.inference.crop_lock import CropLock, CropPolicy, ExactCrop
from engines.inference.engine import Engine, Keypoints, PersonWindows
from engines.inference.regions import Region, box_to_region, crop_regions, to_keypoints
from engines.spec.signature import Signature
from engines.spec.tensors import Array, Description, Tensor

PAST, FUTURE = 2, 1
FRAMES = PAST + 1 + FUTURE
WIDTH, HEIGHT = 12, 16
SIGNATURE = Signature(
    name="numpy",
    input_size=(WIDTH, HEIGHT),
    past=PAST,
    future=FUTURE,
    layout="nthwc",
    pixel="uint8",
    decode="points",
)
MIXTURE = np.random.default_rng(7).normal(size=(FRAMES, 17 * 3)).astype(np.float32)


def features(crop: Array) -> NDArray[np.float32]:
    """(51,) float32 of one frame of one person: every pixel counts, each place otherwise."""
    flat = crop.astype(np.float32).ravel() / 255
    return np.array([flat[place::51].sum() for place in range(51)], np.float32)


def points(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """(17, 3) from (T, 51), with a different weight for each frame."""
    return np.tanh((window * MIXTURE).sum(axis=0)).reshape(17, 3).astype(np.float32)


class NumpyCache:
    """A feature cache in NumPy that records its batches; ``batch`` is a fixed batch, if given."""

    def __init__(self, slots: int, batch: int | None = None, threads: int = 1) -> None:
        self.kept, self.batch, self.threads = np.full((slots, 51), np.nan, np.float32), batch, threads
        self.keeps: list[int] = []
        self.reads: list[int] = []
        self.fails = False

    def open(self) -> None: ...

    def close(self) -> None:
        self.kept[:] = np.nan

    def describe(self) -> Description:
        crops = Tensor("crops", (self.batch, HEIGHT, WIDTH, 3), "uint8")
        outputs = (Tensor("points", (self.batch, 17, 3), "float32"),)
        return Description((crops,), outputs, "cpu", side_by_side=self.threads)

    def store(self, slots: NDArray[np.intp], crops: Array) -> None:
        self.keeps.append(len(slots))
        assert self.batch in (None, len(slots))
        for slot, crop in zip(slots, crops, strict=True):
            self.kept[slot] = features(crop)
        if self.fails:
            raise EngineError("the device is gone")

    def read(self, windows: NDArray[np.intp]) -> dict[str, Array]:
        self.reads.append(len(windows))
        assert self.batch in (None, len(windows))
        return {"points": np.stack([points(self.kept[window]) for window in windows])}


def compute_anew(windows: Sequence[PersonWindows], crops: CropPolicy) -> list[Keypoints]:
    """What a network in one graph gives for the same windows, each cropped as ``crops`` says."""
    return [_one_window(window, crops) for window in windows]


def _one_window(window: PersonWindows, crops: CropPolicy) -> Keypoints:
    camera, seq = window.keys[PAST]
    height, width = window.frames[PAST].shape[:2]
    crops.start_frame(camera, seq, (width, height))
    rows = [
        _one_person(window, crops.get_anchor(camera, int(identity), box_to_region(SIGNATURE, box)).region)
        for box, identity in zip(window.boxes, window.ids, strict=True)
    ]
    return np.stack(rows) if rows else np.zeros((0, 17, 3), np.float32)


def _one_person(window: PersonWindows, region: Region) -> Keypoints:
    crops = crop_regions(SIGNATURE, window.frames, [region] * FRAMES)
    found = points(np.stack([features(crop) for crop in crops]))
    return to_keypoints(SIGNATURE, found[None, :, :2].astype(np.float64), found[None, :, 2], [region])[0]


# -- streams -----------------------------------------------------------------------------------------------------------


@dataclass
class Camera:
    """The windows of one camera, as the element ``window`` makes them."""

    name: str
    size: tuple[int, int] = (60, 40)
    frames: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    content: int = 0

    def take(self, seq: int) -> None:
        """Add frame ``seq`` with random pixels."""
        width, height = self.size
        self.content += 1
        seed = [sum(map(ord, self.name)), self.content]
        self.frames[seq] = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)

    def window(self, seq: int, people: dict[int, Any], strangers: Sequence[Any] = ()) -> PersonWindows:
        """The window around ``seq``; the nearest frame replaces a missing one. ``strangers`` have no id."""
        near = [min(self.frames, key=lambda at: (abs(at - seq - offset), at)) for offset in range(-PAST, FUTURE + 1)]
        corners = np.array([*people.values(), *strangers], np.float32).reshape(-1, 4)
        ids = np.array([*people, *[-1] * len(strangers)], np.int64)
        return PersonWindows(tuple(self.frames[at] for at in near), tuple((self.name, at) for at in near), corners, ids)


def make_windows(count: int, *, step_px: float = 0.0, camera: str = "hall", people: int = 1) -> list[PersonWindows]:
    """``count`` windows of people who move by ``step_px`` from one to the next; no frame is missing."""
    seen = Camera(camera)
    for seq in range(count + FUTURE):
        seen.take(seq)
    return [
        seen.window(seq, {who: box(who * 7 + step_px * seq) for who in range(1, people + 1)}) for seq in range(count)
    ]


def box(x: float, y: float = 8.0, width: float = 12.0, height: float = 20.0) -> tuple[float, ...]:
    return x, y, x + width, y + height


def make_engine(ring: NumpyCache, crops: CropPolicy | None = None, max_batch: int = 16) -> Engine:
    return Engine(SIGNATURE, CachedRunner(SIGNATURE, ring, len(ring.kept), crops or lock(), max_batch), "0" * 16)


def lock(margin: float = 0.15) -> CropLock:
    return CropLock(margin, patience=FRAMES)


def assert_same(found: list[Keypoints], wanted: list[Keypoints]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        assert not np.isnan(one).any()


def test_a_person_who_stands_still_takes_one_backbone_run_per_frame() -> None:
    ring = NumpyCache(32)
    engine = make_engine(ring)
    windows = make_windows(10)
    found = [engine.estimate([window])[0] for window in windows]
    assert_same(found, compute_anew(windows, lock()))
    # The first window's frames are 0, 0, 0, 1: two; then one new frame for each of nine windows.
    assert (engine.work.people, engine.work.frames, engine.work.computed) == (10, 40, 11)
    assert engine.work.reused == pytest.approx(29 / 40)


def test_exact_crops_compute_every_frame_of_a_window_once() -> None:
    ring = NumpyCache(32)
    engine = make_engine(ring, ExactCrop())
    windows = make_windows(10)
    assert_same([engine.estimate([window])[0] for window in windows], compute_anew(windows, ExactCrop()))
    assert engine.work.computed == 2 + 3 + 8 * 4


def test_a_person_who_leaves_the_crop_is_anchored_anew_once() -> None:
    engine = make_engine(NumpyCache(32))
    # The crop is 18.75 px wide and its margin 1.4 px on either side: it holds for two windows, and two of a pixel.
    windows = make_windows(12, step_px=1.0)
    assert_same(engine.estimate(windows), compute_anew(windows, lock()))
    assert engine.work.computed < 12 * 4
    assert engine.work.computed > 13


def test_several_windows_share_a_backbone_run_and_a_head_run() -> None:
    ring = NumpyCache(200)
    windows = [
        window
        for pair in zip(make_windows(4, people=2), make_windows(4, people=1, camera="yard"), strict=True)
        for window in pair
    ]
    found = make_engine(ring, max_batch=64).estimate(windows)
    assert ring.keeps == [3 * 5]  # three people, each in frames 0 to 4
    assert ring.reads == [3 * 4]
    assert_same(found, compute_anew(windows, lock()))


def test_batches_are_limited_and_a_fixed_batch_is_padded() -> None:
    windows = make_windows(3, people=3)
    ring, fixed = NumpyCache(64), NumpyCache(64, batch=4)
    found = make_engine(ring, max_batch=5).estimate(windows)
    assert (ring.keeps, ring.reads) == ([4, 4, 4], [5, 4])
    assert_same(make_engine(fixed).estimate(windows), found)
    assert {*fixed.keeps, *fixed.reads} == {4}


def test_few_slots_split_the_work_and_change_nothing() -> None:
    windows = make_windows(6, people=3)
    ring = NumpyCache(FRAMES + 1)
    engine = make_engine(ring)
    assert_same(engine.estimate(windows), compute_anew(windows, lock()))
    assert len(ring.reads) > 1


def test_people_without_an_id_share_no_features() -> None:
    seen = Camera("hall")
    for seq in range(6):
        seen.take(seq)
    windows = [seen.window(seq, {}, [box(3), box(30)]) for seq in range(5)]
    engine = make_engine(NumpyCache(32))
    assert_same([engine.estimate([window])[0] for window in windows], compute_anew(windows, ExactCrop()))
    assert len(find_slots(engine)) == 0  # nothing of them is kept


def find_slots(engine: Engine) -> Any:
    assert isinstance(engine._runner, CachedRunner)
    return engine._runner._slots


def test_slots_of_absent_people_and_old_crops_are_freed() -> None:
    engine = make_engine(NumpyCache(64))
    both = make_windows(3, people=2)
    engine.estimate(both)
    seen = Camera("hall")
    for seq in range(30):
        seen.take(seq)
    for seq in range(3, 3 + FRAMES + 2):
        engine.estimate([seen.window(seq, {1: box(7)})])
    assert {key.identity for key in find_slots(engine)._slots} == {1}
    engine.estimate([seen.window(20, {1: box(40)})])
    assert len({key.anchor for key in find_slots(engine)._slots}) == 1


def test_a_reopened_engine_computes_everything_again() -> None:
    windows = make_windows(8, people=2)
    engine = make_engine(NumpyCache(32))
    engine.estimate(windows[:4])
    engine.close()
    found = engine.estimate(windows[4:])
    assert_same(found, compute_anew(windows[4:], lock()))


def test_after_a_failure_no_unfilled_slot_is_read() -> None:
    windows = make_windows(6, people=2)
    ring = NumpyCache(32)
    engine = make_engine(ring)
    engine.estimate(windows[:2])
    ring.fails = True
    with pytest.raises(EngineError, match="the device is gone"):
        engine.estimate(windows[2:4])
    ring.fails = False
    ring.kept[:] = np.nan
    assert_same(engine.estimate(windows[4:]), compute_anew(windows[4:], lock()))


@pytest.mark.parametrize("change", ["seq goes back", "another size"])
def test_a_new_stream_under_the_same_name_shares_no_features(change: str) -> None:
    engine = make_engine(NumpyCache(64))
    crops = lock()
    first = make_windows(5)
    assert_same(engine.estimate(first), compute_anew(first, crops))
    again = Camera("hall", size=(80, 60) if change == "another size" else (60, 40), content=100)
    begin = 5 if change == "another size" else 0
    for seq in range(begin, begin + 6):
        again.take(seq)
    second = [again.window(seq, {1: box(7)}) for seq in range(begin, begin + 5)]
    assert_same(engine.estimate(second), compute_anew(second, crops))


class Scenario:
    """Events at two cameras, chosen by Hypothesis: people appear, move and leave, frames are lost, cameras restart."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.cameras = {name: Camera(name) for name in ("hall", "yard")}
        self.seqs = dict.fromkeys(self.cameras, 0)
        self.people: dict[str, dict[int, Any]] = {name: {} for name in self.cameras}

    def windows(self) -> list[PersonWindows]:
        return [self._step() for _ in range(self.draw(st.integers(3, 14)))]

    def _step(self) -> PersonWindows:
        name = self.draw(st.sampled_from(sorted(self.cameras)))
        event = self.draw(st.sampled_from(["next"] * 8 + ["drop", "resize", "restart"]))
        self._advance(name, event)
        self._move(name)
        strangers = [box(20.0)] if self.draw(st.integers(0, 4)) == 0 else []
        return self.cameras[name].window(self.seqs[name], dict(self.people[name]), strangers)

    def _advance(self, name: str, event: str) -> None:
        camera = self.cameras[name]
        if event in ("resize", "restart"):
            size = (camera.size[0] + 8, camera.size[1]) if event == "resize" else camera.size
            self.cameras[name] = camera = Camera(name, size, content=camera.content)
            self.seqs[name] = 0 if event == "restart" else self.seqs[name]
        self.seqs[name] += self.draw(st.integers(2, 3)) if event == "drop" else 1
        for seq in range(self.seqs[name], self.seqs[name] + FUTURE + 1):
            if seq not in camera.frames:
                camera.take(seq)

    def _move(self, name: str) -> None:
        people = self.people[name]
        for identity in (1, 2, 3):
            if self.draw(st.integers(0, 5)) == 0:
                people.pop(identity, None) if identity in people else people.update({identity: box(identity * 9.0)})
        for identity, (x, y, *_) in people.items():
            step = self.draw(st.sampled_from([0.0, 0.0, 0.5, 3.0]))
            people[identity] = box(x + step, y, 12.0 + step / 4, 20.0)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), slots=st.integers(FRAMES, 6 * FRAMES), margin=st.sampled_from([None, 0.0, 0.15, 0.4]))
def test_cached_features_equal_computing_anew_in_any_scenario(data: Any, slots: int, margin: float | None) -> None:
    windows = Scenario(data.draw).windows()
    crops, same = (ExactCrop() if margin is None else lock(margin) for _ in range(2))
    cache = NumpyCache(slots, threads=data.draw(st.integers(1, 3)))
    engine = make_engine(cache, crops, max_batch=data.draw(st.integers(1, 9)))
    found: list[Keypoints] = []
    while len(found) < len(windows):
        waiting = data.draw(st.integers(1, 4))
        found += engine.estimate(windows[len(found) : len(found) + waiting])
    assert_same(found, compute_anew(windows, same))
    engine.close()
