"""A lane: the lines of some cameras of a site on one host. Knows nothing of the others, nor of what starts it."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stream.cluster.settings import Settings, publishing
from stream.pipeline.launch import parse_yaml
from stream.pipeline.pipeline import Pipeline
from stream.runtime.process import OnStderr
from stream.runtime.run_dir import base_directory, make_private
from stream.runtime.shared_process import SharedProcesses
from stream.runtime.supervisor import Supervisor
from stream.site.folder import CameraFolder, CameraSettings
from stream.site.site import Site, State
from stream.site.template import Properties, Template

_TURN_S = 0.1
_NUMBER = "@placement"
"""The key under which the properties of a camera hold its number: a camera with another number is another line."""


@dataclass(frozen=True)
class Assignment:
    """A camera as it is given to a lane: the ``number`` of its placement, and the ``properties`` of its source."""

    number: int
    properties: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CameraState:
    """A camera as its lane has it; ``why`` it failed, and where it publishes. ``is_settled``: it is past its start."""

    number: int
    state: State
    why: str = ""
    address: str = ""
    is_settled: bool = False
    fps: float = 0.0
    age_p95_ms: float | None = None
    dropped: int = 0


@dataclass(frozen=True)
class Report:
    """The answer of a lane to its orders of a ``turn``: the cameras that it has, with those that still drain."""

    turn: int
    cameras: Mapping[str, CameraState]


class Lane:
    """Runs the cameras that :meth:`follow` gives it, each in a line as ``line`` (YAML) has it, until :meth:`close`.

    ``place`` is what messages call the line, ``host`` the address of this host. Raises :class:`PosestreamError` where
    copies of the line could not run side by side.
    """

    def __init__(self, number: int, line: str, place: str, settings: Settings, host: str) -> None:
        self._lines: dict[str, Supervisor] = {}
        self._shared = SharedProcesses(lambda name, text: _print(f"{name}: {text}"))
        self._template = _LaneTemplate(line, place, settings, host)
        self._folder = _Assigned(make_private(base_directory()) / f"lane-{number}")
        self._site = Site(self._template, self._folder, on_stderr=_print, start=self._start)
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)
        self._thread.start()

    def follow(self, turn: int, cameras: Mapping[str, Assignment]) -> Report:
        """Start the cameras that are new, and drain those that are not among ``cameras`` any more. Does not wait."""
        with self._lock:
            self._folder.assign(cameras)
            self._site.turn()
            return Report(turn, {report.name: self._describe(report.name) for report in self._site.reports})

    def close(self) -> None:
        """Drain all cameras, and kill those that take too long."""
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        self._thread.join()
        self._site.close()
        self._shared.close()
        with contextlib.suppress(OSError):
            self._folder.path.rmdir()

    def _run(self) -> None:
        while not self._is_closed.wait(_TURN_S):
            with self._lock:
                self._site.turn()

    def _start(self, pipeline: Pipeline, run_dir: Path, on_stderr: OnStderr) -> Supervisor:
        line = Supervisor(pipeline, run_dir, on_stderr=on_stderr, shared=self._shared)
        self._lines[pipeline.cameras[0]] = line
        return line

    def _describe(self, camera: str) -> CameraState:
        report = next(report for report in self._site.reports if report.name == camera)
        number, address = self._template.published.get(camera, (0, ""))
        if report.state not in ("running", "draining"):
            return CameraState(number, report.state, report.why, address, is_settled=True)
        line = self._lines[camera]
        parts = [part for part in line.statistics.values() if part.items]
        return CameraState(
            number,
            report.state,
            report.why,
            address,
            is_settled=line.state == "PLAYING",
            fps=min((part.fps for part in parts), default=0.0),
            age_p95_ms=max((part.age_p95_ms for part in parts), default=None),
            dropped=sum(part.dropped for part in parts),
        )


class _Assigned(CameraFolder):
    """The cameras that a lane was given. They are in memory alone, since addresses may hold passwords; the folder is
    there for its lock."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._assigned: dict[str, CameraSettings] = {}

    def assign(self, cameras: Mapping[str, Assignment]) -> None:
        self._assigned = {
            name: CameraSettings((*given.properties, (_NUMBER, str(given.number)))) for name, given in cameras.items()
        }

    def read(self) -> dict[str, CameraSettings]:
        return dict(self._assigned)

    def read_line(self) -> str:
        return ""

    def write_line(self, text: str) -> None:
        """It is not kept: a lane has one line for as long as it runs."""


class _LaneTemplate(Template):
    """A template whose copies publish beyond this host, with the number of their placement."""

    def __init__(self, line: str, place: str, settings: Settings, host: str) -> None:
        super().__init__(parse_yaml(line, place=place), place)
        self._settings, self._host = settings, host
        self.published: dict[str, tuple[int, str]] = {}
        """The number of each camera, and where it publishes."""

    def build(
        self, camera: str, properties: Properties, bind: str, publish: Mapping[str, object] | None = None
    ) -> Pipeline:
        own = dict(properties)
        number = int(own.pop(_NUMBER, 0))
        address = self._settings.relay or f"tcp://{self._host}:{_find_free_port(self._host)}"
        publish = publishing(self._settings, address, number)
        self.published[camera] = number, address
        return super().build(camera, own, bind, publish)


def _find_free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
