from __future__ import annotations

import logging
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from stream.capture.decoded_picture import Pixels, Shot
from stream.capture.video_file import VideoFile, header_fps
from stream.errors import SourceError
from stream.testing.videos import numbered_picture, read_number, write_video

PICTURES = [numbered_picture(number) for number in range(30)]


def read_frames(path: Path, damaged: str = "error") -> list[tuple[int | None, Pixels]]:
    """Read the time in milliseconds and the pixels of every frame."""
    result = []
    with VideoFile(path, damaged) as video:  # type: ignore[arg-type]
        for shot in video.shots():
            slot = np.empty(shot.picture.shape, np.uint8)
            shot.picture.copy_to(slot)
            result.append((None if shot.pts_ns is None else round(shot.pts_ns / 1e6), slot))
    return result


def numbers(path: Path, damaged: str = "error") -> list[int | None]:
    return [read_number(pixels) for _, pixels in read_frames(path, damaged)]


def truncate(path: Path, share: float) -> Path:
    """Copy the file without its end."""
    data = path.read_bytes()
    cut_path = path.with_stem(path.stem + "_cut")
    cut_path.write_bytes(data[: int(len(data) * share)])
    return cut_path


FORMATS = [
    ("mp4", "libx264", "yuv420p"),
    ("mkv", "libx264", "yuv420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
    ("ts", "libx264", "yuv420p"),
    ("mov", "libx264", "yuv420p10le"),
    ("nut", "ffv1", "gray16le"),
    ("mp4", "libx264", "yuv444p"),
    ("gif", "gif", "rgb8"),
]


@pytest.mark.parametrize(("suffix", "codec", "pix_fmt"), FORMATS)
def test_every_frame_comes_once_and_in_order(tmp_path: Path, suffix: str, codec: str, pix_fmt: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_video(path, PICTURES, codec=codec, pix_fmt=pix_fmt)
    frames = read_frames(path)
    assert [read_number(pixels) for _, pixels in frames] == list(range(30))
    assert [pts_ms for pts_ms, _ in frames] == [40 * number for number in range(30)]


def test_a_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    times = [0, 40, 50, 100, 400, 1000, 1040, 1080, 3000, 3040]
    write_video(tmp_path / "a.mp4", PICTURES[:10], pts_ms=times)
    assert [pts_ms for pts_ms, _ in read_frames(tmp_path / "a.mp4")] == times


@pytest.mark.parametrize("size", [(321, 241), (225, 16), (322, 17)])
def test_an_odd_size_is_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    write_video(tmp_path / "a.mp4", [numbered_picture(n, size) for n in range(3)], pix_fmt="yuv444p")
    pixels = read_frames(tmp_path / "a.mp4")[2][1]
    assert (pixels.shape, read_number(pixels)) == ((size[1], size[0], 3), 2)


def test_the_pixels_equal_those_of_opencv(shared: Path) -> None:
    path = shared / "data" / "clips" / "sam2_bedroom.mp4"
    capture = cv2.VideoCapture(str(path))
    with VideoFile(path) as video:
        for shot, _ in zip(video.shots(), range(3), strict=False):
            slot = np.empty(shot.picture.shape, np.uint8)
            shot.picture.copy_to(slot)
            assert np.array_equal(slot, capture.read()[1])


# -- orientation ------------------------------------------------------------------------------------------------------

ONE = 65536
MATRICES = {
    "as it is": ((ONE, 0, 0, ONE), lambda pixels: pixels),
    "clockwise": ((0, ONE, -ONE, 0), lambda pixels: np.rot90(pixels, -1)),
    "half a turn": ((-ONE, 0, 0, -ONE), lambda pixels: np.rot90(pixels, 2)),
    "anticlockwise": ((0, -ONE, ONE, 0), lambda pixels: np.rot90(pixels, 1)),
    "mirrored": ((-ONE, 0, 0, ONE), lambda pixels: pixels[:, ::-1]),
    "upside down": ((ONE, 0, 0, -ONE), lambda pixels: pixels[::-1]),
    "transposed": ((0, ONE, ONE, 0), lambda pixels: pixels.transpose(1, 0, 2)),
    "transposed, half a turn": ((0, -ONE, -ONE, 0), lambda pixels: np.rot90(pixels.transpose(1, 0, 2), 2)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_a_video_is_rotated_as_its_container_asks(tmp_path: Path, name: str) -> None:
    (a, b, c, d), rotate = MATRICES[name]
    plain, rotated = tmp_path / "plain.mp4", tmp_path / "rotated.mp4"
    write_video(plain, PICTURES[:3])
    data = plain.read_bytes()
    matrix_at = data.index(b"tkhd") + 44
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    rotated.write_bytes(data[:matrix_at] + matrix + data[matrix_at + 36 :])
    assert np.array_equal(read_frames(rotated)[1][1], rotate(read_frames(plain)[1][1]))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_phone_video_has_the_orientation_of_opencv(shared: Path, degrees: int) -> None:
    path = shared / "data" / "clips_robust" / f"video_{degrees}.mov"
    _, expected = cv2.VideoCapture(str(path)).read()
    assert np.array_equal(read_frames(path)[0][1], expected)


# -- damage -----------------------------------------------------------------------------------------------------------


def test_a_clip_with_broken_packets_delivers_its_intact_frames_and_then_raises(shared: Path) -> None:
    frames: list[Shot] = []
    with VideoFile(shared / "data" / "clips_robust" / "corrupted.mp4") as video, pytest.raises(SourceError) as caught:
        frames.extend(video.shots())
    assert len(frames) == 28
    assert "corrupted.mp4' is damaged after 28 frames of the 50 in its header: Invalid data" in str(caught.value)
    assert "; copy or download it again, or read past the damage with damaged=warn" in str(caught.value)


def test_damage_can_be_skipped_with_a_warning(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = read_frames(shared / "data" / "clips_robust" / "corrupted.mp4", "warn")
    assert len(frames) == 49, "one packet is broken, the decoder conceals the rest"
    assert "is damaged after 28 frames of the 50 in its header" in caplog.text


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("avi", "mpeg4"), ("gif", "gif")])
def test_a_truncated_file_delivers_its_frames_and_then_raises(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write_video(path, PICTURES, codec=codec, pix_fmt="rgb8" if codec == "gif" else "yuv420p")
    frames: list[Shot] = []
    with (
        VideoFile(truncate(path, 0.6)) as video,
        pytest.raises(SourceError, match=r"a_cut.* is damaged after \d+ frames"),
    ):
        frames.extend(video.shots())
    assert 1 <= len(frames) < 30


def test_a_truncated_mp4_delivers_its_frames_and_then_raises(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", PICTURES)
    moved = tmp_path / "index_first.mp4"
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as to:
        stream = to.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                to.mux(packet)
    with (
        VideoFile(truncate(moved, 0.6)) as video,
        pytest.raises(SourceError, match=r"\d frames of the 30 in its header"),
    ):
        list(video.shots())
    assert 1 <= video.delivered < 30


def test_a_complete_file_with_a_long_last_frame_is_not_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "a.mp4", PICTURES[:6], pts_ms=[0, 40, 3000, 3040, 9000, 9040])
    with caplog.at_level(logging.WARNING):
        assert numbers(tmp_path / "a.mp4") == list(range(6))
    assert not caplog.records


def test_complete_clips_are_not_damaged(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = {"felix_exercise.avi": 393, "intel_store_aisle.gif": 67, "ta_sample2.mp4": 149, "sports2d_demo.mp4": 230}
    for name, count in expected.items():
        with VideoFile(shared / "data" / "clips" / name) as video:
            assert sum(1 for _ in video.shots()) == count
    assert not caplog.records


def test_a_recording_cut_out_of_a_stream_may_start_with_undecodable_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_video(tmp_path / "a.ts", PICTURES * 4, codec="mpeg2video")
    data = (tmp_path / "a.ts").read_bytes()
    middle = len(data) // 188 // 4 * 188  # MPEG-TS comes in packets of 188 bytes
    (tmp_path / "a.ts").write_bytes(data[middle:])
    frames = numbers(tmp_path / "a.ts")
    assert 60 < len(frames) < 120
    assert None not in frames


# -- not a video ------------------------------------------------------------------------------------------------------


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        output.mux(stream.encode(frame))


def catch_error(path: Path) -> str:
    with pytest.raises(SourceError) as caught, VideoFile(path) as video:
        list(video.shots())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_file_is_not_a_video(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav")
    assert "a.wav' contains no video, only audio; give a video file" in catch_error(tmp_path / "a.wav")


def test_a_text_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("hello " * 100)
    assert "a.mp4' is not a video: FFmpeg does not recognise its format" in catch_error(tmp_path / "a.mp4")


def test_an_empty_file_a_missing_one_and_a_folder_raise(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    assert "a.mp4' is empty (0 bytes); copy or download it again" in catch_error(tmp_path / "a.mp4")
    assert "b.mp4' cannot be read: No such file or directory; check the path" in catch_error(tmp_path / "b.mp4")
    assert "cannot be read: Is a directory" in catch_error(tmp_path)


def test_an_mp4_without_its_index_has_its_own_message(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", PICTURES)
    assert "is an MP4 or MOV without an index (moov): its recording or copy is incomplete" in catch_error(
        truncate(tmp_path / "a.mp4", 0.5)
    )


def test_the_frame_rate_is_read_from_the_header(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", PICTURES, fps=20)
    assert header_fps(tmp_path / "a.mp4") == 20
    assert header_fps(tmp_path / "none.mp4") is None


def test_a_transport_stream_whose_packets_do_not_follow_says_that_frames_may_be_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, noise = tmp_path / "clip.ts", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "1", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(30):
            picture = noise.integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode(None))
    content = bytearray(path.read_bytes())
    starts = range(len(content) // 2 // 188 * 188, len(content), 188)
    middle = next(at for at in starts if content[at + 1] & 0x5F == 0x01 and content[at + 2] == 0)  # inside a frame
    for is_changed in (False, True):
        caplog.clear()
        content[middle + 3] ^= 0x0F * is_changed  # the counter of packets
        path.write_bytes(content)
        with VideoFile(path) as video:
            assert sum(1 for _ in video.shots()) == 30
        marked = [text for text in caplog.messages if text.startswith(f"{str(path)!r}: packets are marked corrupt (")]
        assert bool(marked) is is_changed
