"""The files of cameras: what is written, refused and locked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stream.errors import LaunchError, PropertyError, TransportError
from stream.site.folder import MAX_CAMERAS, CameraExistsError, CameraFolder, CameraSettings, UnknownCameraError


def test_a_camera_is_a_file_that_others_cannot_read(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path / "site.d")
    folder.add("hall", {"url": "rtsp://me:Kiwi7@10.0.0.7/1", "n": "3"}, lambda: None)
    file = tmp_path / "site.d/hall.yaml"
    assert (file.stat().st_mode & 0o777, (tmp_path / "site.d").stat().st_mode & 0o777) == (0o600, 0o700)
    folder.pause("hall", True)
    (settings,) = CameraFolder(tmp_path / "site.d").read().values()
    assert settings.properties == (("url", "rtsp://me:Kiwi7@10.0.0.7/1"), ("n", "3"))
    assert settings.paused
    folder.remove("hall")
    assert folder.read() == {}
    assert [path.name for path in (tmp_path / "site.d").iterdir()] == ["lock"]


def test_a_camera_that_cannot_run_is_not_written(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path)
    tmp_path.chmod(0o700)

    def refuse() -> None:
        raise LaunchError("no such property")

    with pytest.raises(LaunchError):
        folder.add("hall", {}, refuse)
    assert folder.read() == {}
    folder.add("hall", {}, lambda: None)
    with pytest.raises(
        CameraExistsError, match=r"^there is a camera 'hall' already; remove it first, or choose another"
    ):
        folder.add("hall", {}, lambda: None)
    for name in ("", "../x", "a b", "-x", "x" * 33, "a/b", ".x"):
        with pytest.raises(
            PropertyError, match=r"is no name for a camera: write at most 32 letters, digits, '-' and '_'$"
        ):
            folder.add(name, {}, lambda: None)
    for act in (lambda: folder.remove("yard"), lambda: folder.pause("../hall", True)):
        with pytest.raises(UnknownCameraError, match=r"^there is no camera '.*'; there are: hall$"):
            act()


def test_cameras_beyond_the_most_of_a_site_are_named(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path / "site.d")
    for number in range(MAX_CAMERAS + 2):
        (tmp_path / f"site.d/c{number:03}.yaml").write_text("properties: {}")
    found = folder.read()
    assert [name for name, settings in found.items() if settings.fault] == ["c064", "c065"]
    assert found["c065"].fault == "it does not run: there are 66 cameras, and a site has 64 at most; start another site"
    with pytest.raises(PropertyError, match="there are 66 cameras, and a site has 64 at most"):
        folder.add("hall", {}, lambda: None)
    folder.remove("c000")
    assert not folder.read()["c064"].fault


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CameraFolder(tmp_path / "site.d")

    def fail(error: OSError) -> None:
        raise error

    monkeypatch.setattr("stream.site.folder.create", lambda *_: fail(OSError(28, "No space left on device")))
    with pytest.raises(TransportError, match=r"hall\.yaml cannot be written: No space left on device; make room$"):
        folder.add("hall", {}, lambda: None)
    monkeypatch.setattr("stream.site.folder.create", lambda *_: fail(FileExistsError(17, "File exists")))
    with pytest.raises(CameraExistsError, match=r"^there is a camera 'hall' already; choose another name$"):
        folder.add("hall", {}, lambda: None)


def test_what_cannot_be_removed_or_locked_is_one_line(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path / "site.d")
    (tmp_path / "site.d/hall.yaml").mkdir()
    with pytest.raises(
        TransportError, match=r"/hall\.yaml cannot be removed: Is a directory; it is a folder, so move it away$"
    ):
        folder.remove("hall")
    (tmp_path / "site.d/lock").unlink()
    (tmp_path / "site.d/lock").mkdir()
    with pytest.raises(TransportError, match=r"/lock cannot be written: Is a directory; it is a folder"):
        folder.add("yard", {}, lambda: None)


def test_a_file_that_was_edited_within_its_size_and_time_is_read_again(tmp_path: Path) -> None:
    folder, file = CameraFolder(tmp_path / "d"), tmp_path / "d/hall.yaml"
    for seed in "78":
        file.write_text(f"properties: {{seed: {seed}}}")
        os.utime(file, ns=(1, 1))
        assert folder.read()["hall"].properties == (("seed", seed),)


class Raced(CameraFolder):
    """Lets another thread act, or wait, between what a change has read and what it writes."""

    def __init__(self, folder: Path, most: int, act: Callable[[], None]) -> None:
        super().__init__(folder, most)
        self.other = threading.Thread(target=act)

    def read(self) -> dict[str, CameraSettings]:
        found = super().read()
        self.other.start()
        self.other.join(0.2)
        return found


def test_a_camera_that_is_removed_while_it_is_paused_is_gone(tmp_path: Path) -> None:
    other = CameraFolder(tmp_path / "d")
    other.add("hall", {}, lambda: None)
    raced = Raced(tmp_path / "d", MAX_CAMERAS, lambda: other.remove("hall"))
    raced.pause("hall", True)
    raced.other.join()
    assert other.read() == {}


def test_two_cameras_that_are_added_at_once_do_not_exceed_the_most(tmp_path: Path) -> None:
    other, refused = CameraFolder(tmp_path / "d", 1), []

    def add() -> None:
        try:
            other.add("yard", {}, lambda: None)
        except PropertyError as error:
            refused.append(str(error))

    raced = Raced(tmp_path / "d", 1, add)
    raced.add("hall", {}, lambda: None)
    raced.other.join()
    assert list(other.read()) == ["hall"]
    assert refused == ["there are 1 cameras, and a site has 1 at most; start another site"]


def test_cameras_that_another_process_keeps_locked_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.site.folder._LOCK_S", 0.05)
    folder = CameraFolder(tmp_path / "d")
    folder.add("hall", {}, lambda: None)
    code = f"import fcntl; file = open({str(tmp_path / 'd/lock')!r}); fcntl.flock(file, 2); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(TransportError, match=r"/lock has been locked by another program for 0\.05 s; end it, or"):
            folder.remove("hall")
        other.communicate(b"\n")
    folder.remove("hall")
    assert folder.read() == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("properties: [1]", "hall.yaml line 1, column 13: "),
        ("paused: maybe", "hall.yaml line 1, column 9: "),
        ("url: x", "hall.yaml line 1, column 1: "),
        ("{", "hall.yaml line 2, column 1: "),
    ],
)
def test_a_file_that_cannot_be_read_is_said_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "hall.yaml").write_text(f"{text}\n")
    assert why in CameraFolder(tmp_path).read()["hall"].fault


@pytest.mark.parametrize(
    ("make", "why"), [(Path.mkdir, "Is a directory"), (lambda path: path.symlink_to(path), "Too many levels")]
)
def test_what_is_no_file_of_a_camera_is_said_without_its_error_number(
    tmp_path: Path, make: Callable[[Path], None], why: str
) -> None:
    tmp_path.chmod(0o700)
    make(tmp_path / "hall.yaml")
    fault = CameraFolder(tmp_path).read()["hall"].fault
    assert re.fullmatch(rf".*/hall\.yaml cannot be read: {why}.*; put a file of the camera there", fault)


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(
        TransportError, match=r"is open to others \(mode 755\); chmod 700 it .* another with --cameras$"
    ):
        CameraFolder(tmp_path)
