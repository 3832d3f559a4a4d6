"""How the shipped network was trained, and how right it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines import catalogue
from engines.engine import load
from engines.signature import read_signature
from engines.skeletons import SKELETONS

FLIP = list(SKELETONS["coco17"].flip_order)


def test_the_shipped_network_is_right_about_people_it_never_saw() -> None:
    from engines.training.judge import judge

    verdict = judge("tiny", range(34))
    assert verdict.frames > 95  # three moments of each of 34 scenes, less those in which nobody is in sight
    # Measured on these frames: 0.965 and 0.927. OpenCV's versions differ by grey levels, which moves some keypoints.
    assert float(verdict.scores["PCK@0.2 visible"]) > 0.955
    assert float(verdict.scores["PCK@0.1 visible"]) > 0.915


def test_the_shipped_network_is_small_and_needs_one_frame() -> None:
    assert (catalogue.WEIGHTS / "tiny.onnx").stat().st_size < 1.5e6
    with load("tiny") as engine:
        assert (engine.signature.past, engine.signature.future) == (0, 0)
        assert engine.signature.fingerprint == catalogue.fingerprint(catalogue.WEIGHTS / "tiny.onnx")


def test_a_heatmap_is_highest_in_the_cell_nearest_to_its_joint() -> None:
    torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install 'posestream[torch]')")
    from engines.training.tiny import heatmaps_of

    joints = torch.zeros(1, 17, 3)
    joints[0, :, 2] = 2
    joints[0, 0, :2] = torch.tensor([41.0, 83.0])  # in the crop; cells are 4 px apart, so (10.25, 20.75)
    joints[0, 1] = torch.tensor([-30.0, 10.0, 2.0])  # beyond the crop
    joints[0, 2, 2] = 0  # outside the picture
    heatmaps, weights = heatmaps_of(joints, (48, 36))
    assert divmod(int(heatmaps[0, 0].argmax()), 36) == (21, 10)
    assert weights[0, :4].tolist() == [1, 0, 0, 1]


def test_a_mirrored_crop_has_its_sides_exchanged() -> None:
    torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install 'posestream[torch]')")
    from engines.training.tiny import _augmented

    pictures = np.zeros((64, 192, 144, 3), np.uint8)
    pictures[:, :, :40] = 200
    joints = np.zeros((64, 17, 3), np.float32)
    joints[..., 0] = 20 + np.arange(17)
    inputs, places = _augmented(pictures, joints.copy(), np.random.default_rng(0))
    mirrored = (inputs[:, 1, 0, 0] < inputs[:, 1, 0, -1]).numpy()
    assert 10 < mirrored.sum() < 54  # about half of 64
    assert torch.equal(places[~mirrored], torch.from_numpy(joints)[~mirrored])
    expected = 143 - joints[mirrored][:, FLIP, 0]
    assert np.array_equal(places[mirrored, :, 0].numpy(), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # PyTorch's own, in its exporter
def test_training_writes_a_network_that_onnx_runtime_runs_as_pytorch_does(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs PyTorch (pip install 'posestream[torch]')")
    pytest.importorskip("onnxscript", reason="export needs onnxscript (pip install 'posestream[torch]')")
    from rich.progress import Progress

    from engines.training.tiny import Recipe, export, gather, train

    recipe = Recipe(scenes=4, epochs=1, batch=32)
    with Progress(disable=True) as progress:
        model = train(recipe, gather(recipe, progress), progress)
    path = export(model, tmp_path)
    assert read_signature(tmp_path / "tiny.json").fingerprint == catalogue.fingerprint(path)
    _agree(model, path)


def _agree(model: object, path: Path) -> None:
    import torch

    from engines.backends.onnxrt import OnnxRuntime

    crops = np.random.default_rng(0).normal(size=(3, 3, 192, 144)).astype(np.float32)
    backend = OnnxRuntime(path)
    backend.open()
    ran = backend.run({"image": crops})["heatmaps"]
    assert callable(model)
    with torch.no_grad():
        wanted = model(torch.from_numpy(crops)).numpy()
    # Single precision through some forty layers, added up in another order.
    np.testing.assert_allclose(ran, wanted, atol=1e-4)
