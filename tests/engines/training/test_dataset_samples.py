"""Samples of labelled data sets: reproducible windows of every format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.datasets import posetrack18  # noqa: E402
from engines.datasets.instances import list_instances  # noqa: E402
from engines.datasets.stills import COCO  # noqa: E402
from engines.errors import EngineError  # noqa: E402
from engines.skeletons import SKELETONS  # noqa: E402
from engines.training.dataset_samples import ClipSamples, View  # noqa: E402
from engines.training.recipe import Augmentation, read_recipe  # noqa: E402
from engines.training.session import WEIGHTS, prepare  # noqa: E402
from engines.training.validation import PoseTrackValidator  # noqa: E402
from tests.engines.datasets import sample_datasets  # noqa: E402

VIEW = View((48, 64), (-1, 0, 1), "posetrack17")
GEOMETRIC = Augmentation(half_body=0.3, scale=0.35, rotation=45)


def samples(root: Path, workers: int = 2, view: View = VIEW) -> ClipSamples:
    return ClipSamples(list_instances(posetrack18.read(root, "train"), view.skeleton), view, workers)


@pytest.fixture
def posetrack(tmp_path: Path) -> Path:
    sample_datasets.posetrack18(tmp_path)
    return tmp_path


def test_a_sample_does_not_depend_on_the_number_of_readers(posetrack: Path) -> None:
    rows = np.array([0, 2, 3])
    alone = samples(posetrack, workers=1).batch(rows, GEOMETRIC, np.random.default_rng(5))
    together = samples(posetrack, workers=3).batch(rows, GEOMETRIC, np.random.default_rng(5))
    other = samples(posetrack, workers=3).batch(rows, GEOMETRIC, np.random.default_rng(6))
    assert torch.equal(alone.crops, together.crops)
    assert torch.equal(alone.joints, together.joints)
    assert not torch.equal(alone.joints, other.joints)


def test_a_batch_has_the_networks_shape_and_visibility_0_without_annotations(posetrack: Path) -> None:
    batch = samples(posetrack).batch(np.arange(4), None, np.random.default_rng(0))
    assert batch.crops.shape == (4, 3, 3, 64, 48)
    assert batch.joints.shape == (4, 17, 3)
    assert not batch.joints[:, 3:5].any()  # ears


@pytest.mark.parametrize("skeleton", ["posetrack15", "coco17", "jhmdb15"])
def test_joints_are_converted_to_the_networks_skeleton(posetrack: Path, skeleton: str) -> None:
    made = samples(posetrack, view=View((48, 64), (0,), skeleton))
    batch = made.batch(np.arange(1), None, np.random.default_rng(0))
    assert batch.joints.shape == (1, len(SKELETONS[skeleton]), 3)
    names = {joint for joint, seen in zip(SKELETONS[skeleton].joints, batch.joints[0, :, 2], strict=True) if seen > 0}
    assert names <= set(SKELETONS["posetrack17"].joints)
    assert "left_knee" in names


def test_a_still_picture_is_repeated_as_a_window(tmp_path: Path) -> None:
    sample_datasets.coco(tmp_path)
    made = ClipSamples(list_instances(COCO.read(tmp_path, "train2017"), "coco17"), View((48, 64), (-1, 0, 1), "coco17"))
    crops = made.batch(np.arange(2), None, np.random.default_rng(0)).crops
    assert torch.equal(crops[:, 0], crops[:, 1])
    assert torch.equal(crops[:, 2], crops[:, 1])


def test_unlabelled_frames_are_used_as_neighbours(posetrack: Path) -> None:
    made = samples(posetrack)
    assert made.instances[0].frame.number == 1
    crops = made.batch(np.arange(1), None, np.random.default_rng(0)).crops[0]
    assert not torch.equal(crops[0], crops[1])  # frame 0, which has no labels, is not the key frame


def test_a_data_set_without_people_is_refused(posetrack: Path) -> None:
    (clip,) = posetrack18.read(posetrack, "train")
    with pytest.raises(EngineError, match="'000001_test' and 0 other clips have no person with joints of 'coco17'"):
        list_instances([type(clip)(clip.name, clip.skeleton, clip.pictures, ())], "coco17")


# -- whole trainings --------------------------------------------------------------------------------------------------

DATA: dict[str, tuple[Callable[[Path], None], str, dict[str, Any]]] = {
    "posetrack17": (sample_datasets.posetrack17, "posetrack17", {"type": "posetrack", "year": 2017}),
    "posetrack18": (
        sample_datasets.posetrack18, "posetrack17", {"type": "posetrack", "year": 2018, "border": "fami-released"},
    ),
    "posetrack21": (
        lambda root: sample_datasets.posetrack18(root, "posetrack_data"),
        "posetrack17", {"type": "posetrack", "year": 2021},
    ),
    "coco": (sample_datasets.coco, "coco17", {"type": "coco"}),
    "crowdpose": (sample_datasets.crowdpose, "crowdpose14", {"type": "crowdpose"}),
    "ochuman": (sample_datasets.ochuman, "coco17", {"type": "ochuman"}),
    "jhmdb": (sample_datasets.jhmdb, "jhmdb15", {"type": "jhmdb"}),
    "hieve": (sample_datasets.hieve, "hieve14", {"type": "hieve", "validation": ["yard"]}),
    "folder": (sample_datasets.folder, "coco17", {"type": "folder", "train": "train.json", "validation": "test.json"}),
}  # fmt: skip


def recipe(tmp_path: Path, skeleton: str, data: dict[str, Any]) -> Path:
    network = {
        "model": "fami.FAMIPose",
        "hrnet": {"width": 12, "modules": [1, 1, 1], "blocks": 1, "stem_width": 8, "bottlenecks": 1},
        "input_size": [64, 64], "window": [-1, 0], "skeleton": skeleton, "options": {"frames": [-1, 0]},
    }  # fmt: skip
    entry = {"kind": "network", "title": "micro", "licence": "Apache-2.0", "network": network}
    (tmp_path / "micro.yaml").write_text(yaml.safe_dump(entry))
    path = tmp_path / "recipe.yaml"
    moved = {"half_body": 0.3, "scale": 0.35, "rotation": 45}
    settings = {"network": str(tmp_path / "micro.yaml"), "data": data, "epochs": 1, "batch": 4, "augmentation": moved}
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_every_data_set_trains_for_an_epoch(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write, skeleton, data = DATA[name]
    write(tmp_path / "data")
    path = recipe(tmp_path, skeleton, {**data, "root": str(tmp_path / "data")})
    prepare(path, tmp_path / "run").run()
    messages = capsys.readouterr().err
    assert "people to train on" in messages
    assert ("epoch 1: AP: Head" if "posetrack" in name else "epoch 1: PCK@0.05") in messages
    assert (tmp_path / "run" / WEIGHTS).is_file()


@pytest.mark.slow
def test_validation_uses_detected_boxes_if_the_recipe_names_them(
    posetrack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = {"image_name": "images/val/000001_test/000002.jpg", "bbox": [40, 60, 80, 150], "score": 0.7}
    sample_datasets.write_json(posetrack / "boxes.json", [box])
    data = {"type": "posetrack", "year": 2018, "root": "nowhere", "detections": "boxes.json"}
    session = prepare(recipe(posetrack, "posetrack17", data), posetrack / "run", data=posetrack)
    assert f"{posetrack}: 4 people to train on" in capsys.readouterr().err
    assert isinstance(session.validator, PoseTrackValidator)
    assert [instance.person.score for instance in session.validator.samples.instances] == [0.7]


def test_a_data_folder_is_refused_for_synthetic_people(tmp_path: Path) -> None:
    path = recipe(tmp_path, "coco17", {"type": "synthetic"})
    path.write_text(path.read_text().replace("half_body: 0.3", "half_body: 0").replace("scale: 0.35", "scale: 0"))
    path.write_text(path.read_text().replace("rotation: 45", "rotation: 0"))
    with pytest.raises(
        EngineError, match=r"recipe\.yaml: it trains on synthetic people, which have no folder; leave --data"
    ):
        prepare(path, tmp_path / "run", data=tmp_path)


def test_geometric_augmentation_is_refused_for_synthetic_people(tmp_path: Path) -> None:
    path = recipe(tmp_path, "coco17", {"type": "synthetic"})
    with pytest.raises(
        EngineError, match="half_body, scale and rotation are for labelled data sets; synthetic people vary"
    ):
        read_recipe(path)


def test_an_unknown_data_set_type_is_an_error(tmp_path: Path) -> None:
    path = recipe(tmp_path, "coco17", {"type": "imagenet", "root": "x"})
    with pytest.raises(EngineError, match=r"data\.type cannot be 'imagenet'"):
        read_recipe(path)
