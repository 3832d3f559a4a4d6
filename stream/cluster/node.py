"""The processes of Ray on this host: the head of a cluster, or a further host, as ``ray start`` runs them."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import psutil

from engines.errors import install_hint
from stream.errors import PartError, TransportError
from stream.runtime.run_dir import base_directory, make_private

NAMESPACE = "posestream"
PORT = 6379

_TUNED = {
    # A host without power is missed after 1.5 s instead of 15, one whose cable was pulled after 5 s instead of 66.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "2000",
}
_STORE_BYTES = 80_000_000
"""Ray's object store, which we do not use: the least that it takes."""

_STAMP = re.compile(r"^\[?\d{4}-\d\d-\d\d [^-\]]*(?:-- |\] )")
"""When and where Ray has logged something: all that is before the message."""

_END_S = 10.0
_AGAIN_S = 2.0
_POLL_S = 0.2


@dataclass(frozen=True)
class Offer:
    """What this host offers, and what it is called; None is what Ray finds."""

    name: str
    address: str = ""
    cpus: int | None = None
    gpus: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def require_ray() -> None:
    """Raise :class:`TransportError` where Ray is not installed."""
    if find_spec("ray") is None:
        raise TransportError(f"a cluster needs ray; {install_hint('ray')}")


def make_environment(token_file: Path) -> dict[str, str]:
    """The variables of every process of Ray, and of its clients: nothing is answered without the token."""
    return {**_TUNED, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file), "RAY_USAGE_STATS_ENABLED": "0"}


def load_engine(token_file: Path) -> ModuleType:
    """Import :mod:`stream.cluster.ray_engine`; Ray reads its variables when it is imported, and never again.

    Raises :class:`TransportError` where Ray is not installed.
    """
    os.environ |= make_environment(token_file)
    try:
        return importlib.import_module("stream.cluster.ray_engine")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise TransportError(f"a cluster needs ray; {install_hint('ray')}") from None


class Node:
    """``ray start`` on this host, until :meth:`close`; what it prints is in ``log``."""

    def __init__(self, arguments: Sequence[str], token_file: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--log-style", "record", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | make_environment(token_file),
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread runs
            )
        self._known: dict[int, psutil.Process] = {}

    @property
    def is_alive(self) -> bool:
        """True while it runs; meanwhile it is noted which processes it has started."""
        if self._process.poll() is not None:
            return False
        try:
            for process in psutil.Process(self._process.pid).children(recursive=True):
                self._known.setdefault(process.pid, process)
        except psutil.Error:
            pass
        return True

    def describe_end(self) -> str:
        """Why it has ended, as its last line says."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        said = [line for line in lines if "Error" in line or "error" in line] or lines
        why = _STAMP.sub("", said[-1]) if said else "it said nothing"
        return f"ray has ended with status {self._process.poll()}: {why}"

    def close(self) -> None:
        """End it, with every process that it has started."""
        is_alive = self.is_alive
        if is_alive:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        left = [process for process in self._known.values() if process.is_running()]
        for process in left:
            _end(process.terminate)
        for process in psutil.wait_procs(left, timeout=_END_S)[1]:
            _end(process.kill)


def _end_with_parent() -> None:
    """Be asked to end when the command that started this process was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _end(action: Callable[[], None]) -> None:
    with contextlib.suppress(psutil.Error):  # it has ended by itself
        action()


def start_head(offer: Offer, port: int, token_file: Path, log: Path) -> Node:
    """Start the head of a cluster."""
    head = ["--head", "--port", str(port), "--include-dashboard=false", "--disable-usage-stats"]
    return Node([*head, *_spell(offer)], token_file, log)


def start_member(offer: Offer, head: str, token_file: Path, log: Path) -> Node:
    """Start a further host of the cluster whose head has this address."""
    return Node(["--address", head, "--disable-usage-stats", *_spell(offer)], token_file, log)


def _spell(offer: Offer) -> list[str]:
    # Ray opens its folder to all, so it is in one that is not; without it a member takes and makes that of the head.
    folder = make_private(base_directory()) / "ray"
    words = ["--node-name", offer.name, "--temp-dir", str(folder)]
    words += ["--object-store-memory", str(_STORE_BYTES), "--include-log-monitor=false"]
    words += ["--node-ip-address", offer.address] if offer.address else []
    words += [] if offer.cpus is None else ["--num-cpus", str(offer.cpus)]
    words += [] if offer.gpus is None else ["--num-gpus", str(offer.gpus)]
    labels = ",".join(f"{key}={value}" for key, value in offer.labels.items())
    return [*words, *(["--labels", labels] if labels else [])]


def stay(start: Callable[[], Node], has_ended: Callable[[], bool], report: Callable[[str], None]) -> None:
    """Run a host until ``has_ended``, and start it again whenever it ends: one that was cut off is given up by the
    head, and has to come back as a new one."""
    while not has_ended():
        node = start()
        try:
            while node.is_alive and not has_ended():
                time.sleep(_POLL_S)
            if not has_ended():
                report(f"{node.describe_end()}; started again")
        finally:
            node.close()
        until_s = time.monotonic() + _AGAIN_S
        while not has_ended() and time.monotonic() < until_s:
            time.sleep(_POLL_S)


def check_alive(node: Node) -> None:
    """Raise :class:`PartError` if a host has ended."""
    if not node.is_alive:
        raise PartError(f"{node.describe_end()}; the rest is in {node.log}")
