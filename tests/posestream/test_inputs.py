"""What may be estimated, and how each kind becomes a source of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posestream.inputs import Files, Frames, find_files, open_input
from stream.elements.camerasrc import Camerasrc
from stream.elements.rtspsrc import Rtspsrc
from stream.elements.snapshotsrc import Snapshotsrc
from stream.errors import PropertyError, SourceError
from stream.messages import Eos, Frame
from stream.pipeline.launch import parse_launch
from stream.registry import make
from stream.testing.items import make_frame
from stream.testing.videos import read_number

PICTURE = np.zeros((48, 64, 3), np.uint8)


def test_a_folder_stands_for_its_photos_and_videos_in_natural_order(media: Path) -> None:
    assert [path.name for path in find_files(media)] == ["2.png", "10.jpg", "broken.png", "clip.mp4"]


def test_a_pattern_stands_for_what_matches(media: Path) -> None:
    assert [path.name for path in find_files(f"{media}/*.jpg")] == ["10.jpg"]


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(media: Path, tmp_path: Path) -> None:
    renamed = media.rename(tmp_path / "media [2024]")
    assert len(find_files(renamed)) == 4


@pytest.mark.parametrize(
    ("is_there", "line"), [(True, "holds no photos and no videos; give another, or a pattern"), (False, "there is no")]
)
def test_a_folder_with_nothing_in_it_or_none_at_all_is_refused(is_there: bool, line: str, tmp_path: Path) -> None:
    if is_there:
        (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError) as caught:
        find_files(tmp_path / "folder")
    assert line in str(caught.value)
    assert str(tmp_path / "folder") in str(caught.value)


def test_files_are_read_one_after_the_other_each_as_a_camera_that_ends(media: Path) -> None:
    items = list(Files(find_files(f"{media}/[2c]*")).frames())
    photo, video = str(media / "2.png"), str(media / "clip.mp4")
    assert [item.key[1] for item in items if isinstance(item, Frame)] == [0, 0, 1, 2, 3]
    assert [item for item in items if isinstance(item, Eos)] == [Eos(photo), Eos(video)]
    assert items[0].camera == photo
    assert {item.camera for item in items[2:-1]} == {video}
    assert [read_number(item.pixels) for item in items[2:-1]] == [0, 1, 2, 3]


def test_only_videos_make_a_sequence(media: Path) -> None:
    assert not Files([media / "2.png", media / "10.jpg"]).is_sequence
    assert Files(find_files(media)).is_sequence


def test_a_broken_file_is_raised_after_its_end_unless_it_can_be_reported(media: Path) -> None:
    paths = [media / "broken.png", media / "2.png"]
    items: list[Any] = []
    with pytest.raises(SourceError, match="not a picture"):
        items.extend(Files(paths).frames())
    reports: list[tuple[str, str]] = []
    items = list(Files(paths, lambda name, error: reports.append((name, str(error)))).frames())
    assert items[0] == Eos(str(paths[0]))
    assert items[1].camera == str(paths[1])
    ((name, line),) = reports
    assert name == str(paths[0])
    assert "not a picture" in line


@pytest.mark.parametrize(
    ("given", "device", "camera"),
    [
        (0, "0", "camera 0"),
        ("/dev/video2", "/dev/video2", "/dev/video2"),
        (Path("/dev/video2"), "/dev/video2", "/dev/video2"),
    ],
)
def test_a_number_or_a_device_is_a_camera(given: Any, device: str, camera: str) -> None:
    source = open_input(given, 25, None)
    assert isinstance(source, Camerasrc)
    assert (source.device, source.camera) == (device, camera)


def test_an_address_is_a_live_stream_whose_name_has_no_password() -> None:
    source = open_input("rtsp://admin:secret@10.0.0.7/ch1", 25, None)
    assert isinstance(source, Rtspsrc)
    assert source.url == "rtsp://admin:secret@10.0.0.7/ch1"
    assert source.camera == "rtsp://***@10.0.0.7/ch1"


def test_the_address_of_a_picture_is_a_camera_that_is_asked_for_pictures() -> None:
    source = open_input("HTTP://admin:secret@10.0.0.7/cgi/snap.jpg?size=1", 25, None)
    assert isinstance(source, Snapshotsrc)
    assert source.camera == "HTTP://***@10.0.0.7/cgi/snap.jpg?size=1"


def test_a_list_of_paths_is_files_and_an_element_is_itself(media: Path) -> None:
    paths: list[str | Path] = [media / "2.png", f"{media}/*.jpg"]
    listed = open_input(paths, 25, None)
    assert isinstance(listed, Files)
    assert [path.name for path in listed.paths] == ["2.png", "10.jpg"]
    for several in (media.glob("*.png"), {media / "2.png"}, iter([str(media / "2.png")]), {media / "2.png": 1}):
        found: Any = open_input(several, 25, None)
        assert media / "2.png" in found.paths
    element = make("testsrc")
    assert open_input(element, 25, None) is element


def test_paths_and_frames_together_are_refused(media: Path) -> None:
    mixed: Any = [media / "2.png", PICTURE]
    with pytest.raises(SourceError) as caught:
        open_input(mixed, 25, None)
    assert str(caught.value) == "item 1 is ndarray among paths; give paths alone, or frames alone"


def test_an_iterator_loses_no_frame_and_is_begun_once() -> None:
    begun = []

    class Camera:
        def __iter__(self) -> Iterator[Any]:
            begun.append(1)
            yield None
            yield PICTURE

    given: Any = Camera()
    items: list[Any] = list(open_input(given, 25, None).frames())
    none, frame, _ = items
    assert (none, frame.seq, begun) == (None, 1, [1])


@pytest.mark.parametrize("fps", [0, -5, float("nan"), float("inf"), 1e-300, 1e300])
def test_a_rate_that_gives_no_times_is_refused(fps: float) -> None:
    with pytest.raises(PropertyError) as caught:
        open_input([PICTURE], fps, None)
    assert str(caught.value) == f"fps={fps} is not valid: it must be a number from 0.00001 to 1,000,000"
    for source in ("filesrc location=a.jpg", "testsrc"):
        with pytest.raises(PropertyError, match="fps="):
            parse_launch(f"{source} fps={fps} ! fakesink")


@pytest.mark.parametrize(
    ("given", "count", "is_sequence"),
    [
        (PICTURE, 1, False),
        (make_frame(0), 1, False),
        ([PICTURE, PICTURE], 2, True),
        (np.stack([PICTURE] * 3), 3, True),
        (iter([PICTURE]), 1, True),
        ([], 0, True),
    ],
)
def test_arrays_are_frames(given: Any, count: int, is_sequence: bool) -> None:
    source = open_input(given, 10, None)
    assert isinstance(source, Frames)
    frames = [frame for frame in source.frames() if isinstance(frame, Frame)]
    assert [frame.seq for frame in frames] == list(range(count))
    assert source.is_sequence is is_sequence


def test_arrays_are_copied_and_come_at_the_rate_that_was_given() -> None:
    pixels = PICTURE.copy()
    first, second, end = Frames([pixels, pixels], fps=10).frames()
    pixels[:] = 255
    assert not first.pixels.any()
    assert (first.camera, second.pts_ns, end) == ("frames", 100_000_000, Eos("frames"))


def test_frames_keep_their_camera_which_ends_with_them() -> None:
    frame = make_frame(3, "hall")
    assert list(Frames([None, frame], fps=10).frames()) == [None, frame, Eos("hall")]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (np.zeros((48, 64), np.uint8), "uint8 (48, 64)"),
        (np.zeros((48, 64, 4), np.uint8), "uint8 (48, 64, 4)"),
        (np.zeros((48, 64, 3), np.float32), "float32 (48, 64, 3)"),
        ([7], "int"),
        (np.zeros((0, 0, 3), np.uint8), "uint8 (0, 0, 3)"),
        ([np.zeros((0, 10, 3), np.uint8)], "uint8 (0, 10, 3)"),
        (replace(make_frame(0), pixels=np.zeros((4, 0, 3), np.uint8)), "uint8 (4, 0, 3)"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_it_is(given: Any, kind: str) -> None:
    with pytest.raises(SourceError) as caught:
        list(open_input(given, 25, None).frames())
    assert str(caught.value) == f"frame 0 is {kind}; give arrays (height, width, 3) uint8, BGR as OpenCV reads them"


@pytest.mark.parametrize(("given", "kind"), [(1.5, "float 1.5"), (make("tee"), "Tee Tee(name='')")])
def test_what_is_no_source_at_all_is_refused(given: Any, kind: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_input(given, 25, None)
    assert str(caught.value) == (
        f"{kind} is nothing to read frames from; give a path, a camera's number, an address, or arrays (H, W, 3) uint8"
    )
