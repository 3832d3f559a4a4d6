"""Feature slots: claiming, reuse, eviction and grouping."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import EngineError
from engines.inference.feature_slots import FeatureSlots, SlotKey, split_by_slots


def keys(*seqs: int, anchor: int = 1) -> list[SlotKey]:
    return [SlotKey("hall", seq, 1, anchor) for seq in seqs]


def test_a_known_key_keeps_its_slot_and_is_not_missing() -> None:
    slots = FeatureSlots(4)
    assert slots.claim(keys(0, 1, 2)) == keys(0, 1, 2)
    before = [slots[key] for key in keys(1, 2)]
    assert slots.claim(keys(1, 2, 3)) == keys(3)
    assert [slots[key] for key in keys(1, 2)] == before


def test_a_repeated_frame_takes_one_slot() -> None:
    slots = FeatureSlots(2)
    assert slots.claim(keys(0, 0, 0, 1)) == keys(0, 1)


def test_another_crop_of_the_same_person_in_the_same_frame_is_another_key() -> None:
    slots = FeatureSlots(4)
    slots.claim(keys(0, 1))
    assert slots.claim(keys(0, 1, anchor=2)) == keys(0, 1, anchor=2)


def test_the_least_recently_used_slot_is_replaced_first() -> None:
    slots = FeatureSlots(3)
    slots.claim(keys(0))
    slots.claim(keys(1))
    slots.claim(keys(2))
    slots.claim(keys(0))
    slots.claim(keys(3))
    assert slots.claim(keys(0, 2, 3)) == []
    assert slots.claim(keys(1)) == keys(1)


def test_more_keys_than_slots_raise_naming_both_numbers() -> None:
    with pytest.raises(EngineError) as caught:
        FeatureSlots(2).claim(keys(0, 1, 2))
    assert str(caught.value) == "3 crops are needed at once, but the feature cache has 2 slots; raise people"


def test_freed_slots_are_taken_before_others_are_replaced() -> None:
    slots = FeatureSlots(4)
    slots.claim([*keys(0, 1), *keys(0, 1, anchor=2)])
    slots.free(lambda key: key.anchor == 1)
    assert len(slots) == 2
    slots.claim(keys(5, 6, anchor=3))
    assert slots.claim(keys(0, 1, anchor=2)) == []


some_keys = st.builds(
    SlotKey, st.sampled_from(["hall", "yard"]), st.integers(0, 6), st.integers(-1, 2), st.integers(1, 2)
)


@given(
    count=st.integers(1, 8), batches=st.lists(st.lists(some_keys, max_size=12), max_size=20), freed=st.integers(0, 9)
)
def test_a_slot_always_holds_the_key_that_filled_it(count: int, batches: list[list[SlotKey]], freed: int) -> None:
    slots = FeatureSlots(count)
    memory: dict[int, SlotKey] = {}
    for number, batch in enumerate(batches):
        if len(set(batch)) > count:
            continue
        for key in slots.claim(batch):
            memory[slots[key]] = key
        assert all(0 <= slots[key] < count and memory[slots[key]] == key for key in batch)
        if number == freed:
            slots.free(lambda key: key.camera == "hall")
            assert set(slots.claim(dict.fromkeys(key for key in batch if key.camera == "yard"))) == set()


@given(count=st.integers(1, 6), rows=st.lists(st.lists(some_keys, min_size=1, max_size=4), max_size=12))
def test_groups_cover_all_rows_in_order_and_are_as_large_as_possible(count: int, rows: list[list[SlotKey]]) -> None:
    groups = list(split_by_slots(rows, count))
    assert [row for group in groups for row in rows[group]] == rows
    for group in groups:
        needed = {key for row in rows[group] for key in row}
        assert len(needed) <= count or group.stop - group.start == 1
    for group, after in pairwise(groups):
        assert len({key for row in [*rows[group], rows[after.start]] for key in row}) > count
