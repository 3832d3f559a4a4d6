from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from stream.capture.playlist import Playlist
from stream.capture.video_file import VideoFile
from stream.errors import SourceError
from stream.testing.videos import numbered_picture, write_video

PICTURES = [numbered_picture(number) for number in range(30)]


def read_times_ms(path: Path) -> list[int]:
    with VideoFile(path) as video:
        return [shot.begin_ns // 10**6 for shot in video.shots()]


def write_held(path: Path, options: dict[str, str] | None = None) -> Path:
    """Ten frames, of which the last is shown for 400 ms."""
    plain = path.with_stem("plain")
    write_video(plain, PICTURES[:10], options={"bf": "0"})
    with av.open(str(plain)) as source, av.open(str(path), "w", options=options or {}) as output:
        stream: Any = output.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        packets[-1].duration = int(Fraction(4, 10) / packets[-1].time_base)
        for packet in packets:
            packet.stream = stream
            output.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".mov", ".nut"])
def test_a_file_whose_last_frame_is_held_is_sound(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".webm":
        write_video(path, PICTURES[:10], pts_ms=[*range(0, 360, 40), 800], codec="libvpx")
        assert read_times_ms(path) == [*range(0, 360, 40), 800]
    else:
        assert read_times_ms(write_held(path)) == list(range(0, 400, 40))
    assert not caplog.records


def test_a_matroska_file_may_say_longer_than_its_frames_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its last frame is held, and no block says so."""
    write_video(tmp_path / "a.mkv", PICTURES[:20])
    data = (tmp_path / "a.mkv").read_bytes()
    assert data.count(b"00:00:00.800000000") == 1
    (tmp_path / "a.mkv").write_bytes(data.replace(b"00:00:00.800000000", b"00:00:00.923000000"))
    assert len(read_times_ms(tmp_path / "a.mkv")) == 20
    assert not caplog.records


def test_a_real_file_whose_last_frame_is_held_is_sound(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(read_times_ms(shared / "cases" / "video" / "heldlast.mkv")) == 20
    assert not caplog.records


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_matroska_file_that_was_cut_is_not(tmp_path: Path, share: float) -> None:
    write_video(tmp_path / "a.mkv", PICTURES)
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r"a.mkv' is damaged after \d+ frames"):
        read_times_ms(tmp_path / "a.mkv")


def test_a_live_recording_does_not_know_its_size_and_is_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(read_times_ms(write_held(tmp_path / "a.mkv", {"live": "1"}))) == 10
    assert not caplog.records


# -- jumps in time ----------------------------------------------------------------------------------------------------


def times_ms(path: Path) -> list[int]:
    return [shot.begin_ns // 10**6 for shot in Playlist((path,), 25, "error").shots()]


def test_a_transport_stream_whose_clock_was_set_forwards_is_bridged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(
        tmp_path / "a.ts", PICTURES[:6], pts_ms=[0, 40, 80, 9_000_000, 9_000_040, 9_000_080], options={"bf": "0"}
    )
    assert times_ms(tmp_path / "a.ts") == [0, 40, 80, 120, 160, 200]
    assert "a.ts': the time jumps by +8999.9 s after 3 frames; it continues without the jump" in caplog.text


@pytest.mark.parametrize("bidirectional", ["0", "2"])
def test_transport_streams_put_together_go_on(tmp_path: Path, bidirectional: str) -> None:
    options = {"bf": bidirectional}
    write_video(tmp_path / "late.ts", PICTURES[:10], pts_ms=list(range(50_000, 50_400, 40)), options=options)
    write_video(tmp_path / "early.ts", PICTURES[:10], options=options)
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "late.ts").read_bytes() + (tmp_path / "early.ts").read_bytes())
    found = times_ms(both)
    assert len(found) == 20
    assert found == sorted(set(found))
    assert found[-1] < 1_000


def test_a_file_that_may_hold_a_frame_for_minutes_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    held = [0, 40, 600_000, 600_040]
    for suffix in ("mp4", "mkv"):
        write_video(tmp_path / f"a.{suffix}", PICTURES[:4], pts_ms=held)
        assert times_ms(tmp_path / f"a.{suffix}") == held
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_real_jump_is_bridged(shared: Path) -> None:
    found = times_ms(shared / "cases" / "video" / "jumpfwd.ts")
    assert len(found) == 60
    assert found[-1] < 2_100
