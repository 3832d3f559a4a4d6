"""Files that are opened alone, through no link, and replaced at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from engines.formats.output_files import open_alone, open_temporary, replace_file


def test_a_file_that_is_opened_at_once_waits_as_others_when_written(tmp_path: Path) -> None:
    handle = os.open(tmp_path / "a", os.O_CREAT | os.O_WRONLY)
    os.close(handle)
    handle = open_alone(str(tmp_path / "a"), os.O_WRONLY)
    assert os.get_blocking(handle)
    os.close(handle)


def test_a_temporary_name_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    (tmp_path / "out.json.part").symlink_to(victim)
    with (
        pytest.raises(OSError, match="symbolic links are followed only from names that you gave"),
        open(tmp_path / "out.json.part", "wb", opener=open_temporary),
    ):
        pass
    assert victim.read_text() == "mine"


def test_a_file_whose_writing_fails_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def write(file: BinaryIO) -> None:
        file.write(b"new, in p")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        replace_file(path, write)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("out.json", "old")]
    replace_file(path, lambda file: file.write(b"new"))
    assert path.read_text() == "new"
