"""Joint orders, left-right pairs and conversions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from engines.skeletons import COCO_SIGMAS, SKELETONS, convert, register


@pytest.mark.parametrize("name", SKELETONS)
def test_a_skeleton_is_consistent(name: str) -> None:
    skeleton = SKELETONS[name]
    assert skeleton.name == name
    assert len(skeleton) == int("".join(filter(str.isdigit, name)))
    assert len(set(skeleton.joints)) == len(skeleton)
    # Ears of PoseTrack-17 are channels without annotations: no limb ends there.
    loose = set(range(len(skeleton))) - {joint for limb in skeleton.limbs for joint in limb}
    assert {skeleton.joints[joint] for joint in loose} <= {"left_ear", "right_ear"}
    assert len(skeleton.colours) == len(skeleton)


@pytest.mark.parametrize("name", SKELETONS)
def test_mirroring_twice_changes_nothing(name: str) -> None:
    order = np.array(SKELETONS[name].flip_order)
    assert order[order].tolist() == list(range(len(order)))
    sides = [joint for joint in SKELETONS[name].joints if joint.startswith(("left_", "right_"))]
    assert 2 * len(SKELETONS[name].flip_pairs) == len(sides)


def test_posetrack_channels_mirror_as_published(shared: Path) -> None:
    golden = json.loads((shared / "models/golden_decode.json").read_text())["fliplr_joints"]
    assert SKELETONS["posetrack17"].flip_pairs == tuple(map(tuple, golden["flip_pairs_posetrack"]))
    order = list(SKELETONS["posetrack17"].flip_order)
    mirrored = np.array(golden["joints"])[order]
    mirrored[:, 0] = golden["width"] - 1 - mirrored[:, 0]
    visible = np.array(golden["vis"])[order]
    # The golden is printed with two decimals.
    np.testing.assert_allclose(mirrored * visible, golden["out_joints"], atol=0.01)


def test_posetrack_channels_become_posetrack_joints_as_published(shared: Path) -> None:
    golden = json.loads((shared / "models/golden_decode.json").read_text())["coco17_to_posetrack15"]
    assert list(SKELETONS["posetrack17"].joints) == golden["order_in_17"]
    assert list(SKELETONS["posetrack15"].joints) == golden["order_out_15"]
    given = np.array(golden["preds_4x17"], np.float32)[:3].T[None]
    converted = convert(given, "posetrack17", "posetrack15")[0]
    for place, wanted in enumerate(golden["out"]):
        assert wanted["id"] == [place]
        # Scores are multiplied by the box's at publication, not here; single precision.
        given_score = converted[place, 2] * golden["box_score"]
        found = [*converted[place, :2], given_score]
        np.testing.assert_allclose(found, [*wanted["x"], *wanted["y"], *wanted["score"]], rtol=1e-6)


def test_joints_that_the_source_lacks_are_zero() -> None:
    coco = np.ones((2, 17, 3), np.float32)
    converted = convert(coco, "coco17", "posetrack15")
    assert converted[:, SKELETONS["posetrack15"].index("head_top")].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert converted[:, SKELETONS["posetrack15"].index("nose")].tolist() == [[1, 1, 1], [1, 1, 1]]


def test_orders_are_those_of_the_data_sets(shared: Path) -> None:
    for file, name in (("jhmdb/test_jhmdb_sub1.json", "jhmdb15"), ("coco/test_coco.json", "coco17")):
        category = json.loads((shared / "data/annot/mmpose" / file).read_text())["categories"][0]
        assert list(SKELETONS[name].joints) == category["keypoints"]


def test_a_skeleton_of_your_own_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.skeletons._KNOWN", dict(SKELETONS))
    hand = register("two1", ["wrist", "thumb"], [("wrist", "thumb")])
    assert (hand.joints, hand.limbs, len(hand)) == (("wrist", "thumb"), ((0, 1),), 2)
    assert register("two1", ["wrist", "thumb"]) is hand
    for joints, limbs, words in (
        (["wrist"], [], "skeleton 'two1' has 2 other joints (wrist, thumb, …); give yours a name of its own"),
        (["wrist", "wrist"], [], "skeleton 'two1' has two joints of one name"),
        (["wrist", "thumb"], [("wrist", "toe")], "its limbs name toe, which are no joints of it"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            register("two1", joints, limbs)


def test_the_orders_of_rtmpose_begin_with_coco_and_end_as_published() -> None:
    for name in ("halpe26", "coco-wholebody133"):
        assert SKELETONS[name].joints[:17] == SKELETONS["coco17"].joints
    assert SKELETONS["halpe26"].index("left_heel") == 24
    whole = SKELETONS["coco-wholebody133"]
    wanted = {17: "left_big_toe", 22: "right_heel", 23: "face_0", 91: "left_hand_root", 112: "right_hand_root"}
    assert {place: whole.joints[place] for place in wanted} == wanted
    assert (whole.joints[95], whole.joints[132]) == ("left_thumb4", "right_pinky_finger4")
    assert SKELETONS["blazepose33"].index("left_hip") == 23


def test_only_coco_has_sigmas() -> None:
    assert SKELETONS["coco17"].sigmas == COCO_SIGMAS
    assert len(COCO_SIGMAS) == 17
    assert all(not skeleton.sigmas for name, skeleton in SKELETONS.items() if name != "coco17")
