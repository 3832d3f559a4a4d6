from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.capture.files import find_files, printable, report_skipped
from stream.capture.regular_file import PIPE_REMEDY, check_readable
from stream.errors import SourceError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("10.png", "2.png", "1.JPG", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_stands_for_its_pictures_in_natural_order(folder: Path) -> None:
    assert [path.name for path in find_files(str(folder))] == ["1.JPG", "2.png", "10.png"]


def test_a_pattern_stands_for_the_files_it_matches_in_natural_order(folder: Path) -> None:
    (folder / "deeper").mkdir()
    (folder / "deeper" / "3.png").write_bytes(b"x")
    assert [path.name for path in find_files(f"{folder}/[0-9]*.png")] == ["2.png", "10.png"]
    assert [path.name for path in find_files(f"{folder}/**/*.png")] == ["2.png", "10.png", "3.png"]


@pytest.mark.parametrize("pattern", ["*", "*.png", "**/*.png", "?_*"])
def test_hidden_files_are_not_what_a_pattern_means(folder: Path, pattern: str) -> None:
    """macOS writes ``._2.png`` beside ``2.png`` onto foreign disks; it is no picture."""
    (folder / "._2.png").write_bytes(b"x")
    (folder / "a_1.png").write_bytes(b"x")
    assert not [path for path in find_files(f"{folder}/{pattern}") if path.name.startswith(".")]
    assert [path.name for path in find_files(f"{folder}/._*")] == ["._2.png"], "unless it says so"


def test_a_relative_pattern_is_looked_for_in_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert find_files("1*.png") == (Path("10.png"),)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    odd = tmp_path / "walk[1].png"
    odd.write_bytes(b"x")
    assert find_files(str(odd)) == (odd,)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"x")
    assert find_files("~/a.png") == (tmp_path / "a.png",)


@pytest.mark.parametrize("name", ["~x.png", "~unknown-user.png", "2024-01-01T12:30:05.png", "a%03d.png", "-a.png"])
def test_a_name_may_look_like_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"x")
    assert find_files(name) == (Path(name),)


@pytest.mark.parametrize("name", ["~unknown-user/a.png", "a" * 5000, "a\0b"])
def test_a_name_that_cannot_be_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(SourceError) as caught:
        find_files(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; check the path")


def test_a_folder_says_what_it_leaves_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "clip.MP4").write_bytes(b"x")
    (folder / "more").mkdir()
    (folder / "._2.png").write_bytes(b"x")
    report_skipped(folder, find_files(str(folder)))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"folder {str(folder)!r}: 3 files are read; 2 hidden, 1 .mp4, 1 .txt, 1 folder left out"
    )


def test_a_folder_of_pictures_alone_says_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "notes.txt").unlink()
    report_skipped(folder, find_files(str(folder)))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_only_files_are_read_and_nothing_waits(tmp_path: Path, kind: str) -> None:
    path = {"pipe": tmp_path / "a.mp4", "socket": tmp_path / "a.png", "device": Path("/dev/null")}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    with pytest.raises(SourceError) as caught:
        find_files(str(path))
    remedy = PIPE_REMEDY if kind == "pipe" else "write what it delivers to a file first"
    assert str(caught.value) == f"{str(path)!r} is a {kind}, not a file; {remedy}"
    with pytest.raises(SourceError, match=f"is a {kind}, not a file"):
        check_readable(path)


@pytest.mark.parametrize("location", ["/dev/stdin", "/dev/fd/0", "/dev/fd/63", "/proc/self/fd/0"])
def test_what_one_process_has_open_is_refused_wherever_it_is_read(location: str) -> None:
    with pytest.raises(SourceError) as caught:
        find_files(location)
    assert str(caught.value) == f"{location!r} is what one process has open, not a file; {PIPE_REMEDY}"


def test_a_pipe_in_a_folder_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"x")
    assert [path.name for path in find_files(str(tmp_path))] == ["2.png"]


def test_a_name_that_is_not_utf_8_can_be_sent_and_printed() -> None:
    assert printable(Path(os.fsdecode(b"caf\xe9 \xc3\xa9.jpg"))) == "caf\\xe9 é.jpg"


def test_digits_of_other_scripts_can_be_sorted(tmp_path: Path) -> None:
    for name in ("²3.png", "٣.png", "1.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
    assert len(find_files(str(tmp_path))) == 3


MISTAKES = [
    ("missing.mp4", "there is no '{}/missing.mp4' (looked in "),
    ("%04d.png", "; write a pattern, as in '*.png'"),
    ("*.webm", "no file matches '{}/*.webm' (looked in "),
    (
        "empty",
        "holds no pictures (it is empty); for the videos in it write a pattern, as in '{}/empty/*.mp4'",
    ),
    ("-", f"; standard input cannot be read; {PIPE_REMEDY}"),
    ("other", "folder '{}/other' holds no pictures (only 1 .mp4); for the videos in it write"),
]


@pytest.mark.parametrize(("location", "message"), MISTAKES)
def test_a_location_without_files_raises_with_a_remedy(folder: Path, location: str, message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "clip.mp4").write_bytes(b"x")
    with pytest.raises(SourceError) as caught:
        find_files("-" if location == "-" else f"{folder}/{location}")
    assert message.replace("{}", str(folder)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["RTSP://h/x", "Rtsps://h/x", "HTTP://h/x"])
def test_an_address_is_one_in_capitals_too(address: str) -> None:
    with pytest.raises(SourceError, match="an address is for rtspsrc"):
        find_files(address)


def test_the_address_of_a_picture_names_the_element_for_it() -> None:
    with pytest.raises(SourceError, match=r"there is no 'http://\*\*\*@h/x.jpg' .*; an address is for snapshotsrc"):
        find_files("http://admin:hunter2@h/x.jpg")


def test_a_path_as_an_address_is_to_be_written_as_a_path() -> None:
    with pytest.raises(SourceError, match="write the path alone"):
        find_files("file:///a.mp4")


def test_an_address_raises_with_the_right_element_and_without_its_password() -> None:
    with pytest.raises(SourceError, match=r"there is no 'rtsp://\*\*\*@h/x' .*; an address is for rtspsrc"):
        find_files("rtsp://admin:hunter2@h/x")
