"""Readers of data sets: every layout is read, and errors name what is missing or broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.datasets import folder, hieve, jhmdb, posetrack17, posetrack18
from engines.datasets.clips import Clip, VideoFrame, enclosing_box
from engines.datasets.pictures import read_pictures
from engines.datasets.stills import COCO, CROWDPOSE, OCHUMAN
from engines.errors import EngineError
from tests.engines.datasets import sample_datasets


def coordinates(clip: Clip) -> np.ndarray:
    """The joints of all people in the clip, in order."""
    return np.stack([person.joints[:, :2] for frame in clip.frames for person in frame.people])


def expected(skeleton: str, numbers: tuple[int, ...], without: tuple[int, ...] = ()) -> np.ndarray:
    """The joints that were written."""
    joints = np.concatenate(
        [
            sample_datasets.convert_joints(sample_datasets.render_frames()[number], skeleton)[..., :2]
            for number in numbers
        ]
    )
    joints[:, list(without)] = 0
    return joints


def test_posetrack18_gives_its_labelled_frames_and_all_pictures(tmp_path: Path) -> None:
    sample_datasets.posetrack18(tmp_path)
    (clip,) = posetrack18.read(tmp_path, "val")
    assert [frame.number for frame in clip.frames] == [1, 2]
    assert clip.span == (0, 3)
    assert [frame.name for frame in clip.frames] == [f"images/val/000001_test/00000{n}.jpg" for n in (1, 2)]
    # Written in double precision, read in single precision.
    np.testing.assert_allclose(coordinates(clip), expected("posetrack17", (1, 2), without=(3, 4)), rtol=1e-6)
    person = clip.frames[0].people[0]
    assert person.track == int(sample_datasets.render_frames()[1].ids[0])
    assert person.head is not None
    np.testing.assert_allclose(
        person.head, [*person.joints[0, :2] - (9, 12), *person.joints[0, :2] + (9, 12)], rtol=1e-5
    )


def test_posetrack21_differs_in_its_folder_only(tmp_path: Path) -> None:
    sample_datasets.posetrack18(tmp_path, "posetrack_data")
    assert len(posetrack18.read(tmp_path, "val", "posetrack_data")[0].frames) == 2


def test_posetrack17_counts_from_1_and_computes_boxes_from_joints(tmp_path: Path) -> None:
    sample_datasets.posetrack17(tmp_path)
    (clip,) = posetrack17.read(tmp_path, "train")
    assert clip.span == (1, 4)
    assert [frame.number for frame in clip.frames] == [2, 3]
    np.testing.assert_allclose(coordinates(clip), expected("posetrack15", (1, 2)), rtol=1e-6)
    person = clip.frames[0].people[0]
    assert clip.frames[0].size == sample_datasets.SIZE
    np.testing.assert_array_equal(person.box, enclosing_box(person.joints))


@pytest.mark.parametrize(
    ("write", "read", "skeleton"),
    [
        (sample_datasets.coco, lambda root: COCO.read(root, "val2017"), "coco17"),
        (sample_datasets.crowdpose, lambda root: CROWDPOSE.read(root, "train"), "crowdpose14"),
        (sample_datasets.ochuman, lambda root: OCHUMAN.read(root, "test"), "coco17"),
    ],
)
def test_still_pictures_are_clips_of_one_frame(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path], list[Clip]], skeleton: str
) -> None:
    write(tmp_path)
    clips = read(tmp_path)
    assert len(clips) == sample_datasets.FRAMES
    assert {clip.span for clip in clips} == {(0, 0)}
    found = np.concatenate([coordinates(clip) for clip in clips])
    np.testing.assert_allclose(found, expected(skeleton, (0, 1, 2, 3)), rtol=1e-6)


def test_jhmdb_counts_pixels_from_1_in_both_formats(tmp_path: Path) -> None:
    sample_datasets.jhmdb(tmp_path / "json")
    (clip,) = jhmdb.read(tmp_path / "json", 1, "train")
    np.testing.assert_allclose(coordinates(clip), expected("jhmdb15", (0, 1, 2, 3)) - 1, atol=1e-3)
    pytest.importorskip("scipy", reason="reading .mat files needs SciPy")
    sample_datasets.jhmdb_mat(tmp_path / "mat")
    (clip,) = jhmdb.read(tmp_path / "mat", 1, "test")
    assert clip.name == "other"
    # Written from 0 with 1 added.
    people = [
        sample_datasets.convert_joints(picture, "jhmdb15")[0, :, :2] for picture in sample_datasets.render_frames()
    ]
    np.testing.assert_allclose(coordinates(clip), people, atol=1e-3)


def test_hieve_is_read_as_described_by_its_authors(tmp_path: Path) -> None:
    sample_datasets.hieve(tmp_path)
    hall, yard = hieve.read(tmp_path)
    assert (hall.name, yard.name) == ("hall", "yard")
    assert isinstance(hall.pictures[0], VideoFrame)
    np.testing.assert_allclose(coordinates(hall), expected("hieve14", (0, 1, 2, 3)), rtol=1e-6)
    assert {int(v) for frame in yard.frames for person in frame.people for v in person.joints[:, 2]} == {1, 2}
    assert yard.frames[0].people[0].track == 1
    with pytest.raises(EngineError, match="there is no clip 'roof'"):
        hieve.read(tmp_path, ["roof"])


def test_a_folder_of_videos_includes_unlabelled_frames(tmp_path: Path) -> None:
    sample_datasets.folder(tmp_path)
    (clip,) = folder.read(tmp_path, "train.json", "coco17")
    assert clip.span == (0, 3)
    assert [frame.number for frame in clip.frames] == [1, 2]
    (pixels,) = read_pictures([clip.pictures[2]])
    # MPEG-4 is lossy, but other frames differ more.
    distances = [np.abs(pixels.astype(int) - picture.pixels).mean() for picture in sample_datasets.render_frames()]
    assert int(np.argmin(distances)) == 2


# -- errors -----------------------------------------------------------------------------------------------------------


def change(path: Path, edit: Callable[[Any], None]) -> None:
    loaded = json.loads(path.read_text())
    edit(loaded)
    path.write_text(json.dumps(loaded))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda document: document["annotations"][1].pop("bbox"),
            r"000001_test.json: annotation 1 \(id 1001\) has no 'bbox'",
        ),
        (lambda document: document["annotations"][1]["bbox"].pop(), r"annotation 1 has a 'bbox' of 3 numbers, not 4"),
        (
            lambda document: document["annotations"][0]["keypoints"].pop(),
            r"annotation 0 has 50 numbers in 'keypoints', not 51",
        ),
        (lambda document: document["annotations"][2].pop("image_id"), r"annotation 2 \(id 2000\) has no 'image_id'"),
        (lambda document: document["images"][3].pop("file_name"), r"image 3 has no 'file_name'"),
        (
            lambda document: document["categories"][0]["keypoints"].pop(),
            r"joints are not those of skeleton 'posetrack17' \(only one",
        ),
        (
            lambda document: document.pop("images"),
            r"not a COCO-style annotation file, which has annotations, categories, images",
        ),
        (
            lambda document: document["images"][1].update(file_name="images/val/000001_test/a.jpg"),
            "'images/val/000001_test/a.jpg'",
        ),
    ],
)
def test_a_broken_annotation_is_named_with_its_number(tmp_path: Path, edit: Callable[[Any], None], words: str) -> None:
    sample_datasets.posetrack18(tmp_path)
    change(tmp_path / "annotations/val/000001_test.json", edit)
    with pytest.raises(EngineError, match=words):
        posetrack18.read(tmp_path, "val")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda document: document["annolist"][1]["annorect"][0].pop("x1"),
            "person 0 of frame 1 has no 'x1'",
        ),
        (lambda document: document["annolist"][0].pop("image"), "lacks 'image'"),
        (lambda document: document.pop("annolist"), "it has no 'annolist', as files of PoseTrack 2017 have"),
        (
            lambda document: document["annolist"][0]["annorect"][0]["annopoints"][0]["point"][0].update(id=[15]),
            "frame 0 has a joint of id 15; PoseTrack 2017 has ids 0 to 14",
        ),
    ],
)
def test_a_broken_file_of_2017_is_named_with_its_frame(tmp_path: Path, edit: Callable[[Any], None], words: str) -> None:
    sample_datasets.posetrack17(tmp_path)
    change(tmp_path / "annotations/val/00001_test.json", edit)
    with pytest.raises(EngineError, match=words):
        posetrack17.read(tmp_path, "val")


def test_an_unknown_skeleton_is_an_error_listing_the_known_ones(tmp_path: Path) -> None:
    sample_datasets.folder(tmp_path)
    with pytest.raises(
        EngineError, match=r"train\.json: there is no skeleton 'coco18'; take one of coco17, posetrack17"
    ):
        folder.read(tmp_path, "train.json", "coco18")


def test_missing_pictures_are_named_with_their_root(tmp_path: Path) -> None:
    sample_datasets.posetrack18(tmp_path)
    (tmp_path / "images/val/000001_test/000002.jpg").unlink()
    with pytest.raises(EngineError) as caught:
        posetrack18.read(tmp_path, "val")
    assert f"picture 'images/val/000001_test/000002.jpg' is not under {tmp_path} (1 of its 2 are missing)" in str(
        caught.value
    )
    assert "docs/how-to/datasets.md describes the layout on disk" in str(caught.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"annotations/val: there is no such folder; docs/how-to/datasets\.md describes"
    ):
        posetrack18.read(tmp_path, "val")
    (tmp_path / "annotations/val").mkdir(parents=True)
    with pytest.raises(EngineError, match=r"annotations/val: there is no \*\.json in it"):
        posetrack17.read(tmp_path, "val")


def test_a_broken_list_of_jhmdb_is_an_error_naming_the_line(tmp_path: Path) -> None:
    (tmp_path / "sub_splits").mkdir()
    (tmp_path / "sub_splits/catch_test_split_2.txt").write_text("\nclip.avi one\n")
    with pytest.raises(
        EngineError, match=r"split_2\.txt: line 2 is 'clip\.avi one', not a clip and 1 \(training\) or 2"
    ):
        jhmdb.read(tmp_path, 2, "train")


def test_a_broken_mat_file_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="reading .mat files needs SciPy")
    (tmp_path / "joint_positions.mat").write_bytes(b"no mat" * 40)
    with pytest.raises(EngineError, match=r"joint_positions\.mat: it is not a joint_positions\.mat"):
        jhmdb.read_mat_clip(tmp_path / "joint_positions.mat", tmp_path)
    with pytest.raises(EngineError, match=r"none\.mat: there is no such file"):
        jhmdb.read_mat_clip(tmp_path / "none.mat", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<xmin>", "<xmean>", "it is not valid XML"),
        ("bndbox>", "box>", "object 0 has no 'bndbox'"),
        ("xmin>", "left>", "bndbox has no number 'xmin'"),
        ("<Nose>", "<Nose>x", "object 0: Nose is 'x"),
    ],
)
def test_a_broken_file_of_hieve_is_an_error_naming_the_object(tmp_path: Path, old: str, new: str, words: str) -> None:
    sample_datasets.hieve(tmp_path)
    path = tmp_path / "annotations/yard/000001.xml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(EngineError, match=rf"000001\.xml: .*{words}"):
        hieve.read(tmp_path)
