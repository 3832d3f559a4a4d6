"""Networks that learn the keypoints of a later frame: what they are shown, and that motion can be learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from rich.console import Console  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from engines.datasets.synthetic import moments  # noqa: E402
from engines.datasets.synthetic.scene import Picture  # noqa: E402
from engines.errors import EngineError  # noqa: E402
from engines.hub import catalogue  # noqa: E402
from engines.models.temporal import Features, TemporalModel  # noqa: E402
from engines.training import crop_task, synthetic_samples, validation  # noqa: E402
from engines.training.batches import WindowSamples  # noqa: E402
from engines.training.recipe import Augmentation, Optimisation, Recipe, Synthetic, read_recipe  # noqa: E402
from engines.training.session import _write_entry  # noqa: E402
from engines.training.synthetic_samples import Tracks, TrackSettings, render_scene  # noqa: E402
from engines.training.tasks import find_spec, make_task  # noqa: E402
from engines.training.trainer import Trainer  # noqa: E402
from engines.training.validation import SyntheticValidator, predict  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
SMALL = TrackSettings(size=(48, 64), moments=1, kind="crossing")


def test_a_horizon_changes_the_joints_and_not_the_crops() -> None:
    tracks = render_scene(7, SMALL)
    everyone, rng = np.arange(len(tracks)), np.random.default_rng(0)
    now, later = (WindowSamples(tracks, (-1, 0), horizon).batch(everyone, None, rng) for horizon in (0, 2))
    assert torch.equal(now.crops, later.crops)
    assert np.array_equal(now.joints, tracks.joints[:, 2])
    assert np.array_equal(later.joints, tracks.joints[:, 4])
    assert not torch.equal(now.joints, later.joints)


def test_no_box_but_the_key_frames_has_a_part_in_the_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = render_scene(7, SMALL)
    real = moments.render_moment

    def hide_boxes(*arguments: Any) -> Sequence[Picture]:
        pictures = real(*arguments)
        middle = len(pictures) // 2
        return [
            picture if index == middle else replace(picture, boxes=np.full_like(picture.boxes, np.nan))
            for index, picture in enumerate(pictures)
        ]

    monkeypatch.setattr(synthetic_samples, "render_moment", hide_boxes)
    hidden = render_scene(7, SMALL)
    assert len(whole) > 0
    assert np.array_equal(whole.pictures, hidden.pictures)
    assert np.array_equal(whole.joints, hidden.joints)


class TwoFrames(TemporalModel):
    """The smallest network that can see motion: a few filters of both frames' brightness."""

    def __init__(self) -> None:
        super().__init__((-1, 0))
        self.mix = nn.Sequential(nn.Conv2d(2, 16, 9, padding=4), nn.LeakyReLU(0.1), nn.Conv2d(16, 17, 5, padding=2))

    def backbone(self, crops: Tensor) -> Features:
        return (nn.functional.avg_pool2d(crops.mean(1, keepdim=True), 4),)

    def head(self, window: Features) -> Tensor:
        heatmaps: Tensor = self.mix(window[0].flatten(1, 2))
        return heatmaps


def dots(number: int, seed: int) -> Tracks:
    """Bright dots that carry all joints, to the left or to the right at 6 px a frame."""
    rng = np.random.default_rng(seed)
    steps = np.arange(-2, 3)[:, None]
    ways = rng.choice([-1, 1], (number, 1, 1)) * [1, 0]
    places = rng.uniform(24, 40, (number, 1, 2)) + 6 * steps * ways
    rows, columns = np.mgrid[:64, :64]
    off = (columns - places[..., 0, None, None]) ** 2 + (rows - places[..., 1, None, None]) ** 2
    pictures = np.repeat((255 * np.exp(-off / 32))[..., None], 3, -1).astype(np.uint8)
    joints = np.concatenate([places, np.full((number, 5, 1), 2)], -1)[:, :, None].repeat(17, 2)
    return Tracks(pictures, joints.astype(np.float32), np.full(number, 64, np.float32))


