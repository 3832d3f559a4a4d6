"""AVI files that were damaged in the middle, which FFmpeg reads to an end without an error."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from stream.testing.videos import numbered_picture, write_video
from tests.stream.capture.reading import read

_COUNT = 12
_INDEX = b"idx1"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    write_video(path, [numbered_picture(number) for number in range(_COUNT)], codec="mpeg4")
    return path.read_bytes()


def find_packets(path: Path) -> list[int]:
    """The byte at which the chunk of each packet begins."""
    with av.open(str(path)) as container:
        return [packet.pos - 8 for packet in container.demux(video=0) if packet.pos is not None]


@pytest.mark.parametrize("number", [1, 5, _COUNT - 1], ids=["second", "middle", "last"])
@pytest.mark.parametrize("filling", [b"\0", b"\xa5"], ids=["zeros", "other bytes"])
def test_a_packet_that_is_overwritten_is_damage_before_the_frames_behind_it(
    clip: bytes, tmp_path: Path, number: int, filling: bytes
) -> None:
    path = tmp_path / "clip.avi"
    assert read(path, clip) == (_COUNT, "")
    at = find_packets(path)[number]
    count, error = read(path, clip[:at] + filling * 8 + clip[at + 8 :])
    assert count == number
    assert error == (
        f"{str(path)!r} is damaged after {number} frames of the {_COUNT} in its header: a part of it is overwritten or "
        "missing; copy or download it again, or read past the damage with damaged=warn"
    )


@pytest.mark.parametrize("number", [2, 5, _COUNT - 1])
def test_a_damaged_entry_of_the_index_costs_no_frame(clip: bytes, tmp_path: Path, number: int) -> None:
    at = clip.index(_INDEX) + 8 + 16 * number
    assert read(tmp_path / "clip.avi", clip[:at] + b"\xa5" * 16 + clip[at + 16 :]) == (_COUNT, "")


@pytest.mark.parametrize("odd", [0, 1], ids=["even", "odd"])
def test_packets_that_were_removed_are_damage_before_the_frames_behind_them(tmp_path: Path, odd: int) -> None:
    """All packets behind them are at other places than the index says."""
    path = tmp_path / "clip.avi"
    pictures = [numbered_picture(number) for number in range(_COUNT)]
    write_video(path, pictures, codec="mjpeg", pix_fmt="yuvj420p")  # each frame can be decoded without the others
    clip, packets = path.read_bytes(), find_packets(path)
    begin, end = (packets[number] + 100 for number in (5, 8))
    count, error = read(path, clip[:begin] + clip[end + odd :])
    assert count in (5, 6)
    assert "is damaged after" in error


def test_packets_that_follow_each_other_are_sound_where_the_index_has_other_places(clip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(clip)
    at, chunk = find_packets(path)[5], b"JUNK" + (6).to_bytes(4, "little") + bytes(6)
    assert read(path, clip[:at] + chunk + clip[at:]) == (_COUNT, "")
