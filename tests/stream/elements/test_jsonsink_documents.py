"""Documents: complete or absent, with each frame once, after kills, an early stop, and a full disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream.element import Context
from stream.elements.jsonsink import JsonSink
from stream.errors import PropertyError, TransportError
from stream.output import results
from stream.testing import make_poses
from tests.full_disk import room_for

DOCUMENTS = {
    "coco": ("out.json", ["out.json"]),
    "posetrack": ("out.json", ["out.json"]),
    "csv": ("out.csv", ["out.csv"]),
    "parquet": ("out.parquet", ["out.parquet"]),
    "trc": ("out{id}.trc", ["out1.trc", "out2.trc"]),
}
"""The location of each document, and the files of two people."""


def open_sink(sink: JsonSink, incarnation: int = 0) -> JsonSink:
    sink.context = Context(name="jsonsink", incarnation=incarnation)
    return sink.__enter__()


def abandon(sink: JsonSink) -> None:
    """Close the files as a kill does, without any clean-up."""
    for lines in sink._files.values():
        lines.close()


def skip_without_pyarrow(kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow (pip install '.[parquet]')")


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def list_frames(kind: str, files: dict[str, bytes]) -> list[int]:
    """The frame of each person in it, in order."""
    content = files[DOCUMENTS[kind][1][0]]
    if kind == "parquet":
        from pyarrow import BufferReader, parquet

        return parquet.read_table(BufferReader(content))["seq"].to_pylist()[::17]
    if kind == "csv":
        return [int(row.split(",")[2]) for row in content.decode().splitlines()[1::17]]
    if kind == "trc":
        assert files["out2.trc"].splitlines()[5:] != content.splitlines()[5:]
        return [int(row.split(b"\t")[0]) for row in content.splitlines()[5:] for _ in range(2)]
    found = json.loads(content)
    first = 0 if kind == "coco" else 10_000_000_000
    return [result["image_id"] - first for result in (found if kind == "coco" else found["annotations"])]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_is_complete_or_absent_after_any_kill(tmp_path: Path, kind: Any) -> None:
    skip_without_pyarrow(kind)
    name, files = DOCUMENTS[kind]
    location = str(tmp_path / name)
    sink = open_sink(JsonSink(location=location, format=kind))
    for seq in range(3):
        sink.consume(make_poses(seq))
        assert [path.name for path in tmp_path.iterdir()] == [f"{name}.part"]
    abandon(sink)
    again = open_sink(JsonSink(location=location, format=kind), incarnation=1)
    for seq in range(1, 5):
        again.consume(make_poses(seq))
    again.flush()
    assert sorted(map(str, again.written)) == [str(tmp_path / file) for file in files]
    complete = read_files(tmp_path)
    abandon(again)  # killed after the end of the stream, before upstream was notified
    last = open_sink(JsonSink(location=location, format=kind), incarnation=2)
    last.consume(make_poses(4))
    last.flush()
    last.__exit__(None, None, None)
    assert list(read_files(tmp_path)) == files
    assert read_files(tmp_path) == {file: complete[file] for file in files}
    assert list_frames(kind, complete) == [seq for seq in range(5) for _ in range(2)]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_reports_progress_while_it_is_written(tmp_path: Path, kind: Any) -> None:
    skip_without_pyarrow(kind)
    reports: list[int] = []
    sink = JsonSink(location=str(tmp_path / DOCUMENTS[kind][0]), format=kind)
    sink.context = Context(progress=lambda: reports.append(1))
    with sink:
        for seq in range(3):
            sink.consume(make_poses(seq))
        assert reports == []
        sink.flush()
    assert len(reports) >= 3


@pytest.mark.parametrize("kind", ["coco", "posetrack"])
def test_the_frames_of_a_document_are_converted_one_by_one_between_reports_of_progress(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that reports nothing for ten seconds is killed; 50,000 frames take longer to convert."""
    steps: list[str] = []
    convert = results.convert_skeleton

    def convert_and_note(record: results.Record, target: str) -> Any:
        steps.append("frame")
        return convert(record, target)

    monkeypatch.setattr(results, "convert_skeleton", convert_and_note)
    sink = JsonSink(location=str(tmp_path / "out.json"), format=kind)
    sink.context = Context(progress=lambda: steps.append("progress"))
    with sink:
        for seq in range(5):
            sink.consume(make_poses(seq))
        sink.flush()
    assert "frame frame" not in " ".join(steps)
    assert steps.count("frame") == 5


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_line_stopped_early_leaves_a_complete_document(tmp_path: Path, kind: Any) -> None:
    skip_without_pyarrow(kind)
    name, files = DOCUMENTS[kind]
    sink = open_sink(JsonSink(location=str(tmp_path / name), format=kind))
    sink.consume(make_poses(0))
    sink.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert list(read_files(tmp_path)) == files
    assert list_frames(kind, read_files(tmp_path)) == [0, 0]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_disk_that_is_full_at_the_end_leaves_the_frames_and_no_torn_document(tmp_path: Path, kind: Any) -> None:
    skip_without_pyarrow(kind)
    name, files = DOCUMENTS[kind]
    location = str(tmp_path / name)
    sink = open_sink(JsonSink(location=location, format=kind))
    sink.consume(make_poses(0))
    sink.consume(make_poses(1))
    with room_for(100), pytest.raises(TransportError) as caught:
        sink.flush()
    assert str(caught.value) == "; ".join(
        f"jsonsink cannot write {tmp_path / file}: File too large; choose another location=" for file in files
    )
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.part"]
    sink.flush()
    sink.__exit__(None, None, None)
    assert list(read_files(tmp_path)) == files
    assert list_frames(kind, read_files(tmp_path)) == [0, 0, 1, 1]


