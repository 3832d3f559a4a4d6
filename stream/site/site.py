"""Runs the lines of a site: what the folder of cameras says is started, what it no longer says is drained."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

from engines.redaction import redact
from stream import wording
from stream.errors import PosestreamError, TransportError
from stream.pipeline.launch import parse_yaml
from stream.pipeline.pipeline import Pipeline
from stream.runtime.bus import Qos
from stream.runtime.private_files import take_lock
from stream.runtime.process import OnStderr
from stream.runtime.run_dir import base_directory, make_private
from stream.runtime.shared_process import SharedProcesses
from stream.runtime.supervisor import Supervisor
from stream.site.folder import CameraFolder, CameraSettings
from stream.site.reload import plan_reload
from stream.site.template import Properties, Template

_log = logging.getLogger(__name__)

_DRAIN_S = 20.0
"""How long a camera may take to deliver what is in flight; then it is killed."""

_CLOSE_S = 10.0
"""The same for all cameras where the site ends."""

_FIRST_RETRY_S, _MOST_RETRY_S = 2.0, 60.0
_REPORT_S = 1.0
"""How long the last notices of a line that has ended are waited for."""

_STEADY_S = 60.0
"""A line that ran for so long has not failed at its start."""


class RunningLine(Protocol):
    """What a site needs of a :class:`Supervisor`."""

    def play(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def wait(self, timeout_s: float | None = None) -> bool: ...


StartLine = Callable[[Pipeline, Path, OnStderr], RunningLine]


State = Literal["running", "paused", "draining", "ended", "failed"]


@dataclass(frozen=True)
class CameraReport:
    """What is known of a camera: its ``state``, ``why`` it failed, where it publishes, its run directory, and its
    properties without passwords."""

    name: str
    state: State
    why: str
    address: str
    run_dir: Path
    properties: tuple[tuple[str, str], ...]


@dataclass
class _Camera:
    name: str
    read: CameraSettings | None = None
    """What its file says."""
    wanted: CameraSettings | None = None
    """What its file said last that can run."""
    line: RunningLine | None = None
    runs: CameraSettings | None = None
    started_s: float = 0.0
    drained_s: float | None = None
    """Since when it drains."""
    is_killed: bool = False
    has_ended: bool = False
    is_outdated: bool = False
    """Its line was started before the line of the site has changed."""
    why: str = ""
    failures: int = 0
    retry_s: float = 0.0

    @property
    def is_wanted(self) -> bool:
        return self.wanted is not None and not self.wanted.paused and not self.wanted.fault


class Site:
    """The lines of the cameras in ``folder``, each a copy of ``template``; call :meth:`turn` often. With
    ``sources_per_process`` in the template, the sources of all lines share processes.

    A camera is started, drained or started again only if its own file changed; one whose line fails is tried again,
    after a while. What a file says that cannot run changes nothing. Lines publish in a folder of this user,
    :attr:`CameraReport.address`. Raises :class:`TransportError` if another site has the folder.
    """

    def __init__(
        self,
        template: Template,
        folder: CameraFolder,
        *,
        on_stderr: Callable[[str], None],
        start: StartLine | None = None,
    ) -> None:
        self._template, self._folder, self._on_stderr = template, folder, on_stderr
        self._shared = SharedProcesses(lambda name, line: on_stderr(f"{name}: {line}"))
        self._start = start or partial(_Line, shared=self._shared)
        self._cameras: dict[str, _Camera] = {}
        self._line = template.text
        self._lock = take_lock(folder.path)
        if self._lock is None:
            raise TransportError(f"a site has the cameras in {folder.path} already; end it, or choose other --cameras")
        self._base = base_directory()
        # The same at every start, and another for every folder; short, since paths of sockets are.
        place = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:6]
        self._prefix = f"{Path(template.name).stem[:12]}-{place}"
        folder.write_line(self._line)
        make_private(self._base)
        self._sockets = make_private(self._base / f"{self._prefix}.pub")
        self.reports: tuple[CameraReport, ...] = ()
        """Of all cameras, as of the last turn; any thread may read it."""
        self.killed: list[str] = []
        """The cameras whose lines did not drain in time."""

    # -- what users change; from any thread --------------------------------------------------------------------------

    def add(self, name: str, properties: Properties) -> None:
        """Add a camera, if its line can run. Raises :class:`PosestreamError`, and has then changed nothing."""
        self._folder.add(name, properties, lambda: self._build(name, properties))

    def remove(self, name: str) -> None:
        """Remove a camera; what is in flight is still delivered."""
        self._folder.remove(name)

    def pause(self, name: str, is_paused: bool) -> None:
        """End the line of a camera and keep the camera, or start it again."""
        self._folder.pause(name, is_paused)

    # -- one thread ----------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Do what the folder says, and see to lines that have ended. Does not wait."""
        wanted = self._folder.read()
        self._follow_line(wanted)
        for name in sorted(wanted.keys() - self._cameras.keys()):
            self._cameras[name] = _Camera(name)
        for camera in list(self._cameras.values()):
            self._accept(camera, wanted.get(camera.name))
            self._step(camera)
            if camera.line is None and camera.wanted is None:
                del self._cameras[camera.name]
        self.reports = tuple(self._report(camera) for _, camera in sorted(self._cameras.items()))

    def close(self, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Drain all lines, and kill those that take too long; all of them once it ``is_urgent``."""
        until_s = time.monotonic() + _CLOSE_S
        for camera in self._cameras.values():
            camera.wanted = None
            self._step(camera)
        while any(camera.line for camera in self._cameras.values()):
            for camera in self._cameras.values():
                if camera.line is not None and is_urgent():
                    self._kill(camera, camera.line, "was asked to end twice")
                elif camera.line is not None and time.monotonic() > until_s:
                    self._kill(camera, camera.line, f"has not ended within {_CLOSE_S:g} s")
                self._step(camera)
            time.sleep(0.02)
        self._shared.close()
        with contextlib.suppress(OSError):
            self._sockets.rmdir()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _follow_line(self, wanted: Mapping[str, CameraSettings]) -> None:
        """Run another line if the folder has one that every camera can run."""
        text = self._folder.read_line()
        if text in ("", self._line):
            return
        self._line = text
        try:
            template = Template(parse_yaml(text, place=self._template.name), self._template.name)
            plan = plan_reload(self._template, template, wanted)
        except PosestreamError as error:
            self._on_stderr(f"{self._template.name} is not loaded again: {error}")
            return
        for line in str(plan).splitlines():
            self._on_stderr(f"{self._template.name}: {line}")
        self._template = template
        for camera in self._cameras.values():
            camera.is_outdated = camera.line is not None and camera.name in plan.restarted

    def _accept(self, camera: _Camera, changed: CameraSettings | None) -> None:
        """Want what the file says, unless the line runs and what it says cannot."""
        if changed == camera.read:
            return
        camera.read, camera.why = changed, ""
        if changed is not None and camera.line is not None:
            camera.why = self._find_fault(camera.name, changed)
            if camera.why:
                return
        camera.wanted, camera.has_ended, camera.failures, camera.retry_s = changed, False, 0, 0.0
        camera.why = changed.fault if changed else ""

    def _find_fault(self, name: str, settings: CameraSettings) -> str:
        if settings.fault or settings.paused:
            return settings.fault
        try:
            self._build(name, dict(settings.properties))
        except PosestreamError as error:
            return str(error)
        return ""

    def _step(self, camera: _Camera) -> None:
        now_s = time.monotonic()
        if camera.line is not None:
            self._check_end(camera, camera.line, now_s)
        is_old = camera.is_outdated or camera.runs != camera.wanted
        if camera.line is not None and (is_old or camera.drained_s is not None):
            self._drain(camera, camera.line, now_s)
        elif camera.line is None and camera.is_wanted and not camera.has_ended and now_s >= camera.retry_s:
            self._begin(camera, now_s)

    def _check_end(self, camera: _Camera, line: RunningLine, now_s: float) -> None:
        try:
            if not line.wait(0):
                return
            _log.info("%s: its line has ended", camera.name)
            camera.has_ended = camera.drained_s is None
        except PosestreamError as error:
            if camera.drained_s is not None:
                self._on_stderr(f"{camera.name}: {error}")
            else:
                if now_s - camera.started_s > _STEADY_S:
                    camera.failures = 0
                self._fail(camera, error, now_s)
        camera.line = camera.drained_s = None
        camera.is_killed = camera.is_outdated = False
        self._socket(camera.name).unlink(missing_ok=True)  # which a sink that was killed leaves

    def _drain(self, camera: _Camera, line: RunningLine, now_s: float) -> None:
        if camera.drained_s is None:
            camera.drained_s = now_s
            _log.info("%s: its line delivers what is in flight, and ends", camera.name)
            line.stop()
        elif now_s - camera.drained_s > _DRAIN_S:
            self._kill(camera, line, f"has not ended within {_DRAIN_S:g} s")

    def _kill(self, camera: _Camera, line: RunningLine, why: str) -> None:
        if not camera.is_killed:
            camera.is_killed = True
            self.killed.append(camera.name)
            self._on_stderr(f"{camera.name}: its line {why}; it is killed and loses what was in flight")
            line.kill()

    def _begin(self, camera: _Camera, now_s: float) -> None:
        assert camera.wanted is not None
        camera.runs, camera.started_s, camera.why = camera.wanted, now_s, ""
        try:
            pipeline = self._build(camera.name, dict(camera.wanted.properties))
            camera.line = self._start(
                pipeline, self._run_dir(camera.name), lambda part, line: self._print(camera.name, part, line)
            )
            camera.line.play()
            _log.info("%s: its line is started in %s", camera.name, self._run_dir(camera.name))
        except PosestreamError as error:
            camera.line = None
            self._fail(camera, error, now_s)

    def _fail(self, camera: _Camera, error: PosestreamError, now_s: float) -> None:
        wait_s = min(_MOST_RETRY_S, _FIRST_RETRY_S * 2**camera.failures)
        camera.failures, camera.retry_s, camera.why = camera.failures + 1, now_s + wait_s, str(error)
        self._on_stderr(f"{camera.name}: {error}; tried again in {wait_s:g} s")

    def _print(self, camera: str, part: str, line: str) -> None:
        self._on_stderr(line if line.startswith(f"{camera}:") else f"{camera}: {part}: {line}")

    def _build(self, name: str, properties: Properties) -> Pipeline:
        return self._template.build(name, properties, self._address(name))

    def _address(self, name: str) -> str:
        return f"ipc://{self._socket(name)}"

    def _socket(self, name: str) -> Path:
        return self._sockets / f"{name}.sock"

    def _run_dir(self, name: str) -> Path:
        return self._base / f"{self._prefix}-{name}"

    def _report(self, camera: _Camera) -> CameraReport:
        properties = camera.wanted.properties if camera.wanted else ()
        return CameraReport(
            camera.name,
            _state(camera),
            camera.why,
            self._address(camera.name),
            self._run_dir(camera.name),
            tuple((redact(name), redact(value)) for name, value in properties),
        )


def _state(camera: _Camera) -> State:
    if camera.line is not None:
        return "draining" if camera.drained_s is not None else "running"
    if camera.wanted is not None and camera.wanted.paused:
        return "paused"
    return "ended" if camera.has_ended else "failed"


class _Line(Supervisor):
    """A line that says at its end what its parts dropped, and why."""

    def __init__(self, pipeline: Pipeline, run_dir: Path, on_stderr: OnStderr, *, shared: SharedProcesses) -> None:
        super().__init__(pipeline, run_dir, on_stderr=on_stderr, shared=shared)
        self._print = on_stderr
        self._reporter = threading.Thread(target=self._report_drops, name="drops", daemon=True)

    def play(self) -> None:
        super().play()
        self._reporter.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        has_ended = True  # also where it raises
        try:
            has_ended = super().wait(timeout_s)
        finally:
            if has_ended and self._reporter.is_alive():
                self._reporter.join(_REPORT_S)
        return has_ended

    def _report_drops(self) -> None:
        totals: dict[tuple[str, str], int] = {}
        for notice in self.messages():
            if isinstance(notice, Qos):
                totals[notice.part, notice.reason] = notice.total
        for (part, reason), total in totals.items():
            self._print(part, f"{wording.count(total, 'frame')} dropped ({reason})")
