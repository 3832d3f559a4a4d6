"""The programs of a session: RTSP servers, Mosquitto, Prometheus, and posestream's commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_START_S = 60.0
_END_S = 60.0
_MOSQUITTO = "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
_PROMETHEUS = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs: [{{job_name: posestream, static_configs: [{{targets: ["{target}"]}}]}}]
"""
_RULES = Path(__file__).resolve().parents[2] / "docs" / "metrics" / "alerts.yml"


def find_program(name: str) -> str | None:
    """The path of a program, which Debian may keep where only root's PATH looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(is_so: Callable[[], object], what: str, timeout_s: float = _START_S) -> None:
    """Wait for a condition. Raises :class:`RuntimeError`, which says ``what`` has not happened."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.05)


class Program:
    """A process whose output goes to a file; it is killed at the end of the session if it has not ended by then."""

    def __init__(self, name: str, command: Sequence[str | Path], folder: Path) -> None:
        self.name, self._command, self._log = name, [str(word) for word in command], folder / f"{name}.log"
        self._is_stopped = False
        self.start()

    def start(self) -> None:
        """Start it, again if it has ended."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # as services are, and so that Linux gives each its share of the processor
            )
        self._is_stopped = False

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> str:
        """Wait until it prints what the regular expression finds, and return that."""

        def look() -> re.Match[str] | None:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} has ended: {self.output.strip()[-500:]}")
            return re.search(pattern, self.output)

        wait_until(look, f"{self.name} prints {pattern!r}")
        found = re.search(pattern, self.output)
        assert found is not None
        return found[0]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end; once, since a second signal is more than a request."""
        if self.process.poll() is None and not self._is_stopped:
            self._is_stopped = True
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()

    def end(self) -> int:
        """Ask it to end, and return its exit status; -9 if it had to be killed."""
        self.stop()
        try:
            return self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.process.returncode


class Programs:
    """Starts programs in ``folder``; a context manager that ends them, the last one first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()

    def start(self, name: str, *command: str | Path) -> Program:
        """Start any program."""
        program = Program(name, command, self.folder)
        self._stack.callback(program.end)
        return program

    def posestream(self, name: str, *words: str | Path) -> Program:
        """Start a command of posestream."""
        return self.start(name, sys.executable, "-m", "posestream", *words)

    def rtsp_server(self, name: str, python: str, script: Path, clip: Path) -> str:
        """Start a server that loops a clip; its address, at which it is soon."""
        port = free_port()
        self.start(name, python, script, clip, "--port", str(port))
        return f"rtsp://127.0.0.1:{port}/test"

    def mosquitto(self, program: str) -> tuple[Program, int]:
        """Start a broker; it, and its port."""
        port = free_port()
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(_MOSQUITTO.format(port=port))
        return self.start("mosquitto", program, "-c", configuration), port

    def prometheus(self, program: str, target: str) -> str:
        """Start Prometheus with the alert rules of docs/, scraping ``target`` every second; its address, at which it is
        soon."""
        address = f"127.0.0.1:{free_port()}"
        configuration = self.folder / "prometheus.yml"
        configuration.write_text(_PROMETHEUS.format(rules=_RULES, target=target))
        store = self.folder / "prometheus"
        flags = (f"--config.file={configuration}", f"--storage.tsdb.path={store}", f"--web.listen-address={address}")
        self.start("prometheus", program, *flags)
        return f"http://{address}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class Site:
    """``posestream serve`` as a program, and its REST interface."""

    def __init__(self, programs: Programs, line: Path) -> None:
        self.program = programs.posestream("serve", "-v", "serve", line, "--listen", "127.0.0.1:0")
        self.address = self.program.wait_for(r"http://[\d.:]+")
        self.token = line.with_suffix(".d").joinpath("token").read_text().strip()

    def ask(self, path: str, method: str = "GET", content: object = None) -> Any:
        """The answer to a request. Raises :class:`OSError` for one that fails."""
        data = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.address}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=_START_S) as answer:
            return json.load(answer)

    def state(self, camera: str) -> str:
        """The state of a camera; empty where the site does not have it."""
        return next((one["state"] for one in self.ask("/api/cameras") if one["name"] == camera), "")

    def publishes_on(self, camera: str) -> str:
        """The address at which a camera publishes."""
        wait_until(lambda: self.state(camera), f"the site has camera {camera}")
        return next(str(one["address"]) for one in self.ask("/api/cameras") if one["name"] == camera)


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers: a list of labels and values."""
    words = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{words}", timeout=_START_S) as answer:
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result


def own_run_directories(folder: Path) -> None:
    """Let the lines that are started from now on have their run directories in ``folder``."""
    folder.mkdir(mode=0o700)
    os.environ["POSESTREAM_RUN_DIR"] = str(folder)
