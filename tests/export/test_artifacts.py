"""A folder is there whole or not at all, and what is not ours is never written over."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.spec.manifest import MANIFEST
from export.artifacts import create_folder, describe_files, find_versions


def make(folder: Path, result: str, *, force: bool = False) -> None:
    with create_folder(folder, force=force) as partial:
        assert not list(partial.iterdir())
        (partial / MANIFEST).write_text(result)


def here(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_its_place_when_it_is_done(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "out", "one")
    assert here(tmp_path / "deep") == ["out"]
    assert (tmp_path / "deep" / "out" / MANIFEST).read_text() == "one"


@pytest.mark.parametrize("fault", [KeyboardInterrupt, ZeroDivisionError])
def test_nothing_is_left_when_it_is_interrupted(fault: type[BaseException], tmp_path: Path) -> None:
    def half() -> None:
        with create_folder(tmp_path / "out", force=False) as partial:
            (partial / "half.onnx").write_text("half")
            raise fault

    with pytest.raises(fault):
        half()
    assert here(tmp_path) == []


def test_an_older_export_stays_until_the_new_one_is_done(tmp_path: Path) -> None:
    make(tmp_path / "out", "one")
    with pytest.raises(ZeroDivisionError), create_folder(tmp_path / "out", force=True):
        raise ZeroDivisionError
    assert (tmp_path / "out" / MANIFEST).read_text() == "one"
    make(tmp_path / "out", "two", force=True)
    assert (tmp_path / "out" / MANIFEST).read_text() == "two"
    assert here(tmp_path) == ["out"]


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "half.onnx").write_text("half")
    make(tmp_path / "out", "one")
    assert here(tmp_path) == ["out"]
    assert here(tmp_path / "out") == [MANIFEST]


def test_an_export_that_was_killed_while_it_replaced_another_hinders_no_later_one(tmp_path: Path) -> None:
    old = tmp_path / "out.old"
    make(tmp_path / "out", "one")
    (old / "deep").mkdir(parents=True)  # killed while it removed the former one
    make(tmp_path / "out", "two", force=True)
    assert here(tmp_path) == ["out"]
    (tmp_path / "out").rename(old)  # killed before the new one was in place
    with pytest.raises(EngineError, match="it is an export already"):
        make(tmp_path / "out", "three")
    assert (tmp_path / "out" / MANIFEST).read_text() == "two"
    assert here(tmp_path) == ["out"]


def test_a_folder_that_is_no_export_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(EngineError) as caught:
        make(tmp_path / "out", "one", force=True)
    assert str(caught.value) == (
        f"export into {str(tmp_path / 'out')!r}: it exists and is not an export (no manifest.json); "
        "choose another with --out"
    )
    assert here(tmp_path / "out") == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EngineError) as caught:
        make(tmp_path / "file" / "out", "one")
    assert str(caught.value) == (
        f"export into {str(tmp_path / 'file' / 'out')!r}: Not a directory; free some space or choose another with --out"
    )


def test_a_full_disk_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught, create_folder(tmp_path / "out", force=False):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"export into {str(tmp_path / 'out')!r}: No space left on device; free some space or choose another with --out"
    )
    assert here(tmp_path) == []


def test_every_file_but_the_manifest_is_listed_with_its_digest(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{}")
    (tmp_path / "a").write_bytes(b"abc")
    files = describe_files(tmp_path)
    assert list(files) == ["a"]
    assert files["a"].bytes == 3
    assert files["a"].sha256.startswith("ba7816bf")  # of "abc", as in FIPS 180-2


def test_versions_say_what_made_it() -> None:
    assert set(find_versions()) == {"posestream", "torch", "onnx", "onnxscript", "onnxruntime", "python"}
