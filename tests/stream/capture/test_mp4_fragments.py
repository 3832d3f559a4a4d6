"""MP4 files in fragments that were damaged, which FFmpeg reads to an end without an error."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from stream.testing.videos import numbered_picture, write_video
from tests.stream.capture.reading import read

_COUNT, _PER_FRAGMENT = 30, 5
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    pictures = [numbered_picture(number) for number in range(_COUNT)]
    write_video(path, pictures, options={"g": str(_PER_FRAGMENT), "bf": "0"}, format_options=_FRAGMENTS)
    return path.read_bytes()


def find_fragments(clip: bytes) -> list[int]:
    """The byte at which each fragment begins, and that behind the last."""
    begins = [at - 4 for at in range(len(clip)) if clip[at : at + 4] == b"moof"]
    assert len(begins) == _COUNT // _PER_FRAGMENT
    return [*begins, clip.index(b"mfra") - 4]


@pytest.mark.parametrize("number", [1, 3])
def test_a_fragment_whose_head_is_overwritten_is_damage_before_the_frames_behind_it(
    clip: bytes, tmp_path: Path, number: int
) -> None:
    path, at = tmp_path / "clip.mp4", find_fragments(clip)[number]
    assert read(path, clip) == (_COUNT, "")
    for size in (8, 200):
        count, error = read(path, clip[:at] + b"\xa5" * size + clip[at + size :])
        assert count == number * _PER_FRAGMENT
        assert "a part of it is overwritten or missing" in error


@pytest.mark.parametrize("number", [1, 3])
def test_fragments_that_are_missing_are_warned_of(
    clip: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    path, (begin, end) = tmp_path / "clip.mp4", list(pairwise(find_fragments(clip)))[number]
    renamed = clip[: begin + 4] + b"xxxx" + clip[begin + 8 :]
    for content in (clip[:begin] + clip[end:], renamed):
        caplog.clear()
        count, error = read(path, content)
        assert (count, error) == (_COUNT - _PER_FRAGMENT, "")
        assert caplog.messages == [
            f"{str(path)!r}: the numbers of its fragments leave out 1, so frames may be missing; {count} frames read"
        ]


def test_a_recording_that_was_broken_off_is_read_as_far_as_it_goes(
    clip: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begins = find_fragments(clip)
    for begin in begins[2:]:
        assert read(tmp_path / "clip.mp4", clip[:begin]) == ((begins.index(begin)) * _PER_FRAGMENT, "")
    for cut in (4, 20, 90):  # within the box that announces a fragment
        assert read(tmp_path / "clip.mp4", clip[: begins[3] + cut]) == (3 * _PER_FRAGMENT, "")
    assert not caplog.messages