def test_constant_motion_is_learned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = Recipe(
        network="two frames",
        data=Synthetic(),
        horizon=2,
        optimisation=Optimisation(rate=5e-3, schedule="one-cycle"),
        augmentation=Augmentation(flip=0, gain=0, tint=0, shift=0),
        batch=16,
        epochs=5,
    )
    trainer = Trainer(recipe, TwoFrames(), WindowSamples(dots(256, 0), (-1, 0), recipe.horizon), tmp_path)
    trainer.run(lambda *_: None)
    held_out = WindowSamples(dots(64, 1), (-1, 0), recipe.horizon)
    batch = held_out.batch(np.arange(64), None, np.random.default_rng(0))
    found, _ = predict(trainer.objective, batch.crops)
    error_px = np.linalg.norm(found - batch.joints[..., :2].numpy(), axis=-1).mean()
    assert error_px < 5  # holding is 12 px off: two frames at 6 px a frame
    # Scored against the key frame's joints it is as far off as holding is against those of the horizon.
    scores = [SyntheticValidator({"easy": dots(64, 1)}, (-1, 0), horizon)(trainer.objective).mean for horizon in (2, 0)]
    assert scores[0] > 0.9
    assert scores[1] < 0.1


def test_a_recipes_horizon_reaches_the_data_and_the_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(data=Synthetic(), horizon=3)
    frames: list[int] = []

    def draw(_seeds: Any, settings: TrackSettings, *_: Any) -> Tracks:
        frames.append(settings.frames)
        joints = np.arange(settings.frames, dtype=np.float32)[None, :, None, None].repeat(17, 2).repeat(3, 3)
        return Tracks(np.zeros((1, settings.frames, 128, 96, 3), np.uint8), joints, np.ones(1, np.float32))

    for module in (crop_task, validation):
        monkeypatch.setattr(module, "load_or_render", draw)
    samples, validator = make_task(recipe, find_spec(recipe)).load_data(1, Console(quiet=True))
    assert set(frames) == {7}  # three on either side of the key frame
    assert pick_joints(samples) == {6.0}
    assert set(validator.examples(4).joints.unique().tolist()) == {6.0}
    short = small_recipe(data=Synthetic(frames=5), horizon=3)
    with pytest.raises(EngineError, match=r"data.frames=5 is less than the 7 .* and horizon 3 need; set it to 7"):
        make_task(short, find_spec(short)).load_data(1, Console(quiet=True))


def small_recipe(**changes: Any) -> Recipe:
    return msgspec.structs.replace(read_recipe(ROOT / "configs/training/fami-small-synthetic.yaml"), **changes)


def pick_joints(samples: Any) -> set[float]:
    return set(samples.batch(np.arange(1), None, np.random.default_rng(0)).joints.unique().tolist())


def test_a_network_with_a_horizon_keeps_it_in_its_entry_and_is_not_exported(tmp_path: Path) -> None:
    recipe = small_recipe(horizon=2)
    _write_entry(tmp_path / "network.yaml", recipe, find_spec(recipe))
    name, spec = catalogue.find_network(str(tmp_path / "network.yaml"))
    assert spec.horizon == 2
    assert find_spec(small_recipe(network=str(tmp_path / "network.yaml"))).horizon == 2
    with pytest.raises(
        EngineError, match=r"gives the keypoints of 2 frames after its key frame .* put 'predict' after"
    ):
        spec.signature(name)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("fami-posetrack17", "horizon=1 is for synthetic people, but its data are a labelled data set"),
        ("inspose-small-synthetic", "horizon=1 is for networks of crops, but it takes whole pictures; leave it out"),
    ],
)
def test_a_horizon_that_has_no_truth_is_an_error(recipe: str, words: str) -> None:
    read = msgspec.structs.replace(read_recipe(ROOT / f"configs/training/{recipe}.yaml"), horizon=1)
    with pytest.raises(EngineError, match=words):
        make_task(read, find_spec(read))


@pytest.mark.parametrize("horizon", [-1, 8, 1.5])
def test_a_horizon_beyond_what_is_rendered_is_an_error(tmp_path: Path, horizon: float) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"network: any\ndata: {{type: synthetic}}\nhorizon: {horizon}\n")
    with pytest.raises(EngineError, match="horizon must be an integer"):
        read_recipe(recipe)
