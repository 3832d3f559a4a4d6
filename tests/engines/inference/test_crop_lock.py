"""Crop lock: when a crop is kept or renewed, and that a person always fits it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.inference.crop_lock import CropLock, ExactCrop
from engines.inference.regions import Region, box_to_region
from engines.spec.signature import Signature

SIGNATURE = Signature(name="any", input_size=(192, 256))
SIZE = (640, 480)
MARGIN = 0.15


def region(x: float = 200.0, y: float = 100.0, width: float = 80.0, height: float = 200.0) -> Region:
    """What the rule of the Signature makes of a box at (x, y)."""
    return box_to_region(SIGNATURE, np.array([x, y, x + width, y + height], np.float32))


def get_number(
    lock: CropLock, seq: int, wanted: Region, identity: int = 1, camera: str = "hall", size: Any = SIZE
) -> int:
    """The number of a person's crop in key frame ``seq``."""
    lock.start_frame(camera, seq, size)
    return lock.get_anchor(camera, identity, wanted).number


def test_a_new_crop_is_the_papers() -> None:
    wanted = region()
    lock = CropLock(MARGIN)
    lock.start_frame("hall", 0, SIZE)
    assert lock.get_anchor("hall", 1, wanted).region is wanted


def test_a_crop_is_kept_while_the_region_stays_within_the_margin() -> None:
    lock = CropLock(MARGIN)
    first = get_number(lock, 0, region(x=200.0))
    # The box makes a region of 187.5 x 250 px, so 14.06 px of the margin lie on each side of it.
    assert get_number(lock, 1, region(x=214.0)) == first
    assert get_number(lock, 2, region(x=186.0)) == first
    assert get_number(lock, 3, region(x=214.2)) != first


@pytest.mark.parametrize(("factor", "is_kept"), [(1.14, True), (1.16, False), (0.88, True), (0.86, False)])
def test_a_crop_is_kept_while_the_size_stays_within_the_margin(factor: float, is_kept: bool) -> None:
    lock = CropLock(MARGIN)
    first = get_number(lock, 0, region())
    height = 200.0 * factor
    other = region(y=200.0 - height / 2, height=height)  # the same middle
    assert (get_number(lock, 1, other) == first) is is_kept


@pytest.mark.parametrize("direction", [1, -1])
def test_the_crop_of_someone_who_walks_is_ahead_of_them_from_the_second_on(direction: int) -> None:
    lock = CropLock(MARGIN)
    wanted = [region(x=300 + direction * 4.0 * seq) for seq in range(40)]
    numbers = [get_number(lock, seq, each) for seq, each in enumerate(wanted)]
    # The margin is 14.06 px on each side: four steps until the first crop is left, which tells no direction yet. The
    # next is anchored 0.7 x 14.06 = 9.84 px ahead: six steps fit.
    lengths = [numbers.count(number) for number in dict.fromkeys(numbers)]
    assert lengths[:5] == [4, 4, 6, 6, 6]


def test_the_lead_is_at_most_what_the_person_moved() -> None:
    lock = CropLock(MARGIN)
    heights = [200.0, 240.0, 290.0, 350.0]  # they come nearer, and a little to the right
    for seq, height in enumerate(heights):
        wanted = region(x=200.0 + seq, height=height)
        lock.start_frame("hall", seq, SIZE)
        got = lock.get_anchor("hall", 1, wanted).region
        assert got.center[0] - wanted.center[0] == (0 if seq < 2 else 1)


def test_no_crop_is_ahead_of_someone_who_turns_or_moves_up_and_down() -> None:
    lock = CropLock(MARGIN)
    places = [(200, 100), (230, 100), (200, 100), (230, 100), (230, 150), (230, 200), (230, 250)]
    for seq, (x, y) in enumerate(places):
        wanted = region(x=float(x), y=float(y))
        lock.start_frame("hall", seq, SIZE)
        assert lock.get_anchor("hall", 1, wanted).region is wanted


def test_without_a_margin_a_crop_is_kept_while_the_box_is_the_same() -> None:
    lock = CropLock(0.0)
    first = get_number(lock, 0, region())
    assert get_number(lock, 1, region()) == first
    assert get_number(lock, 2, region(x=200.1)) != first


def test_each_person_of_each_camera_has_a_crop() -> None:
    lock = CropLock(MARGIN)
    numbers = []
    for camera in ("hall", "yard"):
        lock.start_frame(camera, 0, SIZE)
        numbers += [lock.get_anchor(camera, identity, region()).number for identity in (1, 2)]
    assert len(set(numbers)) == 4
    assert lock.list_active() == set(numbers)


