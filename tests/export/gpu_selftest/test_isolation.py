"""Steps in processes of their own, whatever becomes of these."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export.gpu_selftest.chain import Step
from export.gpu_selftest.isolation import run_isolated
from export.gpu_selftest.results import Result, Work

TOYS = "tests.export.gpu_selftest.toys"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path) -> Work:
    monkeypatch.syspath_prepend(str(root))
    return Work(tmp_path, "network")


def tried(work: Work, name: str, limit_s: float = 60, **options: str) -> Result:
    return run_isolated(Step(name, name.title(), f"{TOYS}:{name}", options=options), work, limit_s)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_step_that_passes_tells_its_line_and_its_figures(work: Work) -> None:
    result = tried(work, "good", result="very\nwell")
    assert (result.state, result.message, result.figures, result.log) == ("ok", "very well", {"network": "network"}, "")
    assert result.seconds > 0


SEND_US = "attach the report to an issue"
ENDINGS = {
    "absent": ("not run", "no flux capacitor is here", "buy one"),
    "wrong": ("failed", "2 + 2 is 5", "count again"),
    "refused": ("failed", "the file is damaged; export it again", ""),
    "bug": ("failed", "ZeroDivisionError: division by zero", SEND_US),
    "crash": ("failed", "its process was ended by SIGSEGV; last output: about to crash", SEND_US),
    "leave": ("failed", "its process exited with 7 and without a result", SEND_US),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_end_of_a_step_is_one_line_with_a_remedy(work: Work, name: str) -> None:
    result = tried(work, name)
    assert (result.state, result.message, result.remedy) == ENDINGS[name]


def test_what_a_failed_step_printed_is_kept_for_the_report(work: Work) -> None:
    result = tried(work, "bug")
    assert "Traceback" in result.log
    assert "toys.py" in result.log
    assert tried(work, "wrong").figures == {"sum": 5}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_step_that_hangs_is_ended_at_the_limit_with_all_that_it_started(work: Work) -> None:
    result = tried(work, "hang", limit_s=3)
    assert (result.state, result.message) == ("failed", "not finished after 3 s")
    assert "--limit" in result.remedy
    # Killed; when the system removes a killed process is up to the system.
    assert all(map(wait_until_gone, pids(work.folder)))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_a_step_ends_with_who_waits_for_it(work: Work, root: Path, how: signal.Signals) -> None:
    # A parent that is killed can end nothing; its step then leaves by itself, though not what that had started.
    # Tests that run in the background of a shell inherit that Ctrl-C is ignored; at a terminal it is not.
    script = (
        f"import signal, sys; sys.path.insert(0, {str(root)!r})\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from export.gpu_selftest.isolation import run_isolated\n"
        "from export.gpu_selftest.chain import Step; from export.gpu_selftest.results import Work\n"
        f"run_isolated(Step('hang', 'Hang', '{TOYS}:hang'), Work(Path(sys.argv[1]), ''), 60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(work.folder)], cwd=root, stderr=subprocess.DEVNULL, start_new_session=True
    )
    step, other = wait_for_pids(work.folder)
    parent.send_signal(how)
    parent.wait(60)
    try:
        assert wait_until_gone(step)
        if how == signal.SIGINT:
            assert wait_until_gone(other)
    finally:
        if is_alive(other):
            os.kill(other, signal.SIGKILL)


def pids(folder: Path) -> list[int]:
    return [int(word) for word in (folder / "pids").read_text().split()]


def wait_for_pids(folder: Path) -> list[int]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if (folder / "pids").is_file() and len(found := pids(folder)) == 2:
            return found
        time.sleep(0.05)
    pytest.fail("the step did not begin within 30 s")


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)
