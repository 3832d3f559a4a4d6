"""Validation on labelled data sets: predictions in frames, PoseTrack's AP and PCK."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

import torch

from engines.datasets import posetrack17, posetrack18
from engines.datasets.instances import list_instances
from engines.datasets.stills import COCO
from engines.errors import EngineError
from engines.evaluation.posetrack import mean, score
from engines.evaluation.posetrack_files import pair_frames
from engines.evaluation.scores import to_annotated, to_predicted
from engines.losses.heatmap import gaussian_heatmaps
from engines.skeletons import SKELETONS, convert
from engines.training.dataset_samples import ClipSamples, View
from engines.training.validation import PckValidator, PoseTrackValidator, predict_in_frames
from tests.engines.datasets import sample_datasets


@pytest.fixture
def posetrack(tmp_path: Path) -> Path:
    sample_datasets.posetrack18(tmp_path)
    return tmp_path


class Oracle(torch.nn.Module):
    """A network that outputs the targets, so that only decoding and the transform to the frame remain."""

    loss = "heatmap"

    def __init__(self, truth: ClipSamples) -> None:
        super().__init__()
        self.next, self.truth = 0, truth
        self.device = torch.nn.Parameter(torch.zeros(1))

    def heatmaps(self, crops: Any) -> Any:
        joints = self.truth.batch(np.arange(self.next, self.next + len(crops)), None, np.random.default_rng(0)).joints
        self.next += len(crops)
        h, w = crops.shape[3] // 4, crops.shape[4] // 4
        flat = joints.reshape(-1, 3)
        maps, _ = gaussian_heatmaps(flat[:, :2], flat[:, 2], (w, h), 2.0)
        return maps.reshape(len(crops), -1, h, w)


def test_a_network_that_outputs_the_targets_scores_100(posetrack: Path) -> None:
    view = View((96, 128), (0,), "posetrack17")
    truth = posetrack18.read(posetrack, "train")
    made = ClipSamples(list_instances(truth, "posetrack17"), view)
    oracle: Any = Oracle(made)
    for instance, found in zip(made.instances, predict_in_frames(oracle, made, batch=3), strict=True):
        known = instance.joints[:, 2] > 0
        # Half a cell of 4 px, in crops smaller than the people in the frame.
        assert np.abs(found[known, :2] - instance.joints[known, :2]).max() < 4
    validator = PoseTrackValidator(made, truth)
    oracle.next = 0
    assert validator(oracle).values["ap"]["Mean"] == 100
    oracle.next = 0
    assert PckValidator(made)(oracle).mean == 1


def test_posetracks_ap_needs_head_boxes(tmp_path: Path) -> None:
    sample_datasets.coco(tmp_path)
    document = json.loads((tmp_path / "annotations/person_keypoints_val2017.json").read_text())
    for person in document["annotations"]:
        del person["bbox_head"]
    sample_datasets.write_json(tmp_path / "annotations/person_keypoints_val2017.json", document)
    clips = COCO.read(tmp_path, "val2017")
    with pytest.raises(EngineError, match=r"000000000000\.jpg: person 0 of frame 000000000000\.jpg has no head box"):
        to_annotated(clips[0], clips[0].frames[0])


@pytest.mark.parametrize(
    ("write", "read"),
    [(sample_datasets.posetrack18, posetrack18.read), (sample_datasets.posetrack17, posetrack17.read)],
)
def test_annotations_written_as_results_score_100(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path, str], list[Any]]
) -> None:
    write(tmp_path)
    (clip,) = read(tmp_path, "val")
    in_memory = []
    for frame in clip.frames:
        joints = convert(np.stack([person.joints for person in frame.people]), clip.skeleton, "posetrack15")
        in_memory.append((to_annotated(clip, frame), to_predicted(list(joints))))
    assert mean(score(in_memory)).ap == 100
    (file,) = (tmp_path / "annotations/val").glob("*.json")
    results = sample_datasets.write_json(tmp_path / "results" / file.name, as_results(clip))
    assert mean(score(pair_frames(file, results))).ap == 100


def as_results(clip: Any) -> dict[str, Any]:
    """The people of a clip as a result file of 2018."""
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
