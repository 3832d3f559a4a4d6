"""``track``: stable ids, unchanged boxes, and memory that survives a restart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from engines.vision.boxes import compute_iou
from stream.element import Context
from stream.elements.track import Track
from stream.messages import Frame, People
from stream.pipeline.launch import parse_launch
from stream.registry import make
from stream.testing import Harness, check_element
from stream.testing.items import make_frame, make_poses

FRAME_NS = 33_333_333
SIZE = (640, 360)


def detect(seq: int, boxes: object, scores: object = None, *, camera: str = "hall", detected: bool = True) -> People:
    """People at ``boxes`` in frame ``seq`` of a camera of 30 frames a second."""
    frame = replace(make_frame(seq, camera), pts_ns=seq * FRAME_NS)
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return People.from_boxes(
        frame, corners, np.full(len(corners), 0.9) if scores is None else scores, detected=detected
    )


def walker(seq: int, x: float, speed: float) -> tuple[float, float, float, float]:
    """The box of a person 60 px wide who walks ``speed`` px per frame."""
    left = x + speed * seq
    return left, 100, left + 60, 280


def test_it_keeps_the_contract_of_an_element() -> None:
    check_element("track")
    check_element("track", sink="people/poses, skeleton=coco17")


def test_poses_keep_their_keypoints_and_get_ids() -> None:
    with Harness("track", sink="people/poses, skeleton=coco17") as harness:
        given = [replace(make_poses(seq, "hall"), ids=np.full(2, -1)) for seq in range(3)]
        found = [harness.push(item)[0] for item in given]
    assert [str(caps) for caps in harness.caps] == ["people/poses, skeleton=coco17"] * 2
    assert [poses.ids.tolist() for poses in found] == [[1, 2]] * 3
    assert all(one.keypoints is other.keypoints for one, other in zip(given, found, strict=True))


def test_people_have_ids_from_the_first_frame_with_people() -> None:
    with Harness("track") as harness:
        harness.push(detect(0, []))
        found = [harness.push(detect(seq, [walker(seq, 50, 3), walker(seq, 400, -1)]))[0] for seq in range(1, 20)]
    assert [people.ids.tolist() for people in found] == [[1, 2]] * 19


def test_boxes_scores_and_their_order_are_unchanged() -> None:
    random = np.random.default_rng(4)
    with Harness("track") as harness:
        for seq in range(12):
            boxes = np.array([walker(seq, x, 2) for x in random.permutation([20, 200, 400])])
            item = detect(seq, boxes, random.uniform(0.05, 1, 3))
            (people,) = harness.push(item)
            assert np.array_equal(people.boxes, item.boxes)
            assert np.array_equal(people.scores, item.scores)
            assert len(people.ids) == 3


def test_a_new_person_gets_an_id_with_the_second_detection() -> None:
    with Harness("track") as harness:
        ids = []
        for seq in range(6):
            boxes = [walker(seq, 50, 3)] + ([walker(seq, 400, 0)] if seq >= 3 else [])
            ids.append(harness.push(detect(seq, boxes))[0].ids.tolist())
    assert ids == [[1], [1], [1], [1, -1], [1, 2], [1, 2]]


def test_a_false_detection_in_one_frame_gets_no_id() -> None:
    with Harness("track") as harness:
        ids = [
            harness.push(detect(seq, [walker(seq, 50, 3)] + [(500, 20, 560, 80)] * (seq == 4)))[0] for seq in range(8)
        ]
    assert ids[4].ids.tolist() == [1, -1]
    assert {int(i) for people in ids for i in people.ids} == {1, -1}


@pytest.mark.parametrize("missing", [1, 5, 20])
def test_an_id_survives_missed_detections(missing: int) -> None:
    with Harness("track") as harness:
        for seq in range(15):
            harness.push(detect(seq, [walker(seq, 50, 3), walker(seq, 400, 0)]))
        for seq in range(15, 15 + missing):
            assert harness.push(detect(seq, [walker(seq, 400, 0)]))[0].ids.tolist() == [2]
        back = 15 + missing
        assert harness.push(detect(back, [walker(back, 50, 3), walker(back, 400, 0)]))[0].ids.tolist() == [
            1,
            2,
        ]


def test_an_id_is_not_reused_after_max_lost_s() -> None:
    with Harness("track max_lost_s=0.5") as harness:
        for seq in range(5):
            harness.push(detect(seq, [walker(seq, 50, 0)]))
        for seq in range(5, 40):
            harness.push(detect(seq, []))
        later = [harness.push(detect(seq, [walker(seq, 50, 0)]))[0].ids.tolist() for seq in range(40, 43)]
    assert later == [[-1], [2], [2]]


@pytest.mark.parametrize("frames_a_second", [10, 30])
def test_ids_survive_a_crossing_with_occlusion(frames_a_second: int) -> None:
    random = np.random.default_rng(1)
    step = 30 // frames_a_second
    with Harness("track") as harness:
        for seq in range(0, 150, step):
            left, right = np.array([walker(seq, 50, 3.5), walker(seq, 560, -3.5)]) + random.normal(0, 1.5, (2, 4))
            right += [0, 12, 8, 20]  # nearer to the camera
            hidden = float(compute_iou(right[None].astype(np.float32), left[None].astype(np.float32))[0, 0]) > 0.35
            (people,) = harness.push(detect(seq, [right] if hidden else [left, right]))
            assert people.ids.tolist() == ([2] if hidden else [1, 2]), f"frame {seq}"


def test_boxes_are_extrapolated_on_skipped_frames() -> None:
    with Harness("track") as harness:
        for seq in range(0, 31, 3):
            (detected,) = harness.push(detect(seq, [walker(seq, 50, 3), walker(seq, 400, 0)]))
            for skipped in (seq + 1, seq + 2):
                stale = detect(skipped, detected.boxes, detected.scores, detected=False)
                (extrapolated,) = harness.push(stale)
                assert not extrapolated.detected
                assert extrapolated.ids.tolist() == [1, 2]
                if seq >= 15:  # the filter has learned the speed by then; a pixel is a third of a frame's motion
                    truth = [walker(skipped, 50, 3), walker(skipped, 400, 0)]
                    np.testing.assert_allclose(extrapolated.boxes, truth, atol=1.0)


def test_extrapolation_does_not_change_the_next_detection() -> None:
    def ids_and_boxes(skipping: bool) -> list[list[int]]:
        with Harness("track") as harness:
            out = []
            for seq in range(0, 60, 3):
                out.append(harness.push(detect(seq, [walker(seq, 50, 4), walker(seq, 500, -4)]))[0].ids.tolist())
                if skipping:
                    harness.push(detect(seq + 1, [walker(seq, 50, 4), walker(seq, 500, -4)], detected=False))
            return out

    assert ids_and_boxes(True) == ids_and_boxes(False)


def test_cameras_are_independent() -> None:
    with Harness("track") as harness:
        for seq in range(5):
            for camera in ("hall", "yard"):
                (people,) = harness.push(detect(seq, [walker(seq, 50, 2)], camera=camera))
                assert people.ids.tolist() == [1]


def test_ids_survive_a_clock_that_goes_back_or_stops() -> None:
    with Harness("track") as harness:
        for at in [0, 1, 2, 3, 3, 0, 1, 2, 10_000, 10_001]:
            (people,) = harness.push(detect(at, [walker(0, 50, 0)]))
            assert people.ids.tolist() == [1]


def restart(memory: dict[str, int]) -> Harness:
    """A harness with a tracker that restores ``memory``."""
    element = make("track")
    harness = Harness(element)
    element.context = Context(name="track", memory=memory)
    return harness


def test_after_a_restart_people_keep_their_ids_and_new_people_get_new_ones() -> None:
    memory: dict[str, int] = {}
    with restart(memory) as harness:
        for seq in range(8):
            harness.push(detect(seq, [walker(seq, 50, 3), walker(seq, 300, 0)]))
    with restart(memory) as harness:
        crowd = [
            harness.push(detect(seq, [walker(seq, 300, 0), walker(seq, 50, 3), walker(seq, 500, 0)]))[0]
            for seq in (10, 11)
        ]
    assert crowd[0].ids.tolist() == [2, 1, 3]
    assert crowd[1].ids.tolist() == [2, 1, 3]


def test_after_a_restart_a_new_person_gets_a_new_id() -> None:
    memory: dict[str, int] = {}
    with restart(memory) as harness:
        for seq in range(8):
            harness.push(detect(seq, [walker(seq, 50, 3)]))
    with restart(memory) as harness:
        (people,) = harness.push(detect(9, [walker(9, 500, 0)]))
    assert people.ids.tolist() == [2]


def test_a_person_who_is_not_seen_in_the_first_frame_after_a_restart_keeps_the_id() -> None:
    memory: dict[str, int] = {}
    with restart(memory) as harness:
        for seq in range(8):
            harness.push(detect(seq, [walker(seq, 50, 3), walker(seq, 300, 0)]))
    with restart(memory) as harness:
        seen = [[walker(9, 50, 3)], *([walker(seq, 50, 3), walker(seq, 300, 0)] for seq in (10, 11, 12))]
        found = [harness.push(detect(9 + number, boxes))[0].ids.tolist() for number, boxes in enumerate(seen)]
    assert found == [[1], [1, 2], [1, 2], [1, 2]]


def test_after_a_restart_two_boxes_of_one_person_do_not_share_the_id() -> None:
    memory: dict[str, int] = {}
    with restart(memory) as harness:
        for seq in range(8):
            harness.push(detect(seq, [walker(seq, 50, 3), walker(seq, 300, 0)]))
    with restart(memory) as harness:
        harness.push(detect(9, [walker(9, 50, 3)]))
        (people,) = harness.push(detect(10, [walker(10, 50, 3), walker(10, 300, 0), walker(10, 310, 0)]))
    assert people.ids.tolist() == [1, 2, -1]


def test_after_a_restart_who_stays_away_for_long_is_a_new_person() -> None:
    memory: dict[str, int] = {}
    with restart(memory) as harness:
        for seq in range(8):
            harness.push(detect(seq, [walker(seq, 50, 0), walker(seq, 300, 0)]))
    with restart(memory) as harness:
        for seq in range(8, 60):
            harness.push(detect(seq, [walker(seq, 50, 0)]))
        found = [harness.push(detect(seq, [walker(0, 50, 0), walker(0, 300, 0)]))[0].ids.tolist() for seq in (60, 61)]
    assert found == [[1, -1], [1, 3]]


def test_a_restarted_stream_starts_without_tracks() -> None:
    with Harness("track") as harness:
        for seq in range(5):
            harness.push(detect(seq, [walker(seq, 50, 3)]))
        harness.flush("hall")
        (people,) = harness.push(detect(0, [walker(5, 50, 3)]))
    assert people.ids.tolist() == [2]


def test_memory_is_bounded() -> None:
    memory: dict[str, int] = {}
    with restart(memory) as harness:
        for seq in range(400):
            # A new person every 40 frames, elsewhere.
            harness.push(detect(seq, [walker(0, 50 + 130 * (seq // 40 % 4), 0)]))
        assert memory["next_id:hall"] > 5
        assert len(memory) <= 4  # the next id, the one in view, and those within max_lost_s


# -- real clips -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aerobics(shared: Path) -> list[People]:
    """The people of every frame of the aerobics clip, detected once for all intervals."""
    clip, model = shared / "data/clips/felix_exercise.avi", shared / "data/models/yolox_nano.onnx"
    line = parse_launch(f"filesrc location={clip} ! detect model={model}")
    return [replace(found, frame=_without_pixels(found.frame)) for found in line.run()]


def _without_pixels(frame: Frame) -> Frame:
    """The frame with black pixels that take no memory."""
    return replace(frame, pixels=np.broadcast_to(np.uint8(0), frame.pixels.shape))


@pytest.mark.slow
@pytest.mark.parametrize("interval", [1, 2, 3])
def test_three_people_keep_three_ids_through_the_aerobics_clip(aerobics: list[People], interval: int) -> None:
    ids = []
    with Harness("track") as harness:
        for seq, people in enumerate(aerobics):
            # As detect interval= gives them: frames in between carry the boxes of the last that was looked at.
            last = aerobics[seq - seq % interval]
            boxes = replace(last, frame=people.frame, detected=seq % interval == 0)
            ids.append(set(harness.push(boxes)[0].ids.tolist()))
    assert len(ids) == 393
    assert all({1, 2, 3} <= found for found in ids)
    assert set.union(*ids) <= {1, 2, 3, -1}


MOT = dict[int, tuple[NDArray[np.int64], NDArray[np.float32]]]


def read_mot(path: Path) -> MOT:
    """Frame -> ids and boxes of a MOTChallenge text file (left, top, width, height)."""
    rows = np.loadtxt(path, delimiter=",")
    tables = {int(frame): rows[rows[:, 0] == frame] for frame in np.unique(rows[:, 0])}
    return {
        frame: (table[:, 1].astype(np.int64), np.c_[table[:, 2:4], table[:, 2:4] + table[:, 4:6]].astype(np.float32))
        for frame, table in tables.items()
    }


def idf1(truth: MOT, found: MOT) -> float:
    """Ristani et al. 2016: twice the boxes on the best one-to-one pairing of identities, over all boxes."""
    pairs: Counter[tuple[int, int]] = Counter()
    for frame, (ids, boxes) in truth.items():
        others, other_boxes = found.get(frame, (np.zeros(0, np.int64), np.zeros((0, 4), np.float32)))
        for identity, box in zip(ids, boxes, strict=True):
            pairs.update((int(identity), int(other)) for other in others[compute_iou(box[None], other_boxes)[0] >= 0.5])
    names = [sorted({pair[side] for pair in pairs}) for side in (0, 1)]
    table = np.array([[pairs[one, other] for other in names[1]] for one in names[0]])
    rows, columns = linear_sum_assignment(-table)
    total = sum(len(ids) for table in (truth, found) for ids, _ in table.values())
    return float(2 * table[rows, columns].sum() / total)


def track(detections: MOT, keep: Callable[[int], bool] = lambda frame: True) -> MOT:
    """Run ``track`` on detections at 25 frames per second; frames that are not kept are dropped."""

    def items() -> Iterator[People]:
        for frame in filter(keep, range(1, max(detections) + 1)):
            item = detect(frame, detections.get(frame, (0, []))[1])
            yield replace(item, frame=replace(item.frame, pts_ns=frame * 40_000_000))

    found: MOT = {}
    with Harness(Track()) as harness:
        for item in items():
            (people,) = harness.push(item)
            known = people.ids >= 0
            found[people.frame.seq] = people.ids[known], people.boxes[known]
    return found


# Known score of the stored tracker's output, and what ours makes of the same boxes: measured .538 and .652 against
# .558 and .645, where the stored one chose its boxes and ours had to live with them. The floors leave .03 for other
# versions of the tracker library.
@pytest.mark.parametrize(
    ("clip", "known", "floor"), [("TUD-Campus", 0.557659, 0.508), ("TUD-Stadtmitte", 0.644619, 0.62)]
)
def test_ids_are_as_good_as_a_published_trackers_on_its_own_boxes(
    shared: Path, clip: str, known: float, floor: float
) -> None:
    folder = shared / "data/annot/mot15/train"
    truth, given = read_mot(folder / clip / "gt/gt.txt"), read_mot(folder / "results" / f"{clip}.txt")
    assert idf1(truth, given) == pytest.approx(known, abs=1e-6)  # the measure itself is right
    assert idf1(truth, track(given)) > floor


def test_people_who_walk_keep_their_ids_while_frames_are_dropped(shared: Path) -> None:
    truth = read_mot(shared / "data/annot/mot15/train/TUD-Campus/gt/gt.txt")

    def keep(frame: int) -> bool:
        """Twelve frames come, five do not."""
        return frame % 17 < 12

    left = {frame: table for frame, table in truth.items() if keep(frame)}
    # Measured .996; a clock that counts detections instead of time gets .745.
    assert idf1(left, track(truth, keep)) > 0.95
