"""``posestream train``: from a recipe to weights, with a log and scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.training import gradients, memory_check  # noqa: E402
from engines.training.session import WEIGHTS, _describe, prepare  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]

NETWORK: dict[str, Any] = {
    "kind": "network",
    "title": "micro",
    "licence": "Apache-2.0",
    "network": {
        "model": "fami.FAMIPose",
        "hrnet": {"width": 12, "modules": [1, 1, 1], "blocks": 1, "stem_width": 8, "bottlenecks": 1},
        "input_size": [64, 64],
        "window": [-1, 0],
        "skeleton": "coco17",
        "options": {"frames": [-1, 0]},
    },
}
RECIPE: dict[str, Any] = {
    "data": {"type": "synthetic", "scenes": 2, "moments": 1, "validation_scenes": 1},
    "terms": {"mutual_information": 0.1},
    "epochs": 1,
    "batch": 4,
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe that trains for seconds."""
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "micro.yaml").write_text(yaml.safe_dump(NETWORK))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"network": str(tmp_path / "micro.yaml"), **RECIPE}))
    return path


@pytest.mark.slow
def test_a_training_writes_weights_a_log_and_scores(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(recipe, tmp_path / "run", workers=1).run()
    messages = capsys.readouterr().err
    assert "epoch 1: PCK@0.1 of visible (hidden) joints: easy" in messages
    assert f"--weights {tmp_path / 'run' / WEIGHTS}" in messages
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert {"step", "total", "heatmap", "mutual_information"} <= rows[0].keys()
    assert rows[-1]["pck"].keys() == {"easy", "blurred", "occluded", "crossing"}
    assert (tmp_path / "run" / WEIGHTS).is_file()


def test_gradients_of_terms_are_logged_and_weights_without_a_gradient_are_named(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # In the first step Θ's last layer is 0, so nothing before it has a gradient yet.
    monkeypatch.setattr(gradients, "DEAD_AFTER", 1)
    prepare(recipe, tmp_path / "run", workers=1, tensorboard=False).run()
    messages = " ".join(capsys.readouterr().err.split())
    assert ": gtm.phi.0, gtm.phi.1, gtm.phi.2, " in messages
    assert "had no gradient in 1 steps and will not learn; check what initialises it, or freeze it" in messages
    first = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[0])
    assert first["gradient/heatmap"] > 0
    assert first["gradient/mutual_information"] > 0


def test_the_progress_bar_shows_the_gradient_of_every_term() -> None:
    norms = {"heatmap": 0.0123, "mutual_information": 0.2}
    assert _describe(0.5, norms) == "training, loss 0.5 (gradients: heatmap 0.012, mutual_information 0.2)"
    assert _describe(0.5, {"heatmap": 0.0123}) == "training, loss 0.5"


def test_switches_of_an_ablation_replace_the_networks_options(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(recipe.read_text() + "options: {calibration: false}\n")
    assert prepare(recipe, tmp_path / "run", workers=1, tensorboard=False).trainer.model.lcm is None
    recipe.write_text(recipe.read_text().replace("calibration", "calibrates"))
    with pytest.raises(EngineError, match="got an unexpected keyword argument 'calibrates'"):
        prepare(recipe, tmp_path / "other", workers=1, tensorboard=False)


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_an_error_naming_one_that_does(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "free_bytes", lambda _: 60 * 2**20)
    recipe.write_text(recipe.read_text().replace("batch: 4", "batch: 5000"))
    with pytest.raises(EngineError) as caught:
        prepare(recipe, tmp_path / "run")
    assert "a step of batch=5000 needs about" in str(caught.value)
    assert "and cpu has 0.1 free; batch=" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_finished_training_can_be_repeated_and_extended(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for epochs in (1, 1, 2):
        session = prepare(recipe, tmp_path / "run", workers=1, epochs=epochs, tensorboard=False)
        if epochs == 2:
            session.trainer.state.best = 2.0  # no later score is better
        session.run()
        assert (tmp_path / "run" / WEIGHTS).is_file()
    assert "resuming after step" in capsys.readouterr().err
