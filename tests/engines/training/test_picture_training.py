"""The training of a network of whole pictures: like any other, from its recipe to weights and scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")
pytest.importorskip("pycocotools")

from safetensors.torch import load_file  # noqa: E402

from engines.errors import EngineError  # noqa: E402
from engines.hub import catalogue  # noqa: E402
from engines.spec.network import build  # noqa: E402
from engines.training.picture_objective import PictureObjective  # noqa: E402
from engines.training.picture_samples import PictureBatch  # noqa: E402
from engines.training.picture_validation import DrawnPictureValidator  # noqa: E402
from engines.training.recipe import Optimisation, Recipe, Resizing, Synthetic  # noqa: E402
from engines.training.session import ENTRY, WEIGHTS, prepare  # noqa: E402
from engines.training.tasks import make_task  # noqa: E402
from engines.training.trainer import Trainer  # noqa: E402
from tests.engines.datasets import sample_datasets  # noqa: E402
from tests.engines.training.whole_pictures import SIZE, draw_pictures, make_model, make_samples, write_recipe  # noqa: E402


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))


def trainer(folder: Path) -> Trainer:
    recipe = Recipe(
        network="tiny",
        data=Synthetic(),
        epochs=2,
        batch=2,
        resizing=Resizing(short=(64, 96), long=128),
        optimisation=Optimisation(name="sgd", rate=1e-3, warmup=2, clip=10.0),
    )
    model = make_model()
    _, spec = catalogue.find_network("inspose-small-256x160")
    objective = make_task(recipe, spec).make_objective(model)
    return Trainer(recipe, model, make_samples(draw_pictures(3), (64, 96)), folder, objective=objective)


def quiet(step: int, terms: dict[str, float]) -> None:
    assert terms.keys() >= {"classification", "keypoint", "disk_offset", "heatmap", "total", "gradient_norm"}


def test_an_interrupted_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run(quiet)
    trainer(tmp_path / "parts").run(quiet, until=3)  # in the second epoch
    later = trainer(tmp_path / "parts")
    assert later.resume()
    later.run(quiet)
    theirs = later.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.model.state_dict().items())


def test_a_training_on_drawn_pictures_writes_weights_a_log_and_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = prepare(write_recipe(tmp_path), tmp_path / "run", workers=1)
    session.run()
    messages = capsys.readouterr().err
    assert "epoch 1: AP (AP50): easy " in messages
    assert f"posestream export {tmp_path / 'tiny.yaml'} --weights {tmp_path / 'run' / WEIGHTS}" in messages
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert rows[0].keys() >= {"step", "total", "classification", "keypoint"}
    assert rows[-1]["ap"].keys() == {"easy", "blurred", "occluded", "crossing"}
    assert (tmp_path / "run" / WEIGHTS).is_file()
    preview = session.task.draw_preview(session.task.make_objective(session.trainer.model), session.validator)
    assert preview.shape[2] == 3
    assert preview.shape[0] >= 256


def test_a_training_on_coco_is_scored_by_its_ap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample_datasets.coco(tmp_path / "coco")
    recipe = write_recipe(tmp_path, data={"type": "coco", "root": str(tmp_path / "coco")})
    prepare(recipe, tmp_path / "run", workers=1, tensorboard=False).run()
    messages = capsys.readouterr().err
    assert f"{tmp_path / 'coco'}: {sample_datasets.FRAMES} pictures to train on" in messages
    assert "epoch 1: AP 0.0  AP50 0.0" in messages


def test_conditions_without_annotated_people_have_no_score() -> None:
    drawn = draw_pictures(1)
    empty = replace(drawn, joints=np.zeros_like(drawn.joints))
    validator = DrawnPictureValidator({"easy": make_samples(empty)})
    metrics = validator(PictureObjective("tiny", make_model(), {}))
    assert (metrics.mean, metrics.values) == (0.0, {"ap": {}})


def test_the_options_of_a_recipe_are_those_of_its_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, options={"depth": 2, "auxiliary": False})
    prepare(recipe, tmp_path / "run", workers=1, tensorboard=False).run()
    assert f"posestream export {tmp_path / 'run' / ENTRY} --weights" in capsys.readouterr().err
    _, spec = catalogue.find_network(str(tmp_path / "run" / ENTRY))
    assert spec.options == {"width": 64, "depth": 2, "auxiliary": False}
    build("tiny", spec).load_state_dict(load_file(tmp_path / "run" / WEIGHTS))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a data set without AP": (
        {"data": {"type": "hieve", "root": "x", "validation": []}},
        "data set hieve (x): a network of whole pictures is scored by COCO's AP, which it does not have",
    ),
    "an option that does not exist": ({"options": {"height": 3}}, "unexpected keyword argument 'height'"),
    "augmentation of crops": (
        {"data": {"type": "coco", "root": "x"}, "augmentation": {"rotation": 40}},
        "half_body, scale and rotation are for networks of crops; give resizing instead",
    ),
    "sides in the wrong order": (
        {"resizing": {"short": [96, 64], "long": 128}},
        "short=[96, 64] and long=128 must be in ascending order",
    ),
    "a batch without end": ({"batch": 1_000_000}, "a step of batch=1000000 needs about"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_gets_one_line(case: str, tmp_path: Path) -> None:
    changes, words = WRONG[case]
    with pytest.raises(EngineError) as caught:
        prepare(write_recipe(tmp_path, **changes), tmp_path / "run", workers=1, tensorboard=False)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"resizing": {"short": [64, 96], "long": 128}}, {"data": {"people": [1, 2]}}], ids=str
)
def test_crops_have_no_sizes_of_pictures(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    data = {"type": "synthetic", **changes.pop("data", {})}
    path.write_text(yaml.safe_dump({"network": "hrnet-small-128x96", "data": data, **changes}))
    with pytest.raises(EngineError, match=r"is for networks of whole pictures; leave it out"):
        prepare(path, tmp_path / "run", workers=1)


def test_the_example_of_a_step_has_people(tmp_path: Path) -> None:
    recipe = Recipe(network="tiny", data=Synthetic())
    _, spec = catalogue.find_network("inspose-small-256x160")
    example = make_task(recipe, spec).make_example(3)
    assert isinstance(example, PictureBatch)
    assert example.pictures.shape == (3, 3, 160, 256)
    assert len(example.people) == 3
    terms = make_task(recipe, spec).make_objective(make_model())(*example.inputs)
    assert float(terms["keypoint"].detach()) > 1  # positive locations
    assert SIZE[0] % 32 == 0
