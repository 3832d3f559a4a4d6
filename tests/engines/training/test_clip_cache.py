"""Rendered people are read back from the cache, and only for the same settings and code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import engines
from engines.training import clip_cache
from engines.training.clip_cache import cache_path, load_or_render
from engines.training.synthetic_samples import Tracks, TrackSettings, concatenate, render_scenes

SETTINGS = TrackSettings(size=(24, 32), frames=3, moments=1)
SEEDS = range(100_000, 100_003)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path))
    return tmp_path


def test_cached_tracks_equal_rendered_ones_and_are_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = concatenate(list(render_scenes(SEEDS, SETTINGS, 1)))
    counted: list[None] = []
    first = load_or_render(SEEDS, SETTINGS, 1, lambda: counted.append(None))
    monkeypatch.setattr(clip_cache, "render_scenes", lambda *_: pytest.fail("rendered again"))
    for tracks in (first, load_or_render(SEEDS, SETTINGS, 1, lambda: counted.append(None))):
        assert len(tracks) == len(rendered) > 0
        for name in ("pictures", "joints", "sizes"):
            np.testing.assert_array_equal(getattr(tracks, name), getattr(rendered, name))
    assert len(counted) == len(SEEDS)


def test_other_seeds_settings_or_code_have_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        cache_path(SEEDS, SETTINGS),
        cache_path(range(100_000, 100_004), SETTINGS),
        cache_path(SEEDS, TrackSettings(size=(24, 32), frames=3, moments=2)),
        cache_path(SEEDS, TrackSettings(size=(24, 32), frames=3, moments=1, kind="easy")),
    ]
    monkeypatch.setattr(clip_cache, "_hash_code", lambda: "other code")
    assert len({*others, cache_path(SEEDS, SETTINGS)}) == 5


def test_an_interrupted_rendering_leaves_no_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_render(SEEDS, SETTINGS, 1, stop)
    assert list((cache / "synthetic").iterdir()) == []


def test_scenes_without_people_are_cached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Tracks(np.zeros((0, 3, 32, 24, 3), np.uint8), np.zeros((0, 3, 17, 3), np.float32), np.zeros(0, np.float32))
    monkeypatch.setattr(clip_cache, "render_scenes", lambda *_: iter([empty]))
    assert load_or_render(SEEDS, SETTINGS, 1, lambda: None).pictures.shape == (0, 3, 32, 24, 3)


def test_the_key_covers_all_code_that_renders() -> None:
    root = Path(engines.__file__).parent
    matched = {str(path.relative_to(root)) for pattern in clip_cache.RENDERING_CODE for path in root.glob(pattern)}
    assert {"datasets/synthetic/scene.py", "vision/crop.py", "training/synthetic_samples.py"} <= matched
    assert all(list(root.glob(pattern)) for pattern in clip_cache.RENDERING_CODE)
