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