def test_a_person_without_an_id_gets_a_new_crop_every_time() -> None:
    lock = CropLock(MARGIN)
    wanted = region()
    lock.start_frame("hall", 0, SIZE)
    first, second = (lock.get_anchor("hall", -1, wanted) for _ in range(2))
    assert first.region is wanted
    assert first.number != second.number
    assert not lock.list_active()


@pytest.mark.parametrize(
    "changed", [{"size": (1280, 720)}, {"seq": 5}, {"seq": 2}], ids=["another size", "the same frame", "back in time"]
)
def test_a_new_stream_under_the_same_name_forgets_all_crops(changed: dict[str, Any]) -> None:
    lock = CropLock(MARGIN)
    first = get_number(lock, 5, region())
    elsewhere = get_number(lock, 5, region(), camera="yard")
    assert get_number(lock, **{"seq": 6, **changed}, wanted=region()) != first
    assert get_number(lock, 6, region(), camera="yard") == elsewhere


def test_a_person_absent_for_longer_than_the_patience_gets_a_new_crop() -> None:
    lock = CropLock(MARGIN, patience=3)
    first = get_number(lock, 0, region())
    assert get_number(lock, 4, region()) == first  # away in frames 1, 2 and 3
    lock.start_frame("hall", 8, SIZE)
    assert lock.list_active() == {first}
    assert get_number(lock, 9, region()) != first


def test_exact_crop_returns_a_new_crop_every_time() -> None:
    crops = ExactCrop()
    wanted = region()
    anchors = []
    for seq in range(3):
        crops.start_frame("hall", seq, SIZE)
        anchors.append(crops.get_anchor("hall", 1, wanted))
    assert all(anchor.region is wanted for anchor in anchors)
    assert len({anchor.number for anchor in anchors}) == 3
    assert not crops.list_active()


coordinates = st.floats(-50, 700, width=32)
extents = st.floats(4, 400, width=32)
boxes = st.tuples(coordinates, coordinates, extents, extents)


@given(steps=st.lists(boxes, min_size=1, max_size=12), margin=st.floats(0, 0.5))
def test_any_crop_is_the_papers_within_the_margin(
    steps: list[tuple[float, float, float, float]], margin: float
) -> None:
    lock = CropLock(margin)
    for seq, box in enumerate(steps):
        wanted = region(*box)
        lock.start_frame("hall", seq, SIZE)
        got = lock.get_anchor("hall", 1, wanted).region
        widest = got.widen(1 + margin).corners
        # A thousandth of a pixel: widening rounds to single precision, at coordinates below 1100 px.
        assert (widest[:2] <= wanted.corners[:2] + 1e-3).all()
        assert (widest[2:] >= wanted.corners[2:] - 1e-3).all()
        assert got.scale[0] <= wanted.scale[0] * (1 + margin) * (1 + 1e-5)


@given(steps=st.lists(boxes, min_size=1, max_size=12), margin=st.floats(0, 0.17))
def test_up_to_a_margin_of_017_the_box_stays_in_the_crop(
    steps: list[tuple[float, float, float, float]], margin: float
) -> None:
    lock = CropLock(margin)
    for seq, (x, y, width, height) in enumerate(steps):
        lock.start_frame("hall", seq, SIZE)
        crop = lock.get_anchor("hall", 1, region(x, y, width, height)).region.corners
        # As above.
        assert (crop[:2] <= np.array([x, y]) + 1e-3).all()
        assert (crop[2:] >= np.array([x + width, y + height]) - 1e-3).all()


@given(box=boxes, margin=st.floats(0.02, 0.5), trembles=st.lists(st.floats(-1, 1), max_size=10))
def test_a_box_that_trembles_within_the_margin_keeps_its_crop(
    box: tuple[float, float, float, float], margin: float, trembles: list[float]
) -> None:
    lock = CropLock(margin)
    x, y, width, height = box
    first = get_number(lock, 0, region(*box))
    # The margin is a share of the region, which is at least the box: half of it is on each side.
    sway = 0.49 * margin * np.array([width, height])
    for seq, tremble in enumerate(trembles, start=1):
        moved = region(x + tremble * sway[0], y - tremble * sway[1], width, height)
        assert get_number(lock, seq, moved) == first
