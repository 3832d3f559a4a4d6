"""The weights that a training starts from, and what to do where they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.hub import catalogue  # noqa: E402
from engines.training.initial_weights import load_initial_weights  # noqa: E402
from engines.training.recipe import InitialWeights, Recipe, Synthetic, read_recipe  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(recipe: Recipe, model: Any = None) -> None:
    load_initial_weights(model, recipe, catalogue.find_network(recipe.network)[1])


MISSING = {
    "inspose-r50-coco": (
        "recipe of inspose-r50: it starts from resnet50-0676ba61.pth, which is not there; "
        "'posestream pull inspose-r50' fetches it, or says what to put where"
    ),
    "fami-posetrack17": (
        "recipe of fami-w48-384x288: it starts from runs/hrnet-w48-coco/weights.safetensors, which is not there; start "
        "from published weights, those of COCO: 'posestream pull fami-w48-384x288', then in the recipe "
        "'initial_weights: [{file: hrnet_w48_coco_384x288-314c8528_20200708.pth, layout: hrnet-mmpose, into: hrnet}]'; "
        "or train it first, with 'posestream train configs/training/hrnet-w48-coco.yaml'"
    ),
    "tdmi-st-hieve": (
        "recipe of tdmi-st-w48-384x288: it starts from runs/hrnet-w48-coco/weights.safetensors, which is not there; "
        "start from published weights, those of COCO: 'posestream pull tdmi-st-w48-384x288', then in the recipe "
        "'initial_weights: [{file: hrnet_w48_coco_384x288-314c8528_20200708.pth, layout: hrnet-mmpose, into: hrnet, "
        "skip: [final_layer]}]'; or train it first, with 'posestream train configs/training/hrnet-w48-coco.yaml'"
    ),
    "fami-small-synthetic": (
        "recipe of fami-small-128x96: it starts from runs/hrnet-small-synthetic/weights.safetensors, which is not "
        "there; train it first, with 'posestream train configs/training/hrnet-small-synthetic.yaml'"
    ),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_weights_are_an_error_that_says_where_they_come_from(name: str) -> None:
    with pytest.raises(EngineError) as caught:
        load(read_recipe(ROOT / f"configs/training/{name}.yaml"))
    assert str(caught.value) == MISSING[name]


def test_a_file_of_neither_kind_is_named() -> None:
    recipe = Recipe(network="inspose-r50", data=Synthetic(), initial_weights=(InitialWeights(file="mine.pth"),))
    with pytest.raises(EngineError, match=r"starts from mine\.pth, which is not there; give another file in initial_w"):
        load(recipe)


def test_a_published_file_is_taken_from_the_cache(cache: Path) -> None:
    model = torch.nn.Module()
    model.backbone = torch.nn.Linear(2, 3)
    recipe = read_recipe(ROOT / "configs/training/inspose-r50-coco.yaml")
    (initial,) = recipe.initial_weights
    recipe = msgspec.structs.replace(recipe, initial_weights=(msgspec.structs.replace(initial, layout="ours"),))
    (cache / "models").mkdir()
    weights = {"weight": torch.ones(3, 2), "bias": torch.full((3,), 2.0)}
    torch.save(weights, cache / "models/resnet50-0676ba61.pth")
    load(recipe, model)
    assert all(torch.equal(value, weights[name]) for name, value in model.backbone.state_dict().items())
