"""What was drawn once is read again, and never in the place of anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from engines.training import clip_cache
from engines.training.clip_cache import filmed, folder_of
from engines.training.synthetic_samples import Filming, Tracks, film, joined

ASKED = Filming(size=(24, 32), frames=3, moments=1)
SEEDS = range(100_000, 100_003)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path))
    return tmp_path


def test_what_is_kept_is_what_was_drawn_and_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = joined(list(film(SEEDS, ASKED, 1)))
    counted: list[None] = []
    first = filmed(SEEDS, ASKED, 1, lambda: counted.append(None))
    monkeypatch.setattr(clip_cache, "film", lambda *_: pytest.fail("drawn again"))
    for tracks in (first, filmed(SEEDS, ASKED, 1, lambda: counted.append(None))):
        assert len(tracks) == len(drawn) > 0
        for name in ("pictures", "joints", "sizes"):
            np.testing.assert_array_equal(getattr(tracks, name), getattr(drawn, name))
    assert len(counted) == len(SEEDS)


def test_anything_else_that_is_asked_lies_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        folder_of(SEEDS, ASKED),
        folder_of(range(100_000, 100_004), ASKED),
        folder_of(SEEDS, Filming(size=(24, 32), frames=3, moments=2)),
        folder_of(SEEDS, Filming(size=(24, 32), frames=3, moments=1, kind="easy")),
    ]
    monkeypatch.setattr(clip_cache, "_code", lambda: "other code")
    assert len({*others, folder_of(SEEDS, ASKED)}) == 5


def test_an_interrupted_drawing_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filmed(SEEDS, ASKED, 1, stop)
    assert list((cache / "drawn").iterdir()) == []


def test_scenes_without_anybody_to_learn_from_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Tracks(np.zeros((0, 3, 32, 24, 3), np.uint8), np.zeros((0, 3, 17, 3), np.float32), np.zeros(0, np.float32))
    monkeypatch.setattr(clip_cache, "film", lambda *_: iter([empty]))
    assert filmed(SEEDS, ASKED, 1, lambda: None).pictures.shape == (0, 3, 32, 24, 3)
