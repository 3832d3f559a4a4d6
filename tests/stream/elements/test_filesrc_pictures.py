"""``filesrc`` with pictures that have numbers in their names, and with names that look like something else."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import pytest

from stream.elements.filesrc import Filesrc
from stream.errors import SourceError
from stream.messages import Frame
from stream.testing.videos import numbered_picture, read_number, write_video


def read_frames(source: Filesrc) -> list[Frame]:
    with source:
        return [frame for frame in source.frames() if frame is not None]


def write_numbered(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), numbered_picture(number))
    return folder


@pytest.mark.parametrize("properties", [{}, {"realtime": True}])
@pytest.mark.parametrize(
    ("names", "seqs"),
    [
        (("000001.png", "000002.png", "000004.png"), [0, 1, 3]),
        (("frame_0010.png", "frame_0020.png", "frame_0050.png", "frame_0060.png"), [0, 1, 4, 5]),
        (("cam1_1.jpg", "cam1_2.jpg", "cam1_5.jpg"), [0, 1, 4]),
        (("IMG_2034.jpg", "IMG_2071.jpg", "IMG_2112.jpg"), [0, 1, 2]),
        (("a.png", "b.png", "d.png"), [0, 1, 2]),
        (("1.png", "1_2.png", "3.png"), [0, 1, 2]),
    ],
    ids=["missing", "every tenth", "one number of two", "a collection", "letters", "other names"],
)
def test_gaps_in_numbered_names_are_gaps_in_seq_and_time(
    tmp_path: Path, names: tuple[str, ...], seqs: list[int], properties: dict[str, Any]
) -> None:
    frames = read_frames(Filesrc(str(write_numbered(tmp_path, *names)), fps=50, **properties))
    assert [frame.seq for frame in frames] == seqs
    assert [frame.pts_ns for frame in frames] == [20_000_000 * seq for seq in seqs]
    assert [read_number(frame.pixels) for frame in frames] == list(range(len(names)))


def test_a_gap_is_only_counted_after_the_first_frame_and_in_every_loop(tmp_path: Path) -> None:
    write_numbered(tmp_path, "1.png", "2.png", "4.png", "5.png")
    assert [frame.seq for frame in read_frames(Filesrc(str(tmp_path), start=2))] == [0, 1]
    looped = read_frames(Filesrc(str(tmp_path), loop=True, num_frames=8))
    assert [frame.seq for frame in looped] == [0, 1, 3, 4, 5, 6, 8, 9]
    assert all(after.pts_ns > before.pts_ns for before, after in pairwise(looped))


def test_a_damaged_picture_that_is_left_out_is_a_gap(tmp_path: Path) -> None:
    write_numbered(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "b.png").write_bytes(b"")
    frames = read_frames(Filesrc(str(tmp_path), damaged="warn"))
    assert [(frame.seq, frame.pts_ns) for frame in frames] == [(0, 0), (2, 80_000_000)]


def test_a_frame_has_the_name_of_its_file(tmp_path: Path) -> None:
    write_numbered(tmp_path, "1.png", "2.png")
    write_video(tmp_path / "9.mp4", [numbered_picture(7)])
    frames = read_frames(Filesrc(f"{tmp_path}/*"))
    assert [frame.file for frame in frames] == [str(tmp_path / name) for name in ("1.png", "2.png", "9.mp4")]


def test_the_shared_folder_with_a_gap_has_one(shared: Path) -> None:
    """Number 3 is no picture, 6 is empty, 7 is not there."""
    frames = read_frames(Filesrc(str(shared / "cases" / "folder" / "gap"), damaged="warn"))
    numbers = [int(Path(frame.file).stem) for frame in frames]
    assert [(frame.seq, number) for frame, number in zip(frames, numbers, strict=True)] == [
        *((0, 1), (1, 2), (3, 4), (4, 5), (7, 8))
    ]


def test_a_folder_says_once_what_it_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_numbered(tmp_path, "1.png", "2.png")
    (tmp_path / "._1.png").write_bytes(b"x")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    source = Filesrc(str(tmp_path))
    assert len(read_frames(source)) == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"folder {str(tmp_path)!r}: 2 files are read; 1 .mp4, 1 hidden left out"
    ]


NAMES = [
    "2024-01-01T12:30:05.mp4",
    "~x.ts",
    "~.mp4",
    "RTSP:a.mp4",
    "concat:a|b.mp4",
    "-i.mp4",
    "a%03d?.mp4",
    "a [1].mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_video_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", [numbered_picture(number) for number in range(3)])
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    assert [read_number(frame.pixels) for frame in read_frames(Filesrc(name))] == [0, 1, 2]


@pytest.mark.parametrize("name", ["12:30.webp", "~a.png", "a%d.gif", "a%d.png", "tcp:1.avif", "12:30.tif"])
def test_an_animation_may_be_called_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = [numbered_picture(number) for number in range(3)]
    animation = cv2.Animation()
    animation.frames, animation.durations = pictures, [40] * 3
    written = tmp_path / f"plain{Path(name).suffix}"
    multi = cv2.imwritemulti if written.suffix == ".tif" else cv2.imwriteanimation
    assert multi(str(written), pictures if written.suffix == ".tif" else animation)  # type: ignore[arg-type]
    written.rename(tmp_path / name)
    frames = read_frames(Filesrc(name))
    assert [read_number(frame.pixels) for frame in frames] == [0, 1, 2]
    assert Filesrc(name).length in (3, None)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    source = Filesrc(str(tmp_path / "a.mp4"))
    assert (source.length, source.nominal_fps) == (None, None)
    with pytest.raises(SourceError, match=r"a.mp4' is a pipe, not a file; write what it delivers to a file first"):
        read_frames(source)


def test_a_realtime_file_does_not_wait_for_a_clock_that_was_set(tmp_path: Path) -> None:
    write_video(
        tmp_path / "a.ts",
        [numbered_picture(number) for number in range(4)],
        pts_ms=[0, 40, 9_000_000, 9_000_040],
        options={"bf": "0"},
    )
    frames = read_frames(Filesrc(str(tmp_path / "a.ts"), realtime=True))
    assert frames[-1].seq == 3
    assert frames[-1].pts_ns <= 120_000_000
