"""Reading of recordings: cut off anywhere, damaged, of other programs and of other versions."""

from __future__ import annotations

import dataclasses
import re
import tracemalloc
from pathlib import Path

import msgpack
import pytest
from mcap._chunk_builder import ChunkBuilder
from mcap.writer import CompressionType, Writer

from stream.errors import SourceError, VersionError
from stream.recording import reader, recording
from stream.recording.reader import Recorded, read_messages
from stream.recording.recording import Recording
from tests.stream.recording.recordings import interleave, picture_poses, record, summarise


def test_a_file_that_is_cut_off_anywhere_is_read_up_to_there_and_a_warning_says_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = record(tmp_path / "whole.mcap", interleave(3, ("hall",))).read_bytes()
    messages = list(read_messages(tmp_path / "whole.mcap"))
    assert caplog.messages == []
    path = tmp_path / "cut.mcap"
    lengths = set()
    for size in [*range(1, 200), *range(200, len(whole), 97), *range(len(whole) - 40, len(whole))]:
        caplog.clear()
        path.write_bytes(whole[:size])
        found = list(read_messages(path))
        assert found == messages[: len(found)], size
        lengths.add(len(found))
        (warning,) = caplog.messages
        match = re.fullmatch(rf"{path} is cut off at byte (\d+) of {size}: (\d+) messages before are read", warning)
        assert match is not None, warning
        assert int(match[2]) == len(found)
        # From that byte on, nothing of the file is whole.
        assert size - 20_000 < int(match[1]) <= size
    assert lengths == {0, 4, 7, 10, 11}  # the skeleton, a frame's three messages each, the end


def test_a_damaged_byte_ends_the_file_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = bytearray(record(tmp_path / "x.mcap", interleave(3, ("hall",))).read_bytes())
    place = content.rindex(b"coco17", 0, content.rindex(b"coco17")) + 1
    content[place] ^= 1
    (tmp_path / "x.mcap").write_bytes(content)
    found = list(read_messages(tmp_path / "x.mcap"))
    assert len(found) == 7
    assert re.fullmatch(r".*x\.mcap is damaged at byte \d+ of \d+: 7 messages before are read", caplog.messages[0])


@pytest.mark.parametrize("kind", [CompressionType.LZ4, CompressionType.ZSTD])
def test_a_compressed_copy_is_read_and_one_that_says_less_than_it_holds_is_not(
    tmp_path: Path, kind: CompressionType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    messages = list(read_messages(record(tmp_path / "x.mcap", interleave(2))))
    compress(tmp_path / "y.mcap", messages, kind)
    assert list(read_messages(tmp_path / "y.mcap")) == messages
    assert caplog.messages == []
    compress(tmp_path / "large.mcap", [dataclasses.replace(messages[0], payload=bytes(20_000_000))], kind)
    monkeypatch.setattr(ChunkBuilder, "end", lambda self, end=ChunkBuilder.end: Liar(end(self)))
    compress(tmp_path / "z.mcap", messages, kind)
    assert list(read_messages(tmp_path / "z.mcap")) == []
    assert "is damaged" in caplog.messages[0]
    compress(tmp_path / "bomb.mcap", [dataclasses.replace(messages[0], payload=bytes(20_000_000))], kind)
    assert peak_bytes(tmp_path / "bomb.mcap") < 2_000_000, "it is decompressed no further than it says"
    monkeypatch.setattr(reader, "_MAX_RECORD_BYTES", 1_000_000)
    assert peak_bytes(tmp_path / "large.mcap") < 2_000_000, "it says more than is allowed"


class Liar(bytes):
    """Says that it is shorter than it is."""

    def __len__(self) -> int:
        return super().__len__() - 1 if super().__len__() < 1_000_000 else 100


def peak_bytes(path: Path) -> int:
    """The memory that it takes to find nothing in a file."""
    tracemalloc.start()
    try:
        assert list(read_messages(path)) == []
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def compress(path: Path, messages: list[Recorded], kind: CompressionType) -> None:
    with path.open("wb") as file:
        writer, channels = Writer(file, compression=kind), dict[str, int]()
        writer.start()
        for one in messages:
            if one.topic not in channels:
                schema = writer.register_schema(one.schema, "", b"")
                channels[one.topic] = writer.register_channel(one.topic, one.encoding, schema)
            writer.add_message(channels[one.topic], one.log_ns, one.payload, one.publish_ns, one.sequence)
        writer.finish()


def test_a_cut_is_warned_of_once_and_an_empty_file_of_a_kill_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = record(tmp_path / "x.mcap", interleave(30), max_minutes=1 / 60, video="none")
    path.write_bytes(path.read_bytes()[:-3])
    (tmp_path / "x.4.mcap").touch()
    found = Recording(path)
    assert [file.name for file in found.files] == ["x.mcap", "x.2.mcap", "x.3.mcap"]
    assert len(list(found.messages())) == len(list(found.messages())) == 1 + 60 + 2
    assert len(caplog.messages) == 1


def test_a_file_of_another_program_has_no_keypoints(tmp_path: Path) -> None:
    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/tf", "json", writer.register_schema("tf", "jsonschema", b"{}"))
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    with pytest.raises(SourceError) as caught:
        list(Recording(tmp_path / "x.mcap").messages())
    assert str(caught.value) == (
        f"{tmp_path}/x.mcap has no keypoints: no message of a topic poses/…; give a file of recordsink"
    )


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (
            {"version": (2, 0), "kind": "poses", "session": ""},
            VersionError,
            "was recorded with protocol 2.0, and this posestream reads 1.",
        ),
        (
            {"kind": "poses"},
            SourceError,
            "has a message on poses/hall that is none of the keypoint protocol: ",
        ),
    ],
)
def test_a_message_of_another_version_or_none_at_all_is_one_line(
    tmp_path: Path, content: dict[str, object], kind: type[Exception], message: str
) -> None:
    with (tmp_path / "x.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_message(writer.register_channel("poses/hall", "msgpack", 0), 1, msgpack.packb(content), 1)
        writer.finish()
    with pytest.raises(kind) as caught:
        list(Recording(tmp_path / "x.mcap").messages())
    assert str(caught.value).startswith(f"{tmp_path}/x.mcap {message}")
    assert "\n" not in str(caught.value)


def test_frames_are_counted_by_the_index_and_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "x.mcap", [*interleave(3), picture_poses(3, "yard")])
    assert Recording(path).count_frames() == ({"hall": 3, "yard": 4}, True)
    path.write_bytes(path.read_bytes()[:-1])
    assert Recording(path).count_frames() == ({"hall": 3, "yard": 4}, False)


def test_a_file_that_lost_what_says_its_run_is_read_whatever_stands_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(tmp_path / "x.mcap", [picture_poses(0)], video="none")
    monkeypatch.setattr(recording, "read_session", lambda file: "")
    assert summarise(path) == [("poses", "hall", 0, 0), ("end", "hall", 1, -1)]
