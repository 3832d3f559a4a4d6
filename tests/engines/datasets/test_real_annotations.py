"""Annotations that others made, as their data sets have them: read, shown where they say, scored as they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.datasets import coco, crowdpose, jhmdb, posetrack18
from engines.datasets.clips import Clip, box_of_joints
from engines.datasets.detections import with_detections
from engines.datasets.pictures import read_pictures


@pytest.fixture
def labels(shared: Path) -> Path:
    return shared / "data/annot"


def check(clips: list[Clip]) -> None:
    """Every picture is there and has the size its file says; everybody is in it."""
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
    # The rule for boxes where a file has none is that of this file's own.
    for person in people:
        np.testing.assert_allclose(person.box, box_of_joints(person.joints), atol=0.01)
    found = with_detections(clips, root / "annotations/test_posetrack18_human_detections.json", threshold=0)
    assert sum(len(clip.frames[0].people) for clip in found) == 278


def test_several_sequences_in_one_file_are_taken_apart(labels: Path) -> None:
    root = labels / "mmpose/posetrack18"
    clips = posetrack18.read_sequences(root, root / "annotations/test_posetrack18_val.json")
    assert sorted(len(clip.frames[0].people) for clip in clips) == [1, 2, 11]


def test_coco_ochuman_and_crowdpose(labels: Path) -> None:
    folder = labels / "mmpose"
    stills = {
        name: coco.read_stills(folder / name, folder / name / f"test_{name}.json", folder / name, skeleton, aliases)
        for name, skeleton, aliases in (
            ("coco", "coco17", None), ("ochuman", "coco17", None), ("crowdpose", crowdpose.SKELETON, crowdpose.ALIASES)
        )
    }  # fmt: skip
    for clips in stills.values():
        check(clips)
    assert {name: sum(len(clip.frames[0].people) for clip in clips) for name, clips in stills.items()} == {
        "coco": 12, "ochuman": 5, "crowdpose": 4,
    }  # fmt: skip


def test_sub_jhmdb(labels: Path) -> None:
    root = labels / "mmpose/jhmdb"
    clips = jhmdb.read_json_clips(root, root / "test_jhmdb_sub1.json", pictures=".")
    check(clips)
    assert clips[0].frames[0].people[0].box.tolist() == [78, 61, 54, 159]
    pytest.importorskip("scipy", reason=".mat files are read by SciPy")
    whole = jhmdb.read_mat_clip(labels / "jhmdb_seq/joint_positions.mat", labels / "jhmdb_seq/frames")
    check([whole])
    assert (len(whole.frames), whole.span) == (40, (1, 40))
