"""The checks of a machine, with and without faults."""

from __future__ import annotations

import builtins
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.__main__ import execute
from stream.cli import doctor_checks as module
from stream.cli.doctor_checks import Result, run_checks

Capture = pytest.CaptureFixture[str]


def of(topic: str) -> list[Result]:
    return [result for result in run_checks() if result.topic == topic]


def test_a_machine_that_runs_the_tests_has_all_that_posestream_needs(capsys: Capture) -> None:
    bad = [result for result in run_checks() if result.state == "bad"]
    assert execute(["doctor"]) == (1 if bad else 0)
    printed = capsys.readouterr().out
    for topic, _ in module.CHECKS:
        assert topic in printed
    assert {result.topic for result in bad} <= {"Cameras"}


def test_the_page_fits_a_screen(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    execute(["doctor"])
    # 40 lines are a usual terminal; a machine with many cameras or GPUs may take more.
    assert len(capsys.readouterr().out.splitlines()) <= 40


def test_everything_that_is_missing_comes_with_a_remedy() -> None:
    for result in run_checks():
        if result.state != "good" and "segments" not in result.text:
            assert result.remedy, result


def test_every_extra_is_known_by_a_package_that_it_brings(root: Path) -> None:
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(module._EXTRAS) == set(extras) - {"dev"}
    for extra, (package, _) in module._EXTRAS.items():
        assert any(re.match(rf"{package}\b", needed) for needed in extras[extra]), extra


def test_extras_that_are_missing_come_with_what_they_are_for(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(module, "_find_version", lambda package: "2.1" if package == "starlette" else "")
    monkeypatch.setenv("COLUMNS", "120")
    there, missing = of("Extras")
    assert (there.state, there.text) == ("good", "web (starlette 2.1)")
    assert "mqtt is not installed; needed only for 'posestream bridge mqtt://…'" in missing.text.splitlines()
    assert missing.remedy == "in a clone of posestream: pip install '.[NAME,…]'"
    assert execute(["doctor"]) in (0, 1)
    assert len(capsys.readouterr().out.splitlines()) <= 40


def test_a_missing_library_of_opencv_comes_with_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    (result,) = of("Pictures")
    assert result.state == "bad"
    assert "libGL.so.1" in result.text
    assert "libgl1" in result.remedy
    assert "opencv-python-headless" in result.remedy


def test_too_little_shared_memory_comes_with_how_much_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    if not module._SHM.is_dir():
        pytest.skip("this system has no /dev/shm")
    monkeypatch.setattr(module, "NEEDED_SHM_MIB", 10.0**9)
    result = of("Shared memory")[0]
    assert result.state == "note"
    assert "1000000000 MiB" in result.remedy


def test_a_camera_without_permission_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/video7")]))
    monkeypatch.setattr("os.access", lambda *_: False)
    (result,) = of("Cameras")
    assert (result.state, result.text) == ("bad", "/dev/video7")
    assert "usermod" in result.remedy


def test_a_check_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(topic: str) -> Iterator[Result]:
        raise RuntimeError("no idea")
        yield Result(topic, "good", "")

    monkeypatch.setattr(module, "CHECKS", (("Odd", broken), *module.CHECKS[:1]))
    first, second = run_checks()
    assert (first.state, first.text) == ("note", "could not be checked: RuntimeError: no idea")
    assert second.topic == "Python"
