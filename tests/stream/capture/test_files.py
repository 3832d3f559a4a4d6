from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.capture.files import find_files
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
    assert [path.name for path in find_files(f"{folder}/**/*.png") if path.name[0] != "."] == [
        "2.png",
        "10.png",
        "3.png",
    ]


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
    ("other", "folder '{}/other' holds no pictures (1 other entry); for the videos in it write"),
]


@pytest.mark.parametrize(("location", "message"), MISTAKES)
def test_a_location_without_files_raises_with_a_remedy(folder: Path, location: str, message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "clip.mp4").write_bytes(b"x")
    with pytest.raises(SourceError) as caught:
        find_files(f"{folder}/{location}")
    assert message.replace("{}", str(folder)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_address_raises_with_the_right_element_and_without_its_password() -> None:
    with pytest.raises(SourceError, match=r"there is no 'rtsp://\*\*\*@h/x' .*; an address is for rtspsrc"):
        find_files("rtsp://admin:hunter2@h/x")
