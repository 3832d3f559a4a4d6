"""What the doctor says of a machine that is well, and of one that is not."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.__main__ import execute
from stream.cli import doctor_checks as module
from stream.cli.doctor_checks import Finding, findings

Capture = pytest.CaptureFixture[str]


def of(topic: str) -> list[Finding]:
    return [finding for finding in findings() if finding.topic == topic]


def test_a_machine_that_runs_the_tests_lacks_nothing_it_cannot_do_without(capsys: Capture) -> None:
    bad = [finding for finding in findings() if finding.state == "bad"]
    assert execute(["doctor"]) == (1 if bad else 0)
    told = capsys.readouterr().out
    for topic, _ in module.QUESTIONS:
        assert topic in told
    assert {finding.topic for finding in bad} <= {"Cameras"}


def test_the_page_fits_a_screen(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    execute(["doctor"])
    # 40 lines are a usual terminal; a machine with many cameras or GPUs may take more.
    assert len(capsys.readouterr().out.splitlines()) <= 40


def test_everything_that_is_missing_comes_with_a_remedy() -> None:
    for finding in findings():
        if finding.state != "good" and "segments" not in finding.text:
            assert finding.remedy, finding


def test_a_missing_library_of_opencv_is_told_with_both_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    (finding,) = of("Pictures")
    assert finding.state == "bad"
    assert "libGL.so.1" in finding.text
    assert "libgl1" in finding.remedy
    assert "opencv-python-headless" in finding.remedy


def test_too_little_shared_memory_is_told_with_how_much_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    if not module._SHM.is_dir():
        pytest.skip("this system has no /dev/shm")
    monkeypatch.setattr(module, "WANTED_SHM_MIB", 10.0**9)
    finding = of("Shared memory")[0]
    assert finding.state == "note"
    assert "1000000000 MiB" in finding.remedy


def test_a_camera_one_may_not_open_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/video7")]))
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    (finding,) = of("Cameras")
    assert (finding.state, finding.text) == ("bad", "/dev/video7")
    assert "usermod" in finding.remedy


def test_a_question_that_fails_does_not_keep_the_others_from_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(topic: str) -> Iterator[Finding]:
        raise RuntimeError("no idea")
        yield Finding(topic, "good", "")

    monkeypatch.setattr(module, "QUESTIONS", (("Odd", broken), *module.QUESTIONS[:1]))
    first, second = findings()
    assert (first.state, first.text) == ("note", "could not be found out: RuntimeError: no idea")
    assert second.topic == "Python"
