"""Keypoints do not depend on how many threads share the work, bit for bit: for both networks that ship, which run in
both ways there are, and for one whose batch is fixed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engines.backends.cores import BEST_BATCH
from engines.backends.onnxrt import OnnxRuntime
from engines.datasets.synthetic.scene import Scene
from engines.inference.engine import Engine, PersonWindows, load
from engines.spec.signature import Signature
from engines.spec.tensors import Array
from tests.engines import networks

FRAMES = 4
PEOPLE = 5


@cache
def draw(seq: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, boxes and ids of one frame."""
    picture = Scene(3, PEOPLE, 320, 240).at(seq / 15, seq)
    return picture.pixels.copy(), picture.boxes, picture.ids


def make_windows(signature: Signature) -> list[PersonWindows]:
    windows = []
    for seq in range(signature.past, FRAMES - signature.future):
        seqs = range(seq - signature.past, seq + signature.future + 1)
        keys = tuple(("cam", each) for each in seqs)
        windows.append(PersonWindows(tuple(draw(each)[0] for each in seqs), keys, *draw(seq)[1:]))
    return windows


def estimate(engine: Engine) -> list[np.ndarray]:
    """One window at a time, as on a live line, then all at once, as from a file."""
    with engine:
        windows = make_windows(engine.signature)
        return [*(engine.estimate([window])[0] for window in windows), *engine.estimate(windows[::-1])]


@pytest.mark.parametrize("model", ["hrnet-small", "fami-small"])
def test_networks_that_ship_give_the_same_keypoints_on_any_number_of_threads(model: str) -> None:
    alone = estimate(load(model, threads=1))
    assert min(map(len, alone)) > 2
    for threads in (2, 3):
        shared = estimate(load(model, threads=threads))
        for one, other in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("model", ["hrnet-small", "fami-small"])
def test_no_run_on_a_core_has_more_people_than_are_fast(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    run = OnnxRuntime.run

    def count(backend: OnnxRuntime, feeds: Mapping[str, Array]) -> dict[str, Array]:
        sizes.extend(map(len, feeds.values()))
        return run(backend, feeds)

    monkeypatch.setattr(OnnxRuntime, "run", count)
    with load(model, threads=1) as engine:
        engine.estimate(make_windows(engine.signature))
    assert max(sizes) == BEST_BATCH
    assert sum(sizes) > 2 * BEST_BATCH


def test_a_network_of_one_person_at_a_time_runs_side_by_side(tmp_path: Path) -> None:
    signature = Signature(name="single", input_size=(48, 64))
    path = networks.brightness(tmp_path / "single.onnx", batch=1)
    alone, shared = (estimate(Engine(signature, OnnxRuntime(path, threads=threads))) for threads in (1, 4))
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one, other)
