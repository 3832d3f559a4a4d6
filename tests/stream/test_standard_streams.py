"""The command where stdin, stdout or stderr is closed, or its disk is full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_FULL = Path("/dev/full")
# What a part of a line meets: a child with pipes, that uses the three streams of the command.
_STREAMS = """
import os, subprocess, sys
from stream.__main__ import _open_closed_streams
_open_closed_streams()
code = "import os, sys; [os.fstat(number) for number in range(3)]; os.write(2, sys.stdin.buffer.read())"
done = subprocess.run([sys.executable, "-c", code], input=b"whole", stderr=subprocess.PIPE)
sys.stdin.read()
open(sys.argv[1], "wb").write(done.stderr)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_take_the_pipe_of_a_part(tmp_path: Path, closed: str) -> None:
    command = f'exec "$0" -c "$1" "$2" {closed}'
    subprocess.run(["/bin/sh", "-c", command, sys.executable, _STREAMS, tmp_path / "said"], check=True)
    assert (tmp_path / "said").read_bytes() == b"whole"


@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        (">&-", "Bad file descriptor"),
        pytest.param(
            ">/dev/full", "No space left on device", marks=pytest.mark.skipif(not _FULL.exists(), reason="no /dev/full")
        ),
    ],
)
def test_what_cannot_be_printed_is_one_line_and_an_exit_code(redirection: str, reason: str) -> None:
    command = f'exec "$0" -m posestream --version {redirection}'
    done = subprocess.run(["/bin/sh", "-c", command, sys.executable], stderr=subprocess.PIPE, text=True, check=False)
    expected = f"posestream: cannot write to stdout: {reason}; redirect it to where there is room\n"
    assert (done.stderr, done.returncode) == (expected, 1)


def test_a_working_directory_that_was_removed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = 'cd gone && rmdir ../gone && exec "$0" -P -m stream validate "testsrc ! fakesink"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        1,
        "posestream: the working directory was removed; go to another one and run the command again\n",
    )


@pytest.mark.parametrize("limit", [16, 79])
def test_too_few_descriptors_are_one_line_with_the_remedy(limit: int) -> None:
    command = f'ulimit -n {limit}; exec "$0" -P -m stream launch "testsrc num_frames=3 ! queue ! fakesink"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True, check=False, timeout=60
    )
    expected = (
        f"posestream: the limit of open files of a process is {limit}, and a line of 2 parts needs 80; raise it, as "
        "with 'ulimit -n 1024'\n"
    )
    assert (done.stderr, done.returncode) == (expected, 1)


def test_a_low_limit_of_descriptors_that_may_be_raised_is_raised() -> None:
    command = 'ulimit -S -n 24; exec "$0" -P -m stream launch "testsrc num_frames=3 ! queue ! fakesink"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_failure_for_want_of_descriptors_has_the_remedy_of_that(tmp_path: Path) -> None:
    program = (
        "import resource, stream.__main__ as m; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); "
        f"m.sys.exit(m.execute(['keygen', {str(tmp_path / 'keys')!r}]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ulimit -n 1024" in done.stderr.splitlines()[-1]
