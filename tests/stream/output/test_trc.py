"""TRC: its header, and the markers as OpenSim and Pose2Sim read them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.skeletons import SKELETONS
from stream.elements.jsonsink import JsonSink
from stream.errors import PropertyError
from stream.messages import NO_ID, Poses
from stream.testing import make_poses

JOINTS = SKELETONS["coco17"].joints
SEQS = (0, 1, 3, 4, 6)
"""Frames 2 and 5 were dropped."""


def make_items() -> list[Poses]:
    """Person 1 in all frames, without a nose in frame 1; person 2 from frame 1 to 4, but not in 3."""
    items = [make_poses(seq, "hall") for seq in SEQS]
    items[1].keypoints[0, 0] = 0
    return [keep(item, 1) if item.frame.seq in (0, 3, 6) else item for item in items]


def keep(item: Poses, number: int) -> Poses:
    rows = item.ids == number
    return replace(
        item, boxes=item.boxes[rows], scores=item.scores[rows], ids=item.ids[rows], keypoints=item.keypoints[rows]
    )


def write(folder: Path) -> None:
    with JsonSink(location=str(folder / "{camera}_{id}.trc"), format="trc") as sink:
        for item in make_items():
            sink.consume(item)
        sink.flush()


def expected(number: int) -> list[tuple[int, float, list[list[float]]]]:
    """Frame, time and the joints of a person: x, y, z, NaN for what is not there."""
    items = {item.frame.seq: item for item in make_items()}
    seqs = SEQS if number == 1 else (1, 3, 4)
    rows = []
    for seq in seqs:
        points = np.full((17, 3), np.nan)
        for row in np.flatnonzero(items[seq].ids == number):
            found = items[seq].keypoints[row].astype(np.float64)
            points = np.where(found[:, 2:] > 0, np.c_[found[:, :2], np.zeros(17)], np.nan)
        rows.append((seq, items[seq].frame.pts_ns / 1e9, points.round(4).tolist()))
    return rows


def is_equal(found: list[list[float]], wanted: list[list[float]]) -> bool:
    """Equal up to the fourth decimal, which is rounded from float32."""
    return np.allclose(found, wanted, atol=6e-5, equal_nan=True)


@pytest.mark.parametrize("number", [1, 2])
def test_a_person_has_a_file_of_the_documented_layout(tmp_path: Path, number: int) -> None:
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hall_1.trc", "hall_2.trc"]
    kind, names, values, markers, axes, *rows = (tmp_path / f"hall_{number}.trc").read_text().splitlines()
    assert kind == f"PathFileType\t4\t(X/Y/Z)\thall_{number}.trc"
    count, first = (5, 0) if number == 1 else (3, 1)
    assert dict(zip(names.split("\t"), values.split("\t"), strict=True)) == {
        "DataRate": "29.97",
        "CameraRate": "29.97",
        "NumFrames": str(count),
        "NumMarkers": "17",
        "Units": "px",
        "OrigDataRate": "29.97",
        "OrigDataStartFrame": str(first),
        "OrigNumFrames": str(count),
    }
    assert markers.split("\t")[:6] == ["Frame#", "Time", "nose", "", "", "left_eye"]
    assert axes.split("\t") == ["", "", *(f"{axis}{n}" for n in range(1, 18) for axis in "XYZ")]
    for row, (seq, time_s, points) in zip(rows, expected(number), strict=True):
        frame, time, *cells = row.split("\t")
        assert (int(frame), float(time)) == (seq, time_s)
        assert is_equal(np.reshape(list(map(float, cells)), (17, 3)).tolist(), points)


@pytest.mark.parametrize("number", [1, 2])
def test_opensim_reads_the_markers(tmp_path: Path, number: int) -> None:
    opensim = pytest.importorskip("opensim", reason="needs the package opensim")
    write(tmp_path)
    table = opensim.TimeSeriesTableVec3(str(tmp_path / f"hall_{number}.trc"))
    assert tuple(table.getColumnLabels()) == JOINTS
    assert (table.getTableMetaDataString("Units"), table.getTableMetaDataString("DataRate")) == ("px", "29.97")
    assert list(table.getIndependentColumn()) == [time for _, time, _ in expected(number)]
    for index, (_, _, points) in enumerate(expected(number)):
        row = table.getRowAtIndex(index)
        assert is_equal([row.getElt(0, marker).to_numpy().tolist() for marker in range(17)], points)


def test_pose2sim_reads_the_markers(tmp_path: Path) -> None:
    common = pytest.importorskip("Pose2Sim.common", reason="needs the package pose2sim")
    write(tmp_path)
    found, frames, times, markers, _ = common.read_trc(tmp_path / "hall_1.trc")
    assert tuple(markers) == JOINTS
    assert (frames.tolist(), times.tolist()) == (list(SEQS), [time for _, time, _ in expected(1)])
    for row, (_, _, points) in zip(found.to_numpy().reshape(-1, 17, 3).tolist(), expected(1), strict=True):
        assert is_equal(row, points)


def test_people_without_ids_are_refused(tmp_path: Path) -> None:
    poses = make_poses(0)
    with JsonSink(location=str(tmp_path / "{id}.trc"), format="trc") as sink:
        with pytest.raises(PropertyError) as caught:
            sink.consume(replace(poses, ids=np.full(2, NO_ID)))
        sink.consume(make_poses(0, count=0))
        sink.flush()
    assert str(caught.value) == (
        "jsonsink: format=trc follows people by their ids, which these lack; put track after detect"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_single_frame_has_a_rate(tmp_path: Path) -> None:
    with JsonSink(location=str(tmp_path / "{id}.trc"), format="trc") as sink:
        sink.consume(make_poses(0, count=1))
    assert (tmp_path / "1.trc").read_text().splitlines()[2].startswith("1\t1\t1\t17\tpx\t1\t0\t1")
