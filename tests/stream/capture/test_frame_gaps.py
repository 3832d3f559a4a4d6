"""Frames that are missing in formats which have neither an index nor the sizes of all packets."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import av
import pytest

from stream.capture.frame_gaps import FrameGaps
from stream.testing.videos import numbered_picture, write_video
from tests.stream.capture.reading import read

_MS = 1_000_000
_COUNT = 24


def count_missing(steps_ms: list[int], format_name: str = "mpegts") -> int:
    gaps = FrameGaps(format_name, longest_ns=10_000 * _MS)
    for pts_ms in accumulate(steps_ms, initial=0):
        gaps.add(pts_ms * _MS)
    return gaps.count_missing()


def test_steps_that_are_longer_than_the_others_count_the_frames_that_would_fill_them() -> None:
    steady = [33, 33, 34] * 10
    assert count_missing(steady) == 0
    assert count_missing([*steady, 67, *steady]) == 1
    assert count_missing([*steady, 67, *steady, 133, *steady]) == 4


def test_a_variable_rate_a_clock_that_was_set_and_a_telephone_s_file_have_no_missing_frames() -> None:
    assert count_missing([40, 40, 40, 40, 80] * 8) == 0  # 25 frames a second in 30
    assert count_missing([33, 50, 20, 67, 41] * 8) == 0
    assert count_missing([*[40] * 20, 20_000, *[40] * 20]) == 0
    assert count_missing([*[40] * 20, -900, *[40] * 20]) == 0
    assert count_missing([*[40] * 20, 80, *[40] * 20], "mov,mp4,m4a,3gp,3g2,mj2") == 0
    assert count_missing([]) == 0


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "mpeg2video"), ("mpg", "mpeg2video"), ("wmv", "wmv2")])
def test_a_file_that_lacks_a_frame_in_the_middle_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, codec: str
) -> None:
    path = tmp_path / f"clip.{suffix}"
    write_video(path, [numbered_picture(number) for number in range(_COUNT)], codec=codec)
    assert read(path, path.read_bytes()) == (_COUNT, "")
    assert not caplog.messages
    with av.open(str(path)) as whole, av.open(str(tmp_path / f"short.{suffix}"), "w") as short:
        stream = short.add_stream_from_template(whole.streams.video[0])
        for number, packet in enumerate(whole.demux(video=0)):
            if packet.dts is not None and number != _COUNT // 2:
                packet.stream = stream
                short.mux(packet)
    assert read(path, (tmp_path / f"short.{suffix}").read_bytes()) == (_COUNT - 1, "")
    assert caplog.messages == [
        f"{str(path)!r}: its times have gaps for 1 frame, so frames may be missing; {_COUNT - 1} frames read"
    ]


def test_an_asf_file_that_is_shorter_than_its_header_says_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "clip.wmv"
    write_video(path, [numbered_picture(number) for number in range(_COUNT)], codec="wmv2")
    content = path.read_bytes()
    count, error = read(path, content[:-3200])
    assert 0 < count < _COUNT
    assert f"is damaged after {count} frames" in error
