"""Tables of keypoints, read back by the csv module and by pyarrow."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.skeletons import SKELETONS
from stream.element import Context
from stream.elements.jsonsink import JsonSink
from stream.errors import PropertyError
from stream.messages import Poses
from stream.output import tables
from stream.testing import make_poses

TRICKY = 'shots/a,"b"\nc é.png'
"""A file's name that a careless writer of CSV would break."""


def make_items() -> list[Poses]:
    """Frames of two cameras, with gaps, one of which has no people."""
    items = [make_poses(seq, camera) for seq in (0, 1, 4) for camera in ("hall", "yard, left")]
    items.append(make_poses(5, "hall", count=0))
    named = replace(items[0], frame=replace(items[0].frame, file=TRICKY))
    return [named, *items[1:]]


def expected_rows() -> list[tuple[Any, ...]]:
    joints = SKELETONS["coco17"].joints
    return [
        (
            item.frame.camera,
            item.frame.file,
            item.frame.seq,
            item.frame.pts_ns / 1e9,
            number,
            joint,
            *(round(value, 4) for value in point),
        )
        for item in make_items()
        for number, points in zip(item.ids.tolist(), item.keypoints.tolist(), strict=True)
        for joint, point in zip(joints, points, strict=True)
    ]


def write(path: Path, kind: Any) -> None:
    with JsonSink(location=str(path), format=kind) as sink:
        for item in make_items():
            sink.consume(item)
        sink.flush()


def read_csv(text: str) -> list[tuple[Any, ...]]:
    kinds = (str, str, int, float, int, str, float, float, float)
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["camera", "file", "seq", "time_s", "id", "joint", "x", "y", "score"]
    return [tuple(kind(value) for kind, value in zip(kinds, row, strict=True)) for row in rows]


def test_a_csv_has_a_row_for_each_joint(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "csv")
    rows = read_csv((tmp_path / "a.csv").read_bytes().decode())
    assert rows == expected_rows()
    assert len(rows) == 3 * 2 * 2 * 17


def test_a_csv_of_no_frames_has_a_header(tmp_path: Path) -> None:
    with JsonSink(location=str(tmp_path / "a.csv"), format="csv") as sink:
        sink.flush()
    assert (tmp_path / "a.csv").read_text() == "camera,file,seq,time_s,id,joint,x,y,score\n"


def test_a_csv_is_printed_with_one_header_also_after_a_restart(capsys: pytest.CaptureFixture[str]) -> None:
    memory: dict[str, int] = {}
    for incarnation in (0, 1):
        sink = JsonSink(format="csv")
        sink.context = Context(memory=memory, incarnation=incarnation)
        with sink:
            for item in make_items()[: 4 if incarnation == 0 else None]:
                sink.consume(item)
    assert read_csv(capsys.readouterr().out) == expected_rows()
    with JsonSink(format="csv") as sink:
        sink.consume(make_poses(0, count=0))
    assert read_csv(capsys.readouterr().out) == []


def test_pyarrow_reads_the_same_rows_from_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (pip install '.[parquet]')")
    monkeypatch.setattr(tables, "ROWS_PER_GROUP", 50)
    write(tmp_path / "a.parquet", "parquet")
    found = parquet.ParquetFile(tmp_path / "a.parquet")
    assert found.num_row_groups == 5
    assert [tuple(row.values()) for row in found.read().to_pylist()] == expected_rows()
    assert {field.name: str(field.type) for field in found.schema_arrow} == {
        **dict.fromkeys(("camera", "file", "joint"), "dictionary<values=string, indices=int32, ordered=0>"),
        **dict.fromkeys(("seq", "id"), "int64"),
        **dict.fromkeys(("time_s", "x", "y", "score"), "double"),
    }


def test_parquet_of_no_rows_can_be_read(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow (pip install '.[parquet]')")
    with JsonSink(location=str(tmp_path / "a.parquet"), format="parquet") as sink:
        sink.consume(make_poses(0, count=0))
    assert parquet.read_table(tmp_path / "a.parquet").shape == (0, 9)


def test_parquet_without_pyarrow_is_refused_before_the_line_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "find_spec", lambda name: None)
    sink = JsonSink(location=str(tmp_path / "a.parquet"), format="parquet")
    with pytest.raises(PropertyError) as caught:
        sink.check(())
    assert str(caught.value) == (
        "jsonsink: format=parquet needs pyarrow; in a clone of posestream: pip install '.[parquet]', or use format=csv"
    )
    with pytest.raises(PropertyError), sink:
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_skeleton_without_names_has_numbers(tmp_path: Path) -> None:
    poses = make_poses(0, count=1)
    with JsonSink(location=str(tmp_path / "a.csv"), format="csv") as sink:
        sink.consume(replace(poses, skeleton="hand3", keypoints=np.ascontiguousarray(poses.keypoints[:, :3])))
    assert [row[5] for row in read_csv((tmp_path / "a.csv").read_text())] == ["0", "1", "2"]
