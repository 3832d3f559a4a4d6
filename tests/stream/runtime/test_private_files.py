"""Folders and files of this user alone."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from stream.errors import TransportError
from stream.runtime.private_files import create, holding, read_own, take_lock, write
from stream.runtime.run_dir import RunDirectory, claim, make_private


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    refusal = (
        r"run directory .*/open is open to others \(mode 755\); chmod 700 it if it is yours, or choose another with"
    )
    for make in (make_private, claim, RunDirectory):
        with pytest.raises(TransportError, match=refusal):
            make(tmp_path / "open")


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(TransportError, match="/link is a symbolic link; name the folder that it leads to, or choose"):
        make_private(tmp_path / "link")


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(TransportError, match=rf"belongs to user {owner}, not to you \({owner + 1}\); have it removed"):
        claim(tmp_path / "run")


def test_a_file_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(
        TransportError, match="/run is a file; remove it, or choose another with --run-dir or POSESTREAM"
    ):
        RunDirectory(tmp_path / "run")


def test_a_file_is_for_its_user_alone_and_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "token"
    create(path, "first")
    with pytest.raises(FileExistsError):
        create(path, "second")
    write(path, b"third")
    assert (read_own(path), path.stat().st_mode & 0o777) == (b"third", 0o600)
    assert [file.name for file in tmp_path.iterdir()] == ["token"]


@pytest.mark.parametrize(("removals", "is_written"), [(3, True), (4, False)])
def test_a_draft_that_is_removed_is_written_again(
    removals: int, is_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.replace, [removals]

    def replace(draft: Path, path: Path) -> None:
        if left[0]:
            left[0] -= 1
            draft.unlink()
        real(draft, path)

    monkeypatch.setattr(os, "replace", replace)
    with nullcontext() if is_written else pytest.raises(FileNotFoundError):
        write(tmp_path / "token", "mine")
    assert [file.name for file in tmp_path.iterdir()] == ["token"] * is_written


def test_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(__file__)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        read_own(tmp_path / "link")


def test_a_folder_has_one_lock(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    assert lock is not None
    with holding(lock):
        assert take_lock(tmp_path) is None
    again = take_lock(tmp_path)
    assert again is not None
    os.close(again)
