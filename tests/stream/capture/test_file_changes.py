"""Files that change while their line runs: a source that is restarted refuses them, and takes all others on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from stream.capture.file_changes import check_unchanged
from stream.element import Context, Source
from stream.elements.filesrc import Filesrc
from stream.elements.replaysrc import ReplaySrc
from stream.errors import SourceError, StartError
from stream.testing.videos import numbered_picture, read_number, write_video
from tests.stream.recording.recordings import picture_poses, record

_COUNT = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "shots"
    path.mkdir()
    for number in range(_COUNT):
        cv2.imwrite(str(path / f"p_{number}.png"), numbered_picture(number))
    return path


def restart(make: Callable[[], Source], change: Callable[[], object]) -> list[int | None]:
    """Read two frames of a source, change its files, and read all frames of the source of the next process."""
    context = Context(name="source")
    first = make()
    first.context = context
    with first:
        frames = first.frames()
        next(frames), next(frames)
        change()
    second = make()
    second.context = replace(context, incarnation=1)
    with second:
        return [read_number(frame.pixels) for frame in second.frames() if frame is not None]


def move_over(path: Path) -> None:
    """Replace the file by one of the same size, time and name."""
    found = path.stat()
    shutil.copy2(path, path.parent / "other")
    (path.parent / "other").replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (found.st_size, found.st_mtime_ns)


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: (path / "p_0.png").unlink(), "files were removed from the 6 that it had (now 5)"),
    (
        lambda path: shutil.copy(path / "p_0.png", path / "p_1b.png"),
        "files were added to the 6 that it had (now 7)",
    ),
    (
        lambda path: (path / "p_0.png").rename(path / "p_9.png"),
        "files were added and others removed, or renamed (6 before and now)",
    ),
    (lambda path: move_over(path / "p_3.png"), "a file was replaced or written to"),
    (lambda path: os.utime(path / "p_3.png", ns=(1, 1)), "a file was replaced or written to"),
    (lambda path: (path / "p_3.png").write_bytes(b""), "a file was replaced or written to"),
]


IDS = ["removed", "added", "renamed", "moved", "touched", "emptied"]


@pytest.mark.parametrize(("change", "what"), CHANGES, ids=IDS)
@pytest.mark.parametrize("pattern", ["", "/*.png"], ids=["folder", "pattern"])
def test_a_restarted_source_refuses_files_that_were_changed(
    folder: Path, pattern: str, change: Callable[[Path], object], what: str
) -> None:
    location = f"{folder}{pattern}"
    with pytest.raises(SourceError) as caught:
        restart(lambda: Filesrc(location), lambda: change(folder))
    assert str(caught.value) == (
        f"{location!r} was changed while the line ran: {what}; 'source', which was restarted, would lose or repeat "
        "frames: run the line again, and leave its files alone until it ends"
    )


def test_a_restarted_source_reads_the_same_files_whatever_else_changes_beside_them(folder: Path) -> None:
    numbers = restart(lambda: Filesrc(str(folder)), lambda: (folder / "notes.txt").write_text("x"))
    assert numbers == list(range(_COUNT))


def test_a_video_that_was_replaced_or_removed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "walk.mp4"
    write_video(path, [numbered_picture(number) for number in range(_COUNT)])
    with pytest.raises(SourceError, match=r"walk.mp4' was changed .*: the file was replaced or written to; "):
        restart(lambda: Filesrc(str(path)), lambda: move_over(path))
    with pytest.raises(SourceError, match=r"there is no .*walk.mp4"):
        restart(lambda: Filesrc(str(path)), path.unlink)


def test_a_realtime_source_is_not_restarted_again_and_again(folder: Path) -> None:
    with pytest.raises(StartError, match="files were removed from"):
        restart(lambda: Filesrc(str(folder), realtime=True), (folder / "p_0.png").unlink)


def test_every_turn_of_a_loop_reads_the_files_of_the_first(folder: Path) -> None:
    with Filesrc(str(folder), loop=True, num_frames=2 * _COUNT) as source:
        frames = source.frames()
        found = [next(frames)]
        shutil.copy(folder / "p_0.png", folder / "p_1b.png")
        found += frames
    assert [read_number(frame.pixels) for frame in found if frame is not None] == [*range(_COUNT)] * 2


def test_a_recording_that_was_replaced_or_removed_is_refused(tmp_path: Path) -> None:
    path = record(tmp_path / "x.mcap", [picture_poses(seq) for seq in range(3)])
    with pytest.raises(SourceError, match=r"x.mcap' was changed .*: the file was replaced or written to; "):
        restart(lambda: ReplaySrc(str(path)), lambda: move_over(path))
    with pytest.raises(SourceError, match=r"x.mcap"):
        restart(lambda: ReplaySrc(str(path)), path.unlink)


def test_a_folder_of_any_size_takes_three_numbers_of_the_memory(tmp_path: Path) -> None:
    context = Context()
    check_unchanged("x", [tmp_path / str(number) for number in range(5000)], context)
    assert len(context.memory) == 3
    assert all(-(2**63) <= value < 2**63 for value in context.memory.values())
