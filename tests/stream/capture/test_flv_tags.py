"""FLV files that were damaged in the middle, which FFmpeg reads to an end without an error."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from stream.testing.videos import numbered_picture, write_video
from tests.stream.capture.reading import read

_COUNT = 12
_SIZE_AT, _HEAD_BYTES, _SIZE_BYTES = 1, 11, 4


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.flv"
    write_video(path, [numbered_picture(number) for number in range(_COUNT)], codec="flv")
    return path.read_bytes()


def find_tags(path: Path) -> list[int]:
    """The byte at which the tag of each packet begins."""
    with av.open(str(path)) as container:
        return [packet.pos for packet in container.demux(video=0) if packet.pos is not None]


@pytest.mark.parametrize("number", [1, 5, _COUNT - 1], ids=["second", "middle", "last"])
@pytest.mark.parametrize("offset", [0, _SIZE_AT, _HEAD_BYTES], ids=["type", "size", "codec"])
def test_a_tag_whose_head_is_overwritten_is_damage_before_the_frames_behind_it(
    clip: bytes, tmp_path: Path, number: int, offset: int
) -> None:
    path = tmp_path / "clip.flv"
    assert read(path, clip) == (_COUNT, "")
    at = find_tags(path)[number] + offset
    count, error = read(path, clip[:at] + b"\xa5" * 2 + clip[at + 2 :])
    assert count == number + (offset == _SIZE_AT)  # its content is there, and with it what follows
    assert "is damaged after" in error


def test_a_file_whose_writer_counts_only_the_content_of_tags_is_sound(clip: bytes, tmp_path: Path) -> None:
    content = bytearray(clip)
    at = 9 + _SIZE_BYTES
    while at < len(content):
        size = int.from_bytes(content[at + _SIZE_AT : at + _SIZE_AT + 3], "big")
        at += _HEAD_BYTES + size
        content[at : at + _SIZE_BYTES] = size.to_bytes(_SIZE_BYTES, "big")
        at += _SIZE_BYTES
    assert read(tmp_path / "clip.flv", bytes(content)) == (_COUNT, "")
