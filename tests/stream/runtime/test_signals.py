"""Signals that ask a line in one process to end."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from stream.runtime.signals import raising_interrupts

_FIRST = """
import os, signal, sys, time
from stream.runtime.signals import raising_interrupts
number = int(sys.argv[1])
before = signal.getsignal(number)
try:
    with raising_interrupts():
        os.kill(os.getpid(), number)
        time.sleep(5)
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(number) == before)
"""

_DROPPED = """
import signal, time
from stream.runtime.signals import raising_interrupts
class Dropped:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
began_s = time.monotonic()
try:
    with raising_interrupts():
        Dropped()
        time.sleep(5)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began_s < 4)
"""


_IN_THE_HOOK = """
import signal, sys, time
from stream.runtime.signals import raising_interrupts
sys.unraisablehook = lambda dropped: signal.raise_signal(signal.SIGINT)
class Broken:
    def __del__(self):
        raise ValueError
class Dropped:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
began_s = time.monotonic()
try:
    with raising_interrupts():
        Broken()
        time.sleep(5)
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - began_s < 4)
with raising_interrupts():
    Dropped()
time.sleep(0.2)
print("no signal after the end")
"""


def run(script: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process of its own: a signal too many would end the tests."""
    command = [sys.executable, "-P", "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises_an_interrupt(number: signal.Signals) -> None:
    assert run(_FIRST, str(int(number))) == (0, "interrupted True\n", "")


def test_an_interrupt_that_python_drops_is_raised_again() -> None:
    assert run(_DROPPED) == (0, "interrupted True\n", "")


def test_an_interrupt_during_what_python_drops_is_raised_after_it_and_none_comes_after_the_end() -> None:
    assert run(_IN_THE_HOOK) == (0, "interrupted True\nno signal after the end\n", "")


def test_what_else_python_drops_is_shown_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise ValueError("broken")

    shown: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: shown.append(dropped.exc_type))
    with raising_interrupts():
        Broken()
    assert shown == [ValueError]


_STUBBORN = """
import os, signal, sys, time
from stream.runtime.signals import raising_interrupts
with raising_interrupts():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    finally:
        print("closing", flush=True)
        try:
            os.kill(os.getpid(), int(sys.argv[1]))
            time.sleep(5)
        except BaseException:
            print("swallowed", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_whatever_it_does(number: signal.Signals) -> None:
    assert run(_STUBBORN, str(int(number)))[:2] == (-number, "closing\n")
