"""Training on data sets: windows from disk, the same whoever reads them, on every format, judged as officially."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install 'posestream[torch]')")

from engines.datasets import coco, posetrack17, posetrack18  # noqa: E402
from engines.datasets.rows import rows_of  # noqa: E402
from engines.errors import EngineError  # noqa: E402
from engines.evaluation.posetrack import mean, score  # noqa: E402
from engines.evaluation.posetrack_files import paired_frames  # noqa: E402
from engines.evaluation.scores import annotated, predicted  # noqa: E402
from engines.losses.heatmap import gaussian_heatmaps  # noqa: E402
from engines.skeletons import SKELETONS, convert  # noqa: E402
from engines.training.dataset_samples import ClipSamples, View  # noqa: E402
from engines.training.dataset_validation import PckExam, PoseTrackExam, keypoints_of  # noqa: E402
from engines.training.prefetch import Ahead  # noqa: E402
from engines.training.recipe import Augmentation, read_recipe  # noqa: E402
from engines.training.session import WEIGHTS, begin  # noqa: E402
from tests.engines.datasets import drawn  # noqa: E402

VIEW = View((48, 64), (-1, 0, 1), "posetrack17")
MOVED = Augmentation(half_body=0.3, scale=0.35, rotation=45)


def samples(root: Path, workers: int = 2, view: View = VIEW) -> ClipSamples:
    return ClipSamples(rows_of(posetrack18.read(root, "train"), view.skeleton), view, workers)


@pytest.fixture
def posetrack(tmp_path: Path) -> Path:
    drawn.posetrack18(tmp_path)
    return tmp_path


# -- samples ----------------------------------------------------------------------------------------------------------


def test_what_a_sample_is_follows_from_its_number_and_not_from_who_reads_it(posetrack: Path) -> None:
    rows = np.array([0, 2, 3])
    alone = samples(posetrack, workers=1).batch(rows, MOVED, np.random.default_rng(5))
    together = samples(posetrack, workers=3).batch(rows, MOVED, np.random.default_rng(5))
    other = samples(posetrack, workers=3).batch(rows, MOVED, np.random.default_rng(6))
    assert torch.equal(alone.crops, together.crops)
    assert torch.equal(alone.joints, together.joints)
    assert not torch.equal(alone.joints, other.joints)


def test_a_sample_has_the_shape_that_the_network_wants_and_no_weight_where_nobody_annotated(posetrack: Path) -> None:
    batch = samples(posetrack).batch(np.arange(4), None, np.random.default_rng(0))
    assert batch.crops.shape == (4, 3, 3, 64, 48)
    assert batch.joints.shape == (4, 17, 3)
    assert not batch.joints[:, 3:5].any()  # ears


@pytest.mark.parametrize("skeleton", ["posetrack15", "coco17", "jhmdb15"])
def test_joints_become_those_of_the_network(posetrack: Path, skeleton: str) -> None:
    made = samples(posetrack, view=View((48, 64), (0,), skeleton))
    batch = made.batch(np.arange(1), None, np.random.default_rng(0))
    assert batch.joints.shape == (1, len(SKELETONS[skeleton]), 3)
    names = {joint for joint, seen in zip(SKELETONS[skeleton].joints, batch.joints[0, :, 2], strict=True) if seen > 0}
    assert names <= set(SKELETONS["posetrack17"].joints)
    assert "left_knee" in names


def test_a_single_picture_is_seen_again_and_again_as_a_window(tmp_path: Path) -> None:
    drawn.coco(tmp_path)
    made = ClipSamples(rows_of(coco.read(tmp_path, "train2017"), "coco17"), View((48, 64), (-1, 0, 1), "coco17"))
    crops = made.batch(np.arange(2), None, np.random.default_rng(0)).crops
    assert torch.equal(crops[:, 0], crops[:, 1])
    assert torch.equal(crops[:, 2], crops[:, 1])


def test_frames_that_nobody_labelled_are_neighbours(posetrack: Path) -> None:
    made = samples(posetrack)
    assert made.rows[0].frame.number == 1
    crops = made.batch(np.arange(1), None, np.random.default_rng(0)).crops[0]
    assert not torch.equal(crops[0], crops[1])  # frame 0, which has no labels, is not the key frame


def test_a_data_set_without_anybody_is_refused(posetrack: Path) -> None:
    (clip,) = posetrack18.read(posetrack, "train")
    with pytest.raises(
        EngineError, match="nobody is left to look at: no frame of '000001_test' or 0 others has a pers"
    ):
        rows_of([type(clip)(clip.name, clip.skeleton, clip.pictures, ())], "coco17")


def test_the_next_batch_is_begun_while_this_one_is_used() -> None:
    begun: list[int] = []

    def make(step: int) -> Any:
        begun.append(step)
        return step

    with Ahead(make, end=3) as batches:
        given: list[Any] = [batches(step) for step in range(3)]
    assert (given, begun) == ([0, 1, 2], [0, 1, 2])

    def broken(step: int) -> Any:
        raise EngineError(f"picture {step}")

    with Ahead(broken, end=3) as batches, pytest.raises(EngineError, match="picture 0"):
        batches(0)


# -- judging ----------------------------------------------------------------------------------------------------------


class Oracle(torch.nn.Module):
    """Heatmaps of the truth itself, so that what is left is decoding and the way back to the frame."""

    loss = "heatmap"

    def __init__(self, truth: ClipSamples) -> None:
        super().__init__()
        self.place, self.truth = 0, truth
        self.device = torch.nn.Parameter(torch.zeros(1))

    def heatmaps(self, crops: Any) -> Any:
        joints = self.truth.batch(np.arange(self.place, self.place + len(crops)), None, np.random.default_rng(0)).joints
        self.place += len(crops)
        h, w = crops.shape[3] // 4, crops.shape[4] // 4
        flat = joints.reshape(-1, 3)
        maps, _ = gaussian_heatmaps(flat[:, :2], flat[:, 2], (w, h), 2.0)
        return maps.reshape(len(crops), -1, h, w)


def test_a_network_that_knows_the_truth_scores_all_of_it(posetrack: Path) -> None:
    view = View((96, 128), (0,), "posetrack17")
    truth = posetrack18.read(posetrack, "train")
    made = ClipSamples(rows_of(truth, "posetrack17"), view)
    oracle: Any = Oracle(made)
    for row, found in zip(made.rows, keypoints_of(oracle, made, batch=3), strict=True):
        known = row.joints[:, 2] > 0
        # Half a cell of 4 px, in crops that are smaller than their people.
        assert np.abs(found[known, :2] - row.joints[known, :2]).max() < 4
    marks = PoseTrackExam(made, truth)
    oracle.place = 0
    assert marks(oracle).row["ap"]["Mean"] == 100
    oracle.place = 0
    assert PckExam(made)(oracle).mean == 1


def test_somebody_without_a_head_cannot_be_judged_by_posetrack(tmp_path: Path) -> None:
    drawn.coco(tmp_path)
    told = json.loads((tmp_path / "annotations/person_keypoints_val2017.json").read_text())
    for person in told["annotations"]:
        del person["bbox_head"]
    drawn.write_json(tmp_path / "annotations/person_keypoints_val2017.json", told)
    clips = coco.read(tmp_path, "val2017")
    with pytest.raises(
        EngineError, match=r"000000000000\.jpg: person 0 of frame 000000000000\.jpg has no box of the head"
    ):
        annotated(clips[0], clips[0].frames[0])


@pytest.mark.parametrize(
    ("write", "read"), [(drawn.posetrack18, posetrack18.read), (drawn.posetrack17, posetrack17.read)]
)
def test_what_is_written_read_and_given_back_as_a_result_scores_100(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path, str], list[Any]]
) -> None:
    write(tmp_path)
    (clip,) = read(tmp_path, "val")
    in_memory = []
    for frame in clip.frames:
        joints = convert(np.stack([person.joints for person in frame.people]), clip.skeleton, "posetrack15")
        in_memory.append((annotated(clip, frame), predicted(list(joints))))
    assert mean(score(in_memory)).ap == 100
    (file,) = (tmp_path / "annotations/val").glob("*.json")
    results = drawn.write_json(tmp_path / "results" / file.name, as_results(clip))
    assert mean(score(paired_frames(file, results))).ap == 100


def as_results(clip: Any) -> dict[str, Any]:
    """A result file of 2018 with the people of a clip."""
    images = [{"id": frame.number, "file_name": frame.name} for frame in clip.frames]
    people = [
        {
            "image_id": frame.number,
            "keypoints": [float(v) for v in convert(one.joints[None], clip.skeleton, "posetrack17").reshape(-1)],
            "scores": [0.5] * 17,
        }
        for frame in clip.frames
        for one in frame.people
    ]
    category = {"keypoints": list(SKELETONS["posetrack17"].joints)}
    return {"images": images, "annotations": people, "categories": [category]}


# -- whole trainings --------------------------------------------------------------------------------------------------

DATA: dict[str, tuple[Callable[[Path], None], str, dict[str, Any]]] = {
    "posetrack17": (drawn.posetrack17, "posetrack17", {"type": "posetrack", "year": 2017}),
    "posetrack18": (drawn.posetrack18, "posetrack17", {"type": "posetrack", "year": 2018, "border": "fami-released"}),
    "posetrack21": (
        lambda root: drawn.posetrack18(root, "posetrack_data"), "posetrack17", {"type": "posetrack", "year": 2021},
    ),
    "coco": (drawn.coco, "coco17", {"type": "coco"}),
    "crowdpose": (drawn.crowdpose, "crowdpose14", {"type": "crowdpose"}),
    "ochuman": (drawn.ochuman, "coco17", {"type": "ochuman"}),
    "jhmdb": (drawn.jhmdb, "jhmdb15", {"type": "jhmdb"}),
    "hieve": (drawn.hieve, "hieve14", {"type": "hieve", "judged": ["yard"]}),
    "folder": (drawn.folder, "coco17", {"type": "folder", "train": "train.json", "judged": "test.json"}),
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
    told = {"network": str(tmp_path / "micro.yaml"), "data": data, "epochs": 1, "batch": 4, "augmentation": moved}
    path.write_text(yaml.safe_dump(told))
    return path


@pytest.mark.parametrize("name", DATA)
def test_a_network_is_trained_for_an_epoch_on_every_data_set(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write, skeleton, data = DATA[name]
    write(tmp_path / "data")
    path = recipe(tmp_path, skeleton, {**data, "root": str(tmp_path / "data")})
    begin(path, tmp_path / "run").run()
    told = capsys.readouterr().err
    assert "people to learn from" in told
    assert ("epoch 1: AP: Head" if "posetrack" in name else "epoch 1: PCK@0.05") in told
    assert (tmp_path / "run" / WEIGHTS).is_file()


def test_detected_boxes_are_what_the_network_is_shown_when_it_is_judged(
    posetrack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = {"image_name": "images/val/000001_test/000002.jpg", "bbox": [40, 60, 80, 150], "score": 0.7}
    drawn.write_json(posetrack / "boxes.json", [box])
    data = {"type": "posetrack", "year": 2018, "root": "nowhere", "detections": "boxes.json"}
    session = begin(recipe(posetrack, "posetrack17", data), posetrack / "run", data=posetrack)
    assert f"{posetrack}: 4 people to learn from" in capsys.readouterr().err
    assert isinstance(session.exam, PoseTrackExam)
    assert [row.person.score for row in session.exam.samples.rows] == [0.7]


def test_a_place_for_data_is_refused_where_people_are_drawn(tmp_path: Path) -> None:
    path = recipe(tmp_path, "coco17", {"type": "synthetic"})
    path.write_text(path.read_text().replace("half_body: 0.3", "half_body: 0").replace("scale: 0.35", "scale: 0"))
    path.write_text(path.read_text().replace("rotation: 45", "rotation: 0"))
    with pytest.raises(EngineError, match=r"recipe\.yaml: it learns from drawn people; leave --data out"):
        begin(path, tmp_path / "run", data=tmp_path)


def test_drawn_people_are_not_moved_a_second_time(tmp_path: Path) -> None:
    path = recipe(tmp_path, "coco17", {"type": "synthetic"})
    with pytest.raises(
        EngineError, match="half_body, scale and rotation are for data sets; drawn people are moved when"
    ):
        read_recipe(path)


def test_a_data_set_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    path = recipe(tmp_path, "coco17", {"type": "imagenet", "root": "x"})
    with pytest.raises(EngineError, match=r"Invalid value 'imagenet' - at `\$\.data\.type`"):
        read_recipe(path)
