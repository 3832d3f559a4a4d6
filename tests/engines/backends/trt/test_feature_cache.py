"""Feature caches on a simulated GPU: equal to whole windows, maps that never leave it, and one wait a read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.backends.base import FeatureCache
from engines.backends.registry import make_backend, make_feature_cache
from engines.errors import EngineError
from engines.spec.tensors import Array
from engines.testing.feature_caches import check_feature_cache
from tests.engines.backends.trt import drawn
from tests.engines.backends.trt.simulated import Simulation
from tests.engines.exports import write_export

MODES = ("tensorrt", "tensorrt:nograph")
FRAMES, SLOTS = 5, 12
MAP_BYTES = 4 * 16 * 12 * 4
"""Of one frame of ``tests.engines.exports``: 4 channels of 16 x 12 float32."""


@pytest.fixture
def export(tmp_path: Path) -> Path:
    return write_export(tmp_path / "export")


def open_cache(export: Path, mode: str = "tensorrt", slots: int = SLOTS) -> FeatureCache:
    cache = make_feature_cache(export / "backbone.onnx", export / "head.onnx", slots, mode)
    cache.open()
    return cache


def frames(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 255, (count, 64, 48, 3), np.uint8)


def whole(export: Path, crops: Array) -> Array:
    backend = make_backend(export / "fused.onnx", "onnxrt:cpu")
    backend.open()
    return backend.run({"crops": crops})["points"]


@pytest.mark.parametrize("mode", MODES)
def test_it_keeps_what_every_feature_cache_promises(simulated: Simulation, export: Path, mode: str) -> None:
    check_feature_cache(
        lambda slots: make_cache(export, slots, mode), lambda: make_backend(export / "fused.onnx", mode)
    )


@pytest.mark.parametrize("mode", MODES)
def test_it_keeps_several_maps_of_different_types_and_odd_sizes(
    simulated: Simulation, tmp_path: Path, mode: str
) -> None:
    export = drawn.write_cut(tmp_path / "cut")
    # Both ways keep the same halves; what batching changes is the order of float32 sums of about a thousand.
    check_feature_cache(
        lambda slots: make_cache(export, slots, mode), lambda: make_backend(export / "fused.onnx", mode), atol=1e-2
    )


def make_cache(export: Path, slots: int, mode: str) -> FeatureCache:
    return make_feature_cache(export / "backbone.onnx", export / "head.onnx", slots, mode)


@pytest.mark.parametrize("mode", MODES)
def test_frames_and_windows_beyond_what_the_engines_take_at_once_go_in_parts(
    simulated: Simulation, export: Path, mode: str
) -> None:
    cache, crops = open_cache(export, mode), frames(SLOTS)
    order = np.random.default_rng(1).permutation(SLOTS)
    cache.store(order, crops[order])
    windows = np.array([np.arange(first, first + FRAMES) for first in range(7)])
    np.testing.assert_allclose(cache.read(windows)["points"], whole(export, crops[windows]), atol=1e-4)
    cache.close()


def test_the_host_has_room_for_crops_and_points_alone(simulated: Simulation, export: Path) -> None:
    cache = open_cache(export)
    pinned = sum(memory.size for memory in simulated.gpu.pinned.values())
    largest = max(simulated.batches)
    assert pinned == largest * (64 * 48 * 3 + 17 * 3 * 4)
    on_gpu = {memory.size for memory in simulated.gpu.taken.values()}
    assert SLOTS * MAP_BYTES in on_gpu
    cache.close()


@pytest.mark.parametrize("mode", MODES)
def test_only_reading_waits_and_once(simulated: Simulation, export: Path, mode: str) -> None:
    cache, counts = open_cache(export, mode), simulated.gpu.counts
    windows = np.arange(FRAMES)[None]
    cache.store(windows[0][:4], frames(4))
    assert counts["waits"] == 0
    cache.store(windows[0][4:], frames(1))
    assert counts["waits"] == 1, "crops wait for those before them to have left, since they lie in the same memory"
    for _ in range(3):
        before = counts["waits"]
        cache.read(windows)
        cache.store(np.array([7]), frames(1))
        assert counts["waits"] == before + 1
    cache.close()


def test_backbone_and_head_share_their_scratch_memory(simulated: Simulation, export: Path) -> None:
    cache = open_cache(export)
    assert sorted(memory.size for memory in simulated.gpu.taken.values()).count(5000) == 1
    cache.close()


@pytest.mark.parametrize(("mode", "copies"), [("tensorrt", 2), ("tensorrt:nograph", 1)])
def test_without_graphs_the_backbone_writes_straight_into_slots_that_follow_each_other(
    simulated: Simulation, export: Path, mode: str, copies: int
) -> None:
    cache, counts = open_cache(export, mode), simulated.gpu.counts
    crops = frames(3)
    cache.store(np.array([4, 5, 6]), crops)
    # One copy to the GPU; by a graph, whose address is fixed, one more from there into the slots.
    assert counts["copies"] == copies
    cache.close()


def test_slots_that_do_not_follow_each_other_take_a_copy_for_each_run(simulated: Simulation, export: Path) -> None:
    cache, counts = open_cache(export, "tensorrt:nograph"), simulated.gpu.counts
    cache.store(np.array([4, 5, 0, 9]), frames(4))
    assert counts["copies"] == 1 + 3
    cache.close()


def test_rows_whose_slots_follow_each_other_are_one_run(simulated: Simulation) -> None:
    find_runs = simulated.module("feature_cache").find_runs
    assert list(find_runs(np.array([4, 5, 6, 0, 1, 1]))) == [(0, 4, 3), (3, 0, 2), (5, 1, 1)]
    assert list(find_runs(np.array([3]))) == [(0, 3, 1)]
    assert list(find_runs(np.array([2, 1, 0]))) == [(0, 2, 1), (1, 1, 1), (2, 0, 1)]


@pytest.mark.parametrize("mode", MODES)
def test_a_window_that_lies_in_the_store_as_it_is_equals_one_that_is_gathered(
    simulated: Simulation, export: Path, mode: str
) -> None:
    cache, crops = open_cache(export, mode), frames(FRAMES)
    cache.store(np.arange(5, 9), crops[:4])
    cache.store(np.array([9]), crops[4:])
    cache.store(np.array([0, 2, 4, 3]), crops[[0, 2, 4, 3]])
    cache.store(np.array([1]), crops[[1]])
    straight = cache.read(np.arange(5, 10)[None])["points"]
    gathered = cache.read(np.array([[0, 1, 7, 3, 4]]))["points"]
    np.testing.assert_allclose(straight, whole(export, crops[None]), atol=1e-4)
    np.testing.assert_array_equal(straight, gathered)
    cache.close()


def test_a_context_that_still_runs_is_not_given_back(
    simulated: Simulation, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated.module("executor"), "MAX_CONTEXTS", 1)
    cache, crops = open_cache(export), frames(FRAMES)
    for first, last in ((0, 1), (1, 3), (3, 4), (4, 5)):
        cache.store(np.arange(first, last), crops[first:last])  # nothing waits between these
    points = cache.read(np.arange(FRAMES)[None])["points"]
    np.testing.assert_allclose(points, whole(export, crops[None]), atol=1e-4)
    cache.close()


def test_halves_of_two_exports_are_refused_and_nothing_is_left_behind(simulated: Simulation, tmp_path: Path) -> None:
    one, other = write_export(tmp_path / "one"), drawn.write_cut(tmp_path / "other")
    with pytest.raises(EngineError, match="they must be of the same export"):
        make_feature_cache(one / "backbone.onnx", other / "head.onnx", SLOTS, "tensorrt").open()
    assert simulated.gpu.leftovers == {}


def test_too_many_slots_for_the_gpu_are_reported(simulated: Simulation, export: Path) -> None:
    simulated.gpu.capacity = 1 << 20
    with pytest.raises(EngineError) as caught:
        open_cache(export, slots=10_000)
    assert str(caught.value).startswith(
        "backbone.onnx and head.onnx: TensorRT could not open it: CUDA says 'cuMemAlloc failed: out of memory'; free "
    )
    assert "fewer slots" in str(caught.value)
    assert simulated.gpu.leftovers == {}


def test_the_simulation_notices_crops_that_are_overwritten_before_they_left(
    simulated: Simulation, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, crops = open_cache(export), frames(FRAMES)
    monkeypatch.setattr(simulated.module("memory").cuda.Event, "synchronize", lambda self: self)
    for slot in range(FRAMES):
        cache.store(np.array([slot]), crops[slot : slot + 1])
    monkeypatch.undo()
    points = cache.read(np.arange(FRAMES)[None])["points"]
    assert not np.allclose(points, whole(export, crops[None]), atol=1e-2)
    cache.close()
