from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.capture.decoded_picture import Shot
from stream.capture.playlist import Playlist
from stream.elements.filesrc import Filesrc
from stream.errors import PropertyError, SourceError
from stream.messages import Frame
from stream.registry import make
from stream.testing import check_element
from stream.testing.videos import numbered_picture, read_number, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "walk.mp4"
    write_video(path, [numbered_picture(number) for number in range(20)], fps=25)
    return path


def read_frames(source: Filesrc, most: int | None = None) -> list[Frame]:
    with source:
        return [frame for frame in islice(source.frames(), most) if frame is not None]


def numbers(frames: list[Frame]) -> list[int | None]:
    return [read_number(frame.pixels) for frame in frames]


def test_every_frame_of_a_video_has_its_number_and_time(clip: Path) -> None:
    frames = read_frames(Filesrc(str(clip)))
    assert numbers(frames) == list(range(20))
    assert [frame.key for frame in frames] == [("filesrc", seq) for seq in range(20)]
    assert [frame.pts_ns for frame in frames] == [seq * 40_000_000 for seq in range(20)]


def test_the_ledger_has_the_times_of_capture_and_decoding(clip: Path) -> None:
    before_ns = time.time_ns()
    frame = read_frames(Filesrc(str(clip), num_frames=1))[0]
    assert before_ns <= frame.wall_ns == frame.ledger["captured"] <= frame.ledger["decoded"] <= time.time_ns()


def test_frames_are_written_into_the_memory_of_the_context(clip: Path) -> None:
    source, allocated = Filesrc(str(clip), num_frames=2), [np.zeros((240, 320, 3), np.uint8) for _ in range(2)]
    slots = iter(allocated)
    source.context.allocate = lambda shape: next(slots)
    frames = read_frames(source)
    assert all(frame.pixels is slot for frame, slot in zip(frames, allocated, strict=True))
    assert [read_number(slot) for slot in allocated] == [0, 1]


def test_the_camera_name_is_the_property_or_the_name_of_the_element(clip: Path) -> None:
    assert read_frames(Filesrc(str(clip), camera="hall", num_frames=1))[0].camera == "hall"
    assert read_frames(Filesrc(str(clip), num_frames=1).rename("yard"))[0].camera == "yard"


def test_start_and_num_frames_select_frames(clip: Path) -> None:
    frames = read_frames(Filesrc(str(clip), start=5, num_frames=3))
    assert numbers(frames) == [5, 6, 7]
    assert [frame.seq for frame in frames] == [0, 1, 2]
    assert frames[0].pts_ns == 5 * 40_000_000, "the time is that of the file"


def test_a_loop_continues_numbers_and_times(clip: Path) -> None:
    frames = read_frames(Filesrc(str(clip), start=17, loop=True, num_frames=7))
    assert numbers(frames) == [17, 18, 19, 17, 18, 19, 17]
    assert [frame.seq for frame in frames] == list(range(7))
    assert {after.pts_ns - before.pts_ns for before, after in pairwise(frames)} == {40_000_000}


def test_a_start_after_the_end_raises(clip: Path) -> None:
    with pytest.raises(SourceError, match=r"walk.mp4' has no frame left after start=99; give a smaller start"):
        read_frames(Filesrc(str(clip), start=99, loop=True))


def test_real_clips_deliver_all_their_frames_in_order(shared: Path) -> None:
    for name, count in {
        "clips/felix_exercise.avi": 393,
        "clips/intel_classroom.gif": 45,
        "clips_robust/unordered.mov": 4,
    }.items():
        frames = read_frames(Filesrc(str(shared / "data" / name)))
        times = [frame.pts_ns for frame in frames]
        assert (len(frames), times) == (count, sorted(set(times)))


def test_no_frame_of_a_numbered_clip_is_lost(shared: Path) -> None:
    source = Filesrc(str(shared / "data" / "rtsp" / "juggle_barcode_720p24.mp4"))
    with source:
        assert [read_number(frame.pixels) for frame in source.frames() if frame] == list(range(247))


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered_picture(number))
    return tmp_path


def test_a_folder_of_pictures_is_read_at_the_given_frame_rate(folder: Path) -> None:
    frames = read_frames(Filesrc(str(folder), fps=10))
    assert numbers(frames) == [1, 2, 10]
    assert [frame.pts_ns for frame in frames] == [0, 100_000_000, 200_000_000]
    assert Filesrc(str(folder), fps=10).nominal_fps == 10


def test_one_picture_is_one_frame(folder: Path) -> None:
    assert numbers(read_frames(Filesrc(str(folder / "10.png")))) == [10]


def test_pictures_of_different_sizes_are_frames_of_different_sizes(folder: Path) -> None:
    cv2.imwrite(str(folder / "3.png"), numbered_picture(3, (256, 64)))
    assert [frame.size for frame in read_frames(Filesrc(f"{folder}/*.png"))] == [
        (320, 240),
        (320, 240),
        (256, 64),
        (320, 240),
    ]


def test_a_pattern_may_match_videos_and_pictures_and_time_continues(folder: Path, clip: Path) -> None:
    (folder / "5.mp4").write_bytes(clip.read_bytes())
    frames = read_frames(Filesrc(f"{folder}/*", fps=25))
    assert numbers(frames) == [1, 2, *range(20), 10]
    assert [frame.pts_ns for frame in frames] == [40_000_000 * seq for seq in range(23)]


