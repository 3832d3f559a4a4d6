"""``replaysrc``: frames of a recording with their own numbers and times, and what cannot be played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stream.elements.replaysrc import ReplaySrc
from stream.errors import LinkError, SourceError
from stream.messages import Frame
from stream.pipeline.launch import parse_launch
from stream.pipeline.outputs import check_outputs
from stream.recording import recording
from stream.recording.reader import read_messages
from stream.testing import Clock, Harness, check_element
from tests.stream.recording.recordings import interleave, open_sink, picture_poses, record


def read(path: Path, camera: str = "") -> list[Frame]:
    with ReplaySrc(location=str(path), camera=camera) as source:
        return [frame for frame in source.frames() if frame is not None]


def test_replaysrc_is_an_element(tmp_path: Path) -> None:
    record(tmp_path / "x.mcap", [picture_poses(seq) for seq in range(5)])
    check_element(f"replaysrc location={tmp_path}/x.mcap")


@pytest.mark.parametrize(("video", "size"), [("h264", (64, 48)), ("h264", (65, 49)), ("jpeg", (65, 49))])
def test_frames_have_their_own_numbers_times_and_pixels(tmp_path: Path, video: str, size: tuple[int, int]) -> None:
    items = [picture_poses(seq, size=size) for seq in (3, 4, 7, 40)]
    found = read(record(tmp_path / "x.mcap", items, video=video), "hall")
    for frame, poses in zip(found, items, strict=True):
        was = poses.frame
        assert (frame.key, frame.pts_ns, frame.wall_ns, frame.size) == (was.key, was.pts_ns, was.wall_ns, size)
        assert frame.ledger["captured"] == was.wall_ns
        assert np.abs(frame.pixels.astype(int) - was.pixels).max() <= 8  # frames differ by a step of 1


def test_a_camera_is_chosen_by_name_and_has_the_name_of_the_element_without_one(tmp_path: Path) -> None:
    both = record(tmp_path / "both.mcap", interleave(3))
    assert [frame.key for frame in read(both, "yard")] == [("yard", 0), ("yard", 1), ("yard", 2)]
    one = record(tmp_path / "one.mcap", [picture_poses(0)])
    assert [frame.key for frame in Harness(f"replaysrc location={one} name=again").pull_all()] == [("again", 0)]


def test_all_files_are_read_in_order_and_a_size_may_change(tmp_path: Path) -> None:
    items = [picture_poses(seq, size=(64, 48) if seq < 30 else (48, 64)) for seq in range(60)]
    path = record(tmp_path / "x.mcap", items, max_minutes=1 / 60)
    source = ReplaySrc(location=str(path))
    assert [file.name for file in source.inputs()] == ["x.mcap", "x.2.mcap", "x.3.mcap"]
    assert source.length == 60
    found = read(path)
    assert [frame.seq for frame in found] == list(range(60))
    assert [frame.size for frame in found] == [poses.frame.size for poses in items]


def test_a_file_that_a_recorder_would_come_to_is_not_read(tmp_path: Path) -> None:
    path = record(tmp_path / "x.2.mcap", [picture_poses(0)])
    line = f"replaysrc location={path} ! detect ! track ! window ! pose ! recordsink location={tmp_path}/x.mcap"
    with pytest.raises(LinkError) as caught:
        check_outputs(parse_launch(line).parts)
    assert str(caught.value) == (
        f"recordsink numbers its later files, and one would overwrite {str(path)!r}, which replaysrc reads; "
        "choose another location= for recordsink"
    )


def test_frames_before_the_first_key_frame_are_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(tmp_path / "x.mcap", [picture_poses(seq) for seq in range(40)])

    def read_later(file: Path, *, quiet: bool = False) -> object:
        found = list(read_messages(file, quiet=quiet))
        return found[1 + 3 * 5 :]

    monkeypatch.setattr(recording, "read_messages", read_later)
    seqs = [frame.seq for frame in read(path)]
    assert seqs == list(range(40 - len(seqs), 40))
    assert 0 < len(seqs) < 35
    assert caplog.messages == [f"{path}: pictures of camera 'hall' that cannot be decoded: {35 - len(seqs)}"]


def test_what_is_no_recording_or_has_no_such_camera_is_one_line(tmp_path: Path) -> None:
    both = record(tmp_path / "both.mcap", interleave(2))
    blind = record(tmp_path / "blind.mcap", [picture_poses(0)], video="none")
    text = tmp_path / "text.mcap"
    text.write_text("a text")
    empty = tmp_path / "cut.mcap"
    with open_sink(tmp_path / "open.mcap", clock=Clock()):
        empty.write_bytes((tmp_path / "open.mcap").read_bytes())
    for path, camera, message in [
        (both, "", f"{both} has several cameras: hall, yard; choose one with camera="),
        (both, "door", f"{both} has no camera 'door'; it has hall, yard"),
        (
            blind,
            "",
            (
                f"{blind} has no video of camera 'hall', only keypoints; record with video=h264, or publish them with "
                "posestream replay"
            ),
        ),
        (text, "", f"{str(text)!r} is no MCAP file; give one that recordsink has written"),
        (empty, "", f"{empty} has no keypoints: it has no topic poses/…; give a file of recordsink"),
        (
            tmp_path / "none.mcap",
            "",
            f"'{tmp_path}/none.mcap' cannot be read: No such file or directory; check the path and its permissions",
        ),
    ]:
        with pytest.raises(SourceError) as caught:
            read(path, camera)
        assert str(caught.value) == message
