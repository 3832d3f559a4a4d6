"""``recordsink``: the bytes of the protocol, Foxglove's channels, limits, full disks and kills."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from engines.skeletons import SKELETONS
from stream.element import Context
from stream.elements.keypointsink import KeypointSink
from stream.elements.recordsink import RecordSink
from stream.elements.replaysrc import ReplaySrc
from stream.errors import FullDiskError, PropertyError, SourceError, TransportError, WireError
from stream.messages import Poses
from stream.recording import installed, writer
from stream.recording.reader import read_messages
from stream.recording.recording import Recording
from stream.testing import Clock, check_element
from stream.transports.publisher import Publisher
from tests.full_disk import room_for
from tests.stream.recording.recordings import SESSION, interleave, open_sink, picture_poses, record, summarise


def read_foxglove(path: Path, topic: str) -> list[Any]:
    with path.open("rb") as file:
        found = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages(topics=[topic])
        return [message.decoded_message for message in found]


def test_recordsink_is_an_element(tmp_path: Path) -> None:
    check_element(f"recordsink location={tmp_path}/all.mcap")
    check_element(f"recordsink location={tmp_path}/{{camera}}.mcap video=none")


# -- what is recorded --------------------------------------------------------------------------------------------------


def test_a_recording_has_the_bytes_that_keypointsink_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[str, bytes]] = []
    monkeypatch.setattr(Publisher, "publish", lambda self, topic, payload: published.append((topic, payload)))
    items = interleave(3)
    sink = KeypointSink(bind="tcp://127.0.0.1:*", linger_s=0)
    sink.context = Context(now_ns=Clock(), memory={"session": SESSION}, incarnation=1)
    with sink, open_sink(tmp_path / "x.mcap", memory={"session": SESSION}, incarnation=1, video="none") as recorder:
        for each in (sink, recorder):
            for item in items:
                each.consume(item)
            each.flush()
    recorded = [(message.topic, message.payload) for message in Recording(tmp_path / "x.mcap").messages()]
    assert len(recorded) == 1 + 2 * 3 + 2
    assert recorded == published


def test_times_of_messages_are_those_of_capture_and_of_writing(tmp_path: Path) -> None:
    path = record(tmp_path / "x.mcap", [picture_poses(seq) for seq in range(3)])
    found = [message for message in read_messages(path) if message.topic != "skeleton/coco17"]
    frames = [message for message in found if message.topic != "poses/hall" or message.sequence < 3]
    assert [message.log_ns for message in frames] == [
        picture_poses(seq).frame.wall_ns for seq in range(3) for _ in "123"
    ]
    assert [message.publish_ns - Clock().time_ns for message in frames] == [0] * 3 + [40_000_000] * 3 + [80_000_000] * 3


def test_foxglove_reads_the_video_and_the_skeletons_on_it(tmp_path: Path) -> None:
    path = record(tmp_path / "x.mcap", [picture_poses(seq) for seq in range(32)])
    videos = read_foxglove(path, "video/hall")
    assert [video.format for video in videos] == ["h264"] * 32
    assert {video.frame_id for video in videos} == {"hall"}
    # 7: SPS, 8: PPS, 5: a key frame's slice, 1: another one's. The frames are 33.4 ms apart.
    kinds = [find_units(video.data) for video in videos]
    keys = {number for number, units in enumerate(kinds) if units == {7, 8, 5}}
    assert keys >= {0, 30}  # the encoder may add others
    assert all(kinds[number] == {1} for number in set(range(32)) - keys)
    skeletons = read_foxglove(path, "annotations/hall")
    moments = [(each.timestamp.seconds, each.timestamp.nanos) for each in videos]
    assert moments == [divmod(picture_poses(seq).frame.wall_ns, 10**9) for seq in range(32)]
    assert [(each.points[0].timestamp.seconds, each.points[0].timestamp.nanos) for each in skeletons] == moments
    box, limbs, joints = skeletons[5].points[:3]
    poses = picture_poses(5)
    assert [(point.x, point.y) for point in box.points][::2] == [tuple(poses.boxes[0, :2]), tuple(poses.boxes[0, 2:])]
    assert [(point.x, point.y) for point in joints.points] == [tuple(joint) for joint in poses.keypoints[0, :, :2]]
    assert len(limbs.points) == 2 * len(SKELETONS["coco17"].limbs)
    assert [text.text for text in skeletons[5].texts] == ["1", "2"]


def find_units(data: bytes) -> set[int]:
    """The kinds of the units of a piece of H.264, but for information (6)."""
    return {unit[0] & 31 for unit in data.split(b"\0\0\1")[1:]} - {6}


def test_joints_with_low_scores_and_their_limbs_are_not_drawn(tmp_path: Path) -> None:
    poses = picture_poses(0, count=1)
    poses.keypoints[0, :, 2] = 0.1
    poses.keypoints[0, 5, 2] = 0.5
    record(tmp_path / "x.mcap", [poses], video="none")
    (drawn,) = read_foxglove(tmp_path / "x.mcap", "annotations/hall")
    assert [len(points.points) for points in drawn.points] == [4, 1]  # the box and the joint


def test_pictures_may_be_jpegs_or_left_out(tmp_path: Path) -> None:
    items = [picture_poses(seq) for seq in range(2)]
    assert [each.format for each in read_foxglove(record(tmp_path / "x.mcap", items, video="jpeg"), "video/hall")] == ["jpeg", "jpeg"]  # fmt: skip # noqa: E501
    assert read_foxglove(record(tmp_path / "y.mcap", items, video="none"), "video/hall") == []


def test_each_camera_may_have_its_file_and_each_run_its_name(tmp_path: Path) -> None:
    record(tmp_path / "{camera}-{time}.mcap", interleave(2, ("hall", "site/yard")), video="none")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "hall-20231114T221320Z.mcap",
        "site%2Fyard-20231114T221320Z.mcap",
    ]


def test_a_frame_that_is_not_finite_is_refused_and_costs_no_other(tmp_path: Path) -> None:
    bad = picture_poses(1)
    bad.keypoints[0, 0, 0] = np.nan
    with open_sink(tmp_path / "x.mcap") as sink:
        sink.consume(picture_poses(0))
        with pytest.raises(WireError):
            sink.consume(bad)
        sink.consume(picture_poses(2))
    assert [(seq, frame) for _, _, seq, frame in summarise(tmp_path / "x.mcap")] == [(0, 0), (1, 2)]


# -- files and limits --------------------------------------------------------------------------------------------------


def test_nothing_recorded_leaves_no_file(tmp_path: Path) -> None:
    record(tmp_path / "x.mcap", [])
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_its_time_and_each_begins_with_a_key_frame_and_its_skeleton(tmp_path: Path) -> None:
    record(tmp_path / "x.mcap", interleave(40), max_minutes=1 / 60)  # 25 items are a second
    files = Recording(tmp_path / "x.mcap").files
    assert [path.name for path in files] == ["x.mcap", "x.2.mcap", "x.3.mcap", "x.4.mcap"]
    for path in files:
        found = list(read_messages(path))
        assert found[0].topic == "skeleton/coco17"
        assert sum(message.topic == "skeleton/coco17" for message in found) == 1
        for camera in ("hall", "yard"):
            assert {7, 8, 5} <= find_units(read_foxglove(path, f"video/{camera}")[0].data)
    assert [frame for kind, camera, _, frame in summarise(tmp_path / "x.mcap") if (kind, camera) == ("poses", "yard")] == list(range(40))  # fmt: skip # noqa: E501


def test_a_file_has_its_size_and_the_oldest_of_this_run_are_removed(tmp_path: Path) -> None:
    other = tmp_path / "x.99.mcap"
    other.write_bytes(b"another recording")
    items = [picture_poses(seq) for seq in range(200)]
    with open_sink(tmp_path / "x.mcap", video="none", max_mb=0.05, keep_mb=0.15) as sink:
        for item in items:
            sink.consume(item)
            kept = sum(path.stat().st_size for path in tmp_path.iterdir() if path != other)
            assert kept <= 150_000 + 20_000  # the index is written when a file ends
    numbers = sorted(int(path.stem.partition(".")[2] or 1) for path in tmp_path.iterdir())
    assert numbers[-1] == 99
    assert numbers[:-1] == list(range(numbers[0], numbers[-2] + 1))
    assert numbers[0] > 1
    assert numbers[-2] > 6
    other.unlink()
    seqs = [seq for _, _, seq, _ in summarise(tmp_path / "x.mcap")]
    assert seqs == list(range(seqs[0], 200))


def test_a_new_run_writes_over_the_files_and_a_reader_leaves_out_what_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(tmp_path / "x.mcap", interleave(30), max_minutes=1 / 60, video="none")
    record(tmp_path / "x.mcap", [picture_poses(seq, "door") for seq in range(3)], video="none")
    assert caplog.messages == [
        (
            f"recordsink: {tmp_path}/x.2.mcap is of an earlier run (such files: 2); it stays until this one has "
            "so many files"
        )
    ]
    caplog.clear()
    assert {camera for _, camera, _, _ in summarise(tmp_path / "x.mcap")} == {"door"}
    assert caplog.messages == [f"{tmp_path}/x.mcap: files of another run are left out: x.2.mcap, x.3.mcap"]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"location": "x.mp4"}, "recordsink: location=x.mp4 does not end in .mcap; name such a file"),
        (
            {"location": "x.mcap", "max_minutes": 0, "keep_mb": 5},
            (
                "recordsink: keep_mb=5 removes whole files, and without max_minutes= and max_mb= there is only one; "
                "set one of them"
            ),
        ),
        (
            {"location": "x.mcap", "max_mb": 4, "keep_mb": 5},
            "recordsink: keep_mb=5 is less than two files of max_mb=4; set a smaller max_mb=",
        ),
    ],
)
def test_properties_that_contradict_each_other_are_refused(properties: dict[str, Any], message: str) -> None:
    with pytest.raises(PropertyError) as caught:
        RecordSink(**properties)
    assert str(caught.value) == message


def test_a_camera_that_is_called_as_a_later_file_of_another_is_refused() -> None:
    assert RecordSink(location="x.mcap").outputs(["hall", "hall.2"]) == ["x.mcap"]
    with pytest.raises(PropertyError) as caught:
        RecordSink(location="{camera}.mcap").outputs(["hall", "hall.2"])
    assert str(caught.value) == (
        "recordsink: hall.2.mcap is the file of camera 'hall.2' and, after a restart, that of 'hall'; "
        "set camera= to another name"
    )


def test_a_missing_package_is_one_line_before_the_line_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    for element in (RecordSink(location="x.mcap"), ReplaySrc(location="x.mcap")):
        with pytest.raises(
            PropertyError, match=r"^re\w+ needs mcap; in a clone of posestream: pip install '.\[record\]'$"
        ):
            element.check(())


# -- disks -------------------------------------------------------------------------------------------------------------


def test_a_file_that_finds_no_room_is_whole_up_to_there_and_raises_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    sink = open_sink(path)
    sink.__enter__()
    sink.consume(picture_poses(0))
    size = path.stat().st_size
    refused = rf"^recordsink cannot write {path}: File too large; choose another location=$"
    with room_for(size + 500), pytest.raises(TransportError, match=refused):
        sink.consume(picture_poses(1))
    assert path.stat().st_size == size
    for fail in (lambda: sink.consume(picture_poses(2)), sink.flush, lambda: sink.__exit__(None, None, None)):
        with pytest.raises(TransportError, match=refused):
            fail()
    assert summarise(path) == [("poses", "hall", 0, 0)]


def test_a_full_disk_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink = open_sink(tmp_path / "x.mcap", video="none")
    sink.__enter__()
    monkeypatch.setattr(writer._Output, "_write_all", fail)
    with pytest.raises(FullDiskError):
        sink.consume(picture_poses(0))
    with pytest.raises(FullDiskError) as caught:
        sink.__exit__(None, None, None)
    assert str(caught.value) == (
        f"recordsink cannot write {tmp_path}/x.mcap: No space left on device; make room, or choose another location="
    )


def test_a_file_that_was_removed_is_an_error_at_the_end(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "x.mcap", video="none")
    sink.__enter__()
    sink.consume(picture_poses(0))
    (tmp_path / "x.mcap").unlink()
    with pytest.raises(TransportError, match=r"it was removed while the line ran; choose another location=$"):
        sink.flush()


def test_two_sinks_do_not_share_a_file(tmp_path: Path) -> None:
    with (
        open_sink(tmp_path / "x.mcap", video="none"),
        pytest.raises(TransportError, match="another sink is writing to it"),
    ):
        open_sink(tmp_path / "x.mcap").__enter__()


# -- kills -------------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


class Life:
    """Counts what the outside world sees of a process, and ends it at one of these; ``torn`` after half of a write."""

    def __init__(self, ends_at: int, *, torn: bool) -> None:
        self.left, self.torn = ends_at, torn

    def spend(self) -> bool:
        """False if the process ends now."""
        self.left -= 1
        return self.left >= 0


class Memory(dict[str, int]):
    """Outlives the process whose ``life`` it is given."""

    life: Life | None = None

    def __setitem__(self, name: str, value: int) -> None:
        if self.life is not None and not self.life.spend():
            raise Killed
        super().__setitem__(name, value)


def live(path: Path, items: list[Poses], memory: Memory, incarnation: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Consume ``items`` until the process ends; return how many were delivered."""
    life, write_all = memory.life, writer._Output._write_all

    def write(self: writer._Output, data: memoryview) -> None:
        if life is not None and not life.spend():
            if life.torn:
                write_all(self, data[: len(data) // 2])
            raise Killed
        write_all(self, data)

    delivered = 0
    sink = open_sink(path, memory=memory, incarnation=incarnation)
    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(writer._Output, "_write_all", write)
        sink.__enter__()
        for item in items:
            sink.consume(item)
            delivered += 1
        sink.flush()
    for series in sink._series.values():
        series.file._output.close()  # as the end of a process does
    return delivered


@pytest.mark.parametrize("torn", [False, True], ids=["between", "within"])
def test_a_kill_at_any_moment_loses_nothing_that_was_delivered_and_repeats_one_frame_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    items = interleave(2)
    memory = Memory()
    memory.life = Life(10**6, torn=False)
    live(tmp_path / "whole.mcap", items, memory, 0, monkeypatch)
    whole, moments = summarise(tmp_path / "whole.mcap"), 10**6 - memory.life.left
    assert moments > 20
    for moment in range(moments):
        path = tmp_path / f"{moment}.mcap"
        memory = Memory()
        memory.life = Life(moment, torn=torn)
        delivered = live(path, items, memory, 0, monkeypatch)
        on_disk: list[tuple[str, str, int, int]] = []
        with suppress(SourceError):  # nothing is there yet
            on_disk = summarise(path)
        assert [key[3] for key in on_disk if key[0] == "poses"][:delivered] == [0, 0, 1, 1][:delivered]
        memory.life = None
        live(path, items, memory, 1, monkeypatch)  # also what was delivered, as if no word of it had got through
        assert summarise(path) == whole, moment
        raw = [each for file in Recording(path).files for each in read_messages(file, quiet=True)]
        assert sum(each.topic.startswith("poses/") for each in raw) <= len(whole) + 1
        with ReplaySrc(location=str(path), camera="yard") as source:
            assert [frame.seq for frame in source.frames() if frame is not None] == [0, 1]


def test_a_link_at_the_name_of_a_later_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / "x.2.mcap").symlink_to(victim)
    with pytest.raises(TransportError) as caught:
        record(tmp_path / "x.mcap", interleave(30), max_minutes=1 / 60, video="none")
    assert str(caught.value) == (
        f"recordsink cannot write {tmp_path}/x.2.mcap: symbolic links are followed only from names that you gave; "
        "choose another location="
    )
    assert victim.read_text() == "mine"
