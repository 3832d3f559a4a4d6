"""TensorBoard: curves and previews read back from its event files, and the pixels of a preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

import torch

from engines.errors import EngineError
from engines.losses.heatmap import gaussian_heatmaps
from engines.metrics import HIDDEN, VISIBLE
from engines.training import tensorboard
from engines.training.batches import Batch, normalise, pick_spread
from engines.training.crop_task import EXAMPLES
from engines.training.session import prepare
from engines.training.tensorboard import draw_preview, open_board
from tests.engines.datasets import sample_datasets
from tests.engines.training.test_distributed import recipe


@pytest.fixture
def read() -> Any:
    """A function that reads event files."""
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard is not installed (pip install '.[train]')",
    )

    def reader(folder: Path) -> Any:
        # 0: all entries, not a sample
        found = events.EventAccumulator(str(folder), size_guidance={events.SCALARS: 0, events.IMAGES: 0})
        return found.Reload()

    return reader


def small(tmp_path: Path) -> Path:
    sample_datasets.coco(tmp_path / "data")
    settings = {"data": {"type": "coco", "root": str(tmp_path / "data")}, "epochs": 2, "batch": 3}
    return recipe(tmp_path, {"model": "hrnet.HRNet"}, settings)


@pytest.mark.slow
def test_a_resumed_training_writes_each_step_and_each_epochs_preview_once(tmp_path: Path, read: Any) -> None:
    path, out = small(tmp_path), tmp_path / "run"
    first = prepare(path, out)
    # Killed in the second epoch: step 4 was logged but not saved, so it is run again.
    first.trainer.run(lambda step, terms: first.board.write_step(step, terms), first.validate, until=3)  # type: ignore[union-attr]
    first.board.write_step(4, {"total": 99.0})  # type: ignore[union-attr]
    first.board.close()  # type: ignore[union-attr]
    prepare(path, out).run()
    found = read(out / tensorboard.FOLDER)
    totals = found.Scalars("loss/total")
    assert [point.step for point in totals] == [1, 2, 3, 4, 5, 6]
    assert all(point.value < 9 for point in totals)
    assert [point.step for point in found.Scalars("gradient/heatmap")] == [1]
    for name in ("loss/heatmap", "learning rate", "gradient norm", "samples per second"):
        assert [point.step for point in found.Scalars(name)] == [1, 2, 3, 4, 5, 6], name
    for name in ("validation/PCK@0.1", "validation/pck/0.05"):
        assert [point.step for point in found.Scalars(name)] == [3, 6], name
    pictures = found.Images("predictions")
    assert [picture.step for picture in pictures] == [3, 6]
    assert (pictures[0].height, pictures[0].width) == (2 * (256 + 8), 4 * (2 * 256 + 8))


def test_without_tensorboard_one_line_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorboard, "is_installed", lambda: False)
    prepare(small(tmp_path), tmp_path / "run").run()
    messages = capsys.readouterr().err
    assert "no TensorBoard curves: it is not installed; in a clone of posestream: pip install '.[train]'" in messages
    assert not (tmp_path / "run" / tensorboard.FOLDER).exists()
    with pytest.raises(EngineError) as caught:
        open_board(tmp_path, 0, wanted=True)
    assert (
        str(caught.value)
        == "--tensorboard: TensorBoard is not installed; in a clone of posestream: pip install '.[train]'"
    )


def test_no_tensorboard_writes_no_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = prepare(small(tmp_path), tmp_path / "run", tensorboard=False)
    assert session.board is None
    assert "TensorBoard" not in capsys.readouterr().err


# -- pictures ---------------------------------------------------------------------------------------------------------


class Shifted(torch.nn.Module):
    """A network that predicts every joint eight pixels too far to the right."""

    loss = "heatmap"

    def __init__(self, joints: Any) -> None:
        super().__init__()
        self.joints, self.device = joints, torch.nn.Parameter(torch.zeros(1))

    def heatmaps(self, crops: Any) -> Any:
        b, j = self.joints.shape[:2]
        points = self.joints[..., :2].reshape(-1, 2) + torch.tensor([8.0, 0.0])
        maps, _ = gaussian_heatmaps(points, torch.ones(b * j), (crops.shape[4] // 4, crops.shape[3] // 4), 2.0)
        return maps.reshape(b, j, *maps.shape[1:])


def one_joint(visibility: float) -> tuple[Batch, Any]:
    """A grey window of 64x64 whose only joint, the nose, is at (32, 32)."""
    joints = np.zeros((1, 17, 3), np.float32)
    joints[0, 0] = 32, 32, visibility
    pictures = np.full((1, 2, 64, 64, 3), 90, np.uint8)
    return Batch(normalise(pictures), torch.from_numpy(joints)), Shifted(torch.from_numpy(joints))


def coloured(pixels: Any) -> Any:
    """(x, y) of the middle of what is not grey."""
    rows, columns = np.nonzero(np.ptp(pixels.astype(int), axis=2) > 60)
    return (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2


def test_the_ground_truth_is_left_and_the_prediction_right() -> None:
    batch, network = one_joint(VISIBLE)
    pixels = draw_preview(network, batch, key=1, skeleton="coco17")
    assert pixels.shape == (256 + 8, 2 * 256 + 8, 3)
    # Four times as large: pixel 32 has its middle at 4 · 32 + 1.5, after a border of 4.
    assert coloured(pixels[:, 4:260]) == pytest.approx((129.5, 133.5), abs=1)
    # Gaussians stand at whole cells of 4 px, and 40 is one.
    assert coloured(pixels[:, 260:516]) == pytest.approx((161.5, 133.5), abs=1)


def test_a_hidden_joint_is_a_ring_and_one_without_annotation_is_not_drawn() -> None:
    hidden, network = one_joint(HIDDEN)
    assert np.ptp(draw_preview(network, hidden, 1, "coco17")[133, 4 + 129].astype(int)) < 60
    unknown, network = one_joint(0)
    pixels = draw_preview(network, unknown, 1, "coco17")[4:-4, 4:-4]
    assert np.ptp(pixels) == 0
    assert pixels[0, 0, 0] == 90


def test_the_key_frame_is_drawn_in_its_own_colours() -> None:
    pictures = np.zeros((3, 2, 64, 64, 3), np.uint8)
    pictures[:, 1] = 200, 100, 50
    batch = Batch(normalise(pictures), torch.zeros(3, 17, 3))
    pixels = draw_preview(Shifted(batch.joints), batch, 1, "coco17")
    assert tuple(pixels[100, 100]) == (200, 100, 50)
    # Three in a row, side by side.
    assert pixels.shape[1] == 3 * (2 * 256 + 8)


def test_examples_are_spread_and_reproducible(tmp_path: Path) -> None:
    validator = prepare(small(tmp_path), tmp_path / "run", tensorboard=False).validator
    first, second = validator.examples(3), validator.examples(3)
    assert torch.equal(first.crops, second.crops)
    assert len(first.crops) == 3
    assert len(validator.examples(EXAMPLES).crops) == 8
    every = pick_spread(validator.samples, 8)  # type: ignore[attr-defined]
    assert torch.equal(first.crops[0], every.crops[0])
    assert torch.equal(first.crops[2], every.crops[7])