def test_a_damaged_picture_raises_after_the_intact_ones(folder: Path) -> None:
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:100])
    source = Filesrc(str(folder))
    good: list[Frame | None] = []
    with source, pytest.raises(SourceError, match=r"2.png' is truncated: its end is missing \(100 bytes\)"):
        good.extend(source.frames())
    assert [read_number(frame.pixels) for frame in good if frame] == [1]


def test_a_damaged_picture_can_be_skipped(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "2.png").write_bytes(b"")
    assert numbers(read_frames(Filesrc(str(folder), damaged="warn"))) == [1, 10]
    assert "2.png' is empty (0 bytes); copy or download it again; left out" in caplog.text


@pytest.mark.parametrize("properties", [{}, {"realtime": True}, {"loop": True}, {"start": 3, "num_frames": 9}])
def test_it_keeps_the_contract_of_elements(clip: Path, properties: dict[str, int]) -> None:
    check_element(lambda: make("filesrc", location=str(clip), **properties))


# -- real time --------------------------------------------------------------------------------------------------------


def test_only_a_realtime_file_is_live(clip: Path) -> None:
    assert Filesrc(str(clip), realtime=True).is_live
    assert not Filesrc(str(clip)).is_live


def test_a_realtime_file_is_paced(clip: Path) -> None:
    begin = time.monotonic()
    frames = read_frames(Filesrc(str(clip), realtime=True, num_frames=11))
    # The eleventh frame is due 400 ms after the first; frames may be skipped on a busy machine, but none comes early.
    assert time.monotonic() - begin >= 0.4
    assert frames[-1].wall_ns - frames[0].wall_ns >= frames[-1].pts_ns - frames[0].pts_ns - 45_000_000


def test_a_realtime_file_skips_frames_that_are_late(clip: Path) -> None:
    source = Filesrc(str(clip), realtime=True, loop=True)
    with source:
        frames = (frame for frame in source.frames() if frame)
        first = next(frames)
        time.sleep(0.3)
        second = next(frames)
    # 300 ms are seven frames and a half; a busy machine may make it more.
    assert first.seq == 0
    assert second.seq >= 7
    assert read_number(second.pixels) == second.seq % 20


def test_a_realtime_file_that_is_decoded_too_slowly_gives_what_it_can(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = Filesrc._shots

    def decode_slowly(source: Filesrc, playlist: Playlist) -> Iterator[Shot]:
        for shot in shots(source, playlist):
            time.sleep(0.06)  # at 25 frames per second
            yield shot

    monkeypatch.setattr(Filesrc, "_shots", decode_slowly)
    monkeypatch.setattr("stream.elements.filesrc._MAX_LATE_NS", 150_000_000)
    with Filesrc(str(clip), realtime=True) as source:
        found = list(source.frames())
    seqs = [frame.seq for frame in found if frame]
    assert len(seqs) >= 5  # two, if the clock of the first frame counted for ever
    assert seqs[-1] >= 16
    assert sum(frame is None for frame in found) >= 20 - len(seqs)  # the line's loop goes on meanwhile


def test_a_realtime_source_yields_none_while_it_waits(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [numbered_picture(0), numbered_picture(1)], pts_ms=[0, 1500])
    source = Filesrc(str(tmp_path / "a.mp4"), realtime=True)
    with source:
        frames = list(source.frames())
    assert [frame is None for frame in (frames[0], frames[-1])] == [False, False]
    assert frames.count(None) >= 3, "at least twice per second, over 1.5 s"


def test_a_restarted_realtime_source_continues_after_its_last_number(clip: Path) -> None:
    source = Filesrc(str(clip), realtime=True)
    source.context.memory["seq"] = 11
    source.context.incarnation = 1
    frames = read_frames(source)
    assert frames[0].seq >= 12
    assert read_number(frames[0].pixels) == frames[0].seq


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_missing_file_raises_when_the_line_opens() -> None:
    with (
        pytest.raises(SourceError, match=r"there is no 'nowhere.mp4' \(looked in .*\); check the path"),
        Filesrc("nowhere.mp4"),
    ):
        pass


def test_the_length_is_that_of_the_header_less_what_is_left_out(clip: Path) -> None:
    assert Filesrc(str(clip)).length == 20
    assert Filesrc(str(clip), start=5).length == 15
    assert Filesrc(str(clip), start=5, num_frames=3).length == 3
    assert Filesrc(str(clip), start=19, num_frames=3).length == 1


def test_the_length_of_pictures_is_their_number(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered_picture(number))
    assert Filesrc(str(tmp_path)).length == 3


def test_a_loop_and_a_missing_file_have_no_length(clip: Path) -> None:
    assert Filesrc(str(clip), loop=True).length is None
    assert Filesrc(str(clip), loop=True, num_frames=50).length == 50
    assert Filesrc("nowhere.mp4").length is None


def test_a_missing_file_has_no_nominal_rate(clip: Path) -> None:
    assert Filesrc("nowhere.mp4").nominal_fps is None
    assert Filesrc(str(clip)).nominal_fps == 25


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({}, "filesrc: location= is missing and has no default"),
        ({"location": "a", "fps": "0"}, "filesrc: fps=0 is not valid"),
        ({"location": "a", "start": "-1"}, "filesrc: start=-1 is not valid"),
        ({"location": "a", "damaged": "ignore"}, "filesrc: damaged=ignore is not valid"),
        ({"path": "a"}, "filesrc has no property 'path'"),
    ],
)
def test_a_wrong_property_raises(properties: dict[str, str], message: str) -> None:
    with pytest.raises(PropertyError) as caught:
        make("filesrc", **properties)
    assert message in str(caught.value)
