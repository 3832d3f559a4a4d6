"""Excerpts of the published annotations are read correctly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.datasets import jhmdb, posetrack18
from engines.datasets.clips import Clip, enclosing_box
from engines.datasets.detections import replace_people
from engines.datasets.pictures import read_pictures
from engines.datasets.stills import CROWDPOSE, StillLayout


@pytest.fixture
def labels(shared: Path) -> Path:
    return shared / "data/annot"


def check(clips: list[Clip]) -> None:
    """Every picture has the size in the annotation file, and the people are inside it."""
    for clip in clips:
        for frame in clip.frames:
            (pixels,) = read_pictures([clip.pictures[frame.number]])
            assert (pixels.shape[1], pixels.shape[0]) == frame.size
            for person in frame.people:
                seen = person.joints[person.joints[:, 2] > 0]
                assert ((seen[:, :2] > 0) & (seen[:, :2] < frame.size)).mean() > 0.9


def test_posetrack18(labels: Path) -> None:
    root = labels / "mmpose/posetrack18"
    clips = posetrack18.read(root, "val")
    check(clips)
    assert [len(clip.frames[0].people) for clip in clips] == [1, 2, 11]
    people = [person for clip in clips for person in clip.frames[0].people]
    assert sum(int((person.joints[:, 2] > 0).sum()) for person in people) == 182
    # Boxes computed from joints follow the rule of this file's own boxes.
    for person in people:
        np.testing.assert_allclose(person.box, enclosing_box(person.joints), atol=0.01)
    found = replace_people(clips, root / "annotations/test_posetrack18_human_detections.json", min_score=0)
    assert sum(len(clip.frames[0].people) for clip in found) == 278


def test_several_sequences_in_one_file_are_separate_clips(labels: Path) -> None:
    root = labels / "mmpose/posetrack18"
    clips = posetrack18.read_file(root, root / "annotations/test_posetrack18_val.json")
    assert sorted(len(clip.frames[0].people) for clip in clips) == [1, 2, 11]


def test_coco_ochuman_and_crowdpose(labels: Path) -> None:
    folder = labels / "mmpose"
    stills = {
        "coco": StillLayout("test_coco.json", "."),
        "ochuman": StillLayout("test_ochuman.json", "."),
        "crowdpose": StillLayout("test_crowdpose.json", ".", CROWDPOSE.skeleton, CROWDPOSE.aliases),
    }
    clips_by_name = {name: layout.read(folder / name, "") for name, layout in stills.items()}
    for clips in clips_by_name.values():
        check(clips)
    assert {name: sum(len(clip.frames[0].people) for clip in clips) for name, clips in clips_by_name.items()} == {
        "coco": 12, "ochuman": 5, "crowdpose": 4,
    }  # fmt: skip


def test_sub_jhmdb(labels: Path) -> None:
    root = labels / "mmpose/jhmdb"
    clips = jhmdb.read_json_clips(root, root / "test_jhmdb_sub1.json", pictures=".")
    check(clips)
    assert clips[0].frames[0].people[0].box.tolist() == [78, 61, 54, 159]
    pytest.importorskip("scipy", reason="reading .mat files needs SciPy")
    whole = jhmdb.read_mat_clip(labels / "jhmdb_seq/joint_positions.mat", labels / "jhmdb_seq/frames")
    check([whole])
    assert (len(whole.frames), whole.span) == (40, (1, 40))
