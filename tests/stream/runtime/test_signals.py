"""Signals that ask a line in one process to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from stream.runtime.signals import raising_interrupts


def wait_for_interrupt(cause: Callable[[], object]) -> None:
    with raising_interrupts():
        cause()
        time.sleep(5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises_an_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        wait_for_interrupt(lambda: os.kill(os.getpid(), number))
    assert signal.getsignal(number) == before


def test_an_interrupt_that_python_drops_is_raised_again(capfd: pytest.CaptureFixture[str]) -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        wait_for_interrupt(Dropped)
    assert time.monotonic() - began_s < 4
    assert capfd.readouterr().err == ""


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
    command = [sys.executable, "-P", "-c", _STUBBORN, str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-number, "closing\n")
