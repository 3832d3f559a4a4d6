"""Hosts made of network namespaces, joined by a bridge that reaches nothing outside; for root on Linux."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_NETWORK = "10.99.0"


def why_not() -> str:
    """Why there can be no such hosts here; empty where there can."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    name = f"probe{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode != 0:
        return "network namespaces are not allowed here"
    _run("ip", "netns", "del", name)
    return ""


class Namespaces:
    """So many hosts; a context manager. The first one has the bridge, so its cable cannot be pulled."""

    def __init__(self, count: int) -> None:
        self.names = [f"ps{os.getpid()}h{index}" for index in range(count)]
        self._started: list[subprocess.Popen[bytes]] = []
        self.addresses = [f"{_NETWORK}.{index + 1}" for index in range(count)]

    def __enter__(self) -> Self:
        first = self.names[0]
        for name in self.names:
            _run("ip", "netns", "add", name)
            self.execute(name, "ip", "link", "set", "lo", "up")
        self.execute(first, "ip", "link", "add", "br0", "type", "bridge")
        self.execute(first, "ip", "addr", "add", f"{self.addresses[0]}/24", "dev", "br0")
        self.execute(first, "ip", "link", "set", "br0", "up")
        for index, name in enumerate(self.names[1:], 1):
            _run(
                "ip", "link", "add", f"v{index}", "netns", first, "type", "veth", "peer", "name", "eth0", "netns", name
            )
            self.execute(first, "ip", "link", "set", f"v{index}", "master", "br0", "up")
            self.execute(name, "ip", "addr", "add", f"{self.addresses[index]}/24", "dev", "eth0")
            self.execute(name, "ip", "link", "set", "eth0", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for index, name in enumerate(self.names):
            self.power_off(index)
            _run("ip", "netns", "del", name)
        for process in self._started:
            process.wait()

    def start(
        self, index: int, command: Sequence[str | Path], log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a program on a host; what it prints is added to ``log``."""
        with log.open("ab") as output:
            started = subprocess.Popen(
                ["ip", "netns", "exec", self.names[index], *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=os.environ | environment,
                start_new_session=True,
            )
        self._started.append(started)
        return started

    def power_off(self, index: int) -> None:
        """Kill every process of a host at once."""
        found = subprocess.run(["ip", "netns", "pids", self.names[index]], check=False, capture_output=True, text=True)
        pids = [int(pid) for pid in found.stdout.split()]
        for number in (signal.SIGSTOP, signal.SIGKILL):  # none sees the others end
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        for process in self._started:
            process.poll()  # which forgets those that have ended

    def set_cable(self, index: int, *, is_plugged: bool) -> None:
        """Pull the cable of a host, or plug it in."""
        self.execute(self.names[0], "ip", "link", "set", f"v{index}", "up" if is_plugged else "down")

    def execute(self, name: str, *command: str) -> None:
        """Run a program on a host to its end. Raises :class:`RuntimeError` if it fails."""
        _run("ip", "netns", "exec", name, *command)


def _run(*command: str) -> None:
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {found.stderr.strip()}")
