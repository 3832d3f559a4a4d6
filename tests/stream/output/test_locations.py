from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stream.element import Sink
from stream.errors import TransportError
from stream.output.locations import check_target, insert_camera, make_folder, make_folder_of
from stream.registry import make
from stream.testing import make_poses

NAMES = ["a/b", "a_b", "a%2Fb", "a%2fb", "a%b", ".", "..", "...", "a.b", "../a", "/a", "ä b", "rtsp://h/x", "a\\b"]
SINKS = ["jsonsink", "jsonsink format=coco", "overlaysink"]
SUFFIX = {"jsonsink": ".jsonl", "jsonsink format=coco": ".json", "overlaysink": ".mp4"}


def make_sink(line: str, location: Path | str) -> Sink:
    name, *properties = line.split()
    sink = make(name, location=str(location), **dict(entry.split("=") for entry in properties))
    assert isinstance(sink, Sink)
    return sink


def write(sink: Sink, *cameras: str) -> None:
    with sink:
        for seq in range(2):
            for camera in cameras:
                sink.consume(make_poses(seq, camera))
        sink.flush()


def test_cameras_of_different_names_have_different_files_in_the_same_folder() -> None:
    names = [insert_camera("{camera}", name) for name in NAMES]
    assert len(set(names)) == len(NAMES)
    assert not [name for name in names if "/" in name or name in (".", "..")]
    assert insert_camera("out/{camera}.mp4", "hall 1.left") == "out/hall 1.left.mp4"


@pytest.mark.parametrize("line", SINKS)
def test_every_sink_keeps_two_cameras_apart(tmp_path: Path, line: str) -> None:
    write(make_sink(line, f"{tmp_path}/{{camera}}{SUFFIX[line]}"), "a/b", "a_b")
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a%2Fb", "a_b"]
    assert all(path.stat().st_size for path in tmp_path.iterdir())


# -- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [*SINKS, "overlaysink "])
def test_every_sink_makes_a_missing_folder_and_says_so(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one writes PNGs: the folder that it fills is not worth a word, the one above is."""
    location = tmp_path / "new" / f"poses{SUFFIX.get(line, '')}"
    for _ in range(2):
        write(make_sink(line, location), "hall")
    assert location.exists()
    (record,) = (record for record in caplog.records if "made the folder" in record.message)
    assert record.getMessage() == f"{line.split(maxsplit=1)[0]} made the folder {tmp_path / 'new'}, which was not there"


def test_a_folder_that_is_there_or_is_to_be_filled_is_made_silently(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_folder(tmp_path / "frames", "overlaysink")
    make_folder_of(tmp_path / "frames" / "a.png", "overlaysink")
    assert not caplog.records


@pytest.mark.parametrize(("place", "kind"), [("/dev/full", "a device"), ("file", "a file"), ("pipe", "a pipe")])
def test_what_is_no_folder_holds_no_files(tmp_path: Path, place: str, kind: str) -> None:
    path = tmp_path / place  # an absolute place stays what it is
    if place == "file":
        path.touch()
    elif place == "pipe":
        os.mkfifo(path)
    for line in SINKS:
        with pytest.raises(TransportError) as caught, make_sink(line, path / f"poses{SUFFIX[line]}"):
            pass
        owner = line.split()[0]
        expected = f"{owner} cannot write {path}: it is {kind}, not a folder; choose another location="
        assert str(caught.value) == expected
    with pytest.raises(TransportError, match=f"overlaysink cannot write {path}: it is {kind}, not a folder"):
        make_sink("overlaysink", path).__enter__()


# -- devices and pipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["jsonsink format=coco", "jsonsink format=posetrack", "overlaysink"])
def test_a_file_does_not_replace_what_is_none(tmp_path: Path, line: str) -> None:
    path = tmp_path / "poses.mp4"
    os.mkfifo(path)
    with pytest.raises(TransportError) as caught, make_sink(line, path):
        pass
    owner = line.split(maxsplit=1)[0]
    assert str(caught.value) == f"{owner} cannot write {path}: it is a pipe, not a file; choose another location="
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_and_a_device_are_no_files_but_nothing_may_become_one(tmp_path: Path) -> None:
    check_target(tmp_path / "new", "sink")
    for path, kind in ((tmp_path, "a folder"), (Path("/dev/full"), "a device")):
        with pytest.raises(TransportError, match=f"sink cannot write {path}: it is {kind}, not a file"):
            check_target(path, "sink")


def test_lines_go_to_a_device_and_a_full_one_says_so() -> None:
    write(make_sink("jsonsink", "/dev/null"), "hall")
    with pytest.raises(
        TransportError, match="jsonsink cannot write /dev/full: No space left on device; make room, or choose"
    ):
        write(make_sink("jsonsink", "/dev/full"), "hall")


def test_lines_go_to_a_pipe_that_is_read_and_do_not_wait_for_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(TransportError) as caught, make_sink("jsonsink", path):
        pass
    expected = f"jsonsink cannot write {path}: it is a pipe that no process reads; choose another location="
    assert str(caught.value) == expected
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(make_sink("jsonsink", path), "hall")
        assert os.read(reader, 1 << 20).count(b"\n") == 2
    finally:
        os.close(reader)


@pytest.mark.parametrize("line", ["jsonsink", "overlaysink"])
def test_a_file_that_another_sink_writes_is_left_as_it_is(tmp_path: Path, line: str) -> None:
    path = tmp_path / f"poses{SUFFIX[line]}"
    with make_sink(line, path) as first:
        for seq in range(3):
            first.consume(make_poses(seq, "hall"))
        written = path.read_bytes()
        with pytest.raises(TransportError) as caught, make_sink(line, path):
            pass
        assert (
            str(caught.value) == f"{line} cannot write {path}: another sink is writing to it; choose another location="
        )
        assert path.read_bytes() == written
    write(make_sink(line, path), "yard")
    assert path.read_bytes() != written


@pytest.mark.parametrize("line", ["jsonsink", "overlaysink"])
def test_a_file_that_is_removed_while_it_is_written_is_an_error_at_the_end(tmp_path: Path, line: str) -> None:
    path = tmp_path / f"poses{SUFFIX[line]}"
    with make_sink(line, path) as sink:
        for seq in range(3):
            sink.consume(make_poses(seq, "hall"))
        path.unlink()
        with pytest.raises(TransportError) as caught:
            sink.flush()
    assert (
        str(caught.value) == f"{line} cannot write {path}: it was removed while the line ran; choose another location="
    )


def test_a_file_system_without_locks_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    write(make_sink("jsonsink", tmp_path / "poses.jsonl"), "hall")
    assert (tmp_path / "poses.jsonl").read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("sink", ["jsonsink format=coco", "overlaysink"])
def test_a_link_planted_at_a_temporary_name_does_not_lead_to_another_file(sink: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    is_json = sink.startswith("jsonsink")
    (tmp_path / ("out.json.part" if is_json else "000000.part")).symlink_to(victim)
    element = make_sink(sink, tmp_path / "out.json" if is_json else tmp_path)
    with pytest.raises(TransportError, match="symbolic links are followed only from names that you gave"), element:
        element.consume(make_poses(0))
    assert victim.read_text() == "mine"


def test_the_home_folder_is_meant_before_a_location_and_not_in_a_cameras_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert insert_camera("~/{camera}.jsonl", "~") == f"{tmp_path}/~.jsonl"
    assert insert_camera("{camera}/x.jsonl", "~") == "~/x.jsonl"