def test_a_full_disk_leaves_no_torn_file_of_openpose(tmp_path: Path) -> None:
    with JsonSink(location=str(tmp_path), format="openpose") as sink:
        sink.consume(make_poses(0))
        with room_for(100), pytest.raises(TransportError, match=r"cam_000000000001_keypoints\.json: File too large;"):
            sink.consume(make_poses(1))
        sink.consume(make_poses(2))
    assert list(read_files(tmp_path)) == [f"cam_{seq:012d}_keypoints.json" for seq in (0, 2)]


def test_two_cameras_share_a_table_also_after_one_ended_and_a_restart(tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    sinks = []
    for incarnation in (0, 1):
        sink = JsonSink(location=str(tmp_path / "out.csv"), format="csv")
        sink.context = Context(memory=memory, incarnation=incarnation)
        sinks.append(sink.__enter__())
        for camera in ("hall", "yard")[incarnation:]:
            sink.consume(make_poses(incarnation, camera))
        if not incarnation:
            sink.end("hall")
            abandon(sink)
    sinks[1].end("yard")
    sinks[1].flush()
    sinks[1].__exit__(None, None, None)
    rows = [row.split(",")[:3] for row in (tmp_path / "out.csv").read_text().splitlines()[1::34]]
    assert rows == [["hall", "", "0"], ["yard", "", "0"], ["yard", "", "1"]]


def test_a_camera_that_ended_before_a_restart_has_its_document(tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    first = JsonSink(location=str(tmp_path / "{camera}.json"), format="coco")
    first.context = Context(memory=memory)
    first.__enter__()
    first.consume(make_poses(0, "hall"))
    first.end("hall")
    abandon(first)
    assert len(json.loads((tmp_path / "hall.json").read_text())) > 0
    for incarnation in (1, 2):  # the end may come again, when it could not be acknowledged
        again = JsonSink(location=str(tmp_path / "{camera}.json"), format="coco")
        again.context = Context(memory=memory, incarnation=incarnation)
        with again:
            again.end("hall")
            again.flush()
    assert len(json.loads((tmp_path / "hall.json").read_text())) > 0


def test_the_document_of_a_camera_whose_part_was_killed_before_its_end_is_written_at_its_end(tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    first = JsonSink(location=str(tmp_path / "{camera}.json"), format="coco")
    first.context = Context(memory=memory)
    first.__enter__()
    first.consume(make_poses(0, "hall"))
    again = JsonSink(location=str(tmp_path / "{camera}.json"), format="coco")
    again.context = Context(memory=memory, incarnation=1)
    abandon(first)
    with again:
        again.end("hall")
    assert len(json.loads((tmp_path / "hall.json").read_text())) > 0


def test_a_part_that_was_killed_before_it_removed_its_lines_removes_them_when_it_is_restarted(tmp_path: Path) -> None:
    memory: dict[str, int] = {}
    first = JsonSink(location=str(tmp_path / "{camera}.json"), format="coco")
    first.context = Context(memory=memory)
    with pytest.MonkeyPatch.context() as patch:
        first.__enter__()
        first.consume(make_poses(0, "hall"))
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        first.end("hall")
    (tmp_path / ".hall.json.part").write_text("[")  # as a kill while the document is written leaves it
    assert (tmp_path / "hall.json.part").exists()
    again = JsonSink(location=str(tmp_path / "{camera}.json"), format="coco")
    again.context = Context(memory=memory, incarnation=1)
    with again:
        again.end("hall")
        again.consume(make_poses(0, "yard"))
        again.end("yard")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hall.json.part", "hall.json", "yard.json"]


@pytest.mark.parametrize("finish", [JsonSink.flush, lambda sink: sink.__exit__(KeyboardInterrupt, None, None)])
def test_a_document_that_cannot_be_written_keeps_no_other_from_being_written(
    tmp_path: Path, finish: Callable[[JsonSink], object]
) -> None:
    sink = open_sink(JsonSink(location=str(tmp_path / "{camera}.json"), format="coco"))
    for camera in ("hall", "yard", "gate"):
        sink.consume(make_poses(0, camera))
    for camera in ("hall", "gate"):
        (tmp_path / f"{camera}.json").mkdir()
    with pytest.raises(TransportError) as caught:
        finish(sink)
    assert str(caught.value) == "; ".join(
        f"jsonsink cannot write {tmp_path}/{camera}.json: Is a directory; choose another location="
        for camera in ("hall", "gate")
    )
    assert len(json.loads((tmp_path / "yard.json").read_text())) == 2
    for camera in ("hall", "gate"):
        (tmp_path / f"{camera}.json").rmdir()
    sink.__exit__(None, None, None)


def test_the_people_after_one_whose_file_cannot_be_written_have_theirs(tmp_path: Path) -> None:
    sink = open_sink(JsonSink(location=str(tmp_path / "{id}.trc"), format="trc"))
    sink.consume(make_poses(0))
    (tmp_path / "1.trc").mkdir()
    with pytest.raises(TransportError, match=r"cannot write .*/1\.trc: Is a directory"):
        sink.flush()
    assert (tmp_path / "2.trc").is_file()
    (tmp_path / "1.trc").rmdir()
    sink.__exit__(None, None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.trc", "2.trc"]


def test_a_camera_that_is_called_as_the_unfinished_document_of_another_is_refused() -> None:
    sink = JsonSink(location="{camera}", format="coco")
    assert sink.outputs(["x", "y"]) == ["x", "y", "x.part", "y.part"]
    with pytest.raises(PropertyError) as caught:
        sink.outputs(["x.part", "x"])
    assert str(caught.value) == (
        "jsonsink: x.part is the file of camera 'x.part' and, until its end, that of 'x'; set camera= to another name, "
        "or location={camera} to one with a suffix"
    )
    assert JsonSink(location="{camera}").outputs(["x.part", "x"]) == ["x.part", "x"]


@pytest.mark.parametrize("location", ["{camera}{id}.trc", "{id}{camera}.trc"])
def test_a_location_that_gives_two_people_one_file_is_refused(location: str) -> None:
    with pytest.raises(PropertyError, match=r"camera 'a1' and person 2 have the file of camera 'a' and person 12"):
        JsonSink(location=location, format="trc")
