"""Follows the sites that are deployed, and has the hosts of a cluster run their cameras. Knows no Ray.

What it must not forget is in a folder: the sites, the hosts that are drained, and the last number of a placement.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import msgspec

from engines.formats.json import NOT_JSON
from engines.redaction import redact
from stream.cluster.assignment import Host, Needs
from stream.cluster.fleet import Fleet, Give, Order, Run, Seen, Start, Stop, Take, Wanted
from stream.cluster.lane import Assignment, Report
from stream.cluster.numbering import Numbering
from stream.cluster.scaling import Observation, choose_lanes
from stream.cluster.settings import Settings
from stream.errors import PropertyError, TransportError
from stream.runtime.private_files import read_own, write
from stream.site.folder import CameraFolder, CameraSettings

_log = logging.getLogger(__name__)

_OBSERVE_S = 1.0
_OF_LANES = ("cpus", "gpus", "labels", "relay", "relay_key", "keys", "clients")
"""The settings that concern a lane; the others say how many there are."""


class Deployment(msgspec.Struct, frozen=True):
    """A site that is deployed: its ``line`` as YAML, from the file ``place``, its folder of ``cameras``, its
    ``settings``."""

    line: str
    place: str
    cameras: str
    settings: Settings

    @property
    def version(self) -> str:
        """Differs where lanes that run would have to be started again."""
        lane = {name: getattr(self.settings, name) for name in _OF_LANES}
        return hashlib.sha256(self.line.encode() + msgspec.json.encode(lane)).hexdigest()[:12]


class _Kept(msgspec.Struct):
    sites: dict[str, Deployment] = {}
    drained: set[str] = set()


class Engine(Protocol):
    """What starts lanes on hosts, and talks to them. Nothing here waits for a host."""

    def hosts(self) -> Mapping[str, Host]:
        """The hosts that live, by name."""
        ...

    def start(self, run: Run, deployment: Deployment) -> None:
        """Start a run."""
        ...

    def stop(self, run: Run) -> None:
        """End a run."""
        ...

    def follow(self, run: Run, turn: int, cameras: Mapping[str, Assignment]) -> bool:
        """Give orders to a run; False while it has not answered the last ones."""
        ...

    def reports(self) -> Mapping[int, Report | None]:
        """The last answer of each run that lives, or is started; None where there was none yet."""
        ...

    def failures(self) -> Mapping[str, str]:
        """Why the last run of a lane has ended, by lane; of those alone that have not answered since."""
        ...

    def adopt(self) -> Iterable[tuple[Run, Mapping[str, int]]]:
        """The runs of a former controller, and the numbers of their cameras."""
        ...


@dataclass(frozen=True)
class HostStatus:
    """A host: ``lanes`` that run there, and ``cameras``."""

    name: str
    cpus: float
    gpus: int
    labels: Mapping[str, str]
    is_drained: bool
    lanes: int
    cameras: int


@dataclass(frozen=True)
class CameraStatus:
    """A camera of a site. ``state`` is that of its line, or ``waiting`` where it has none, and ``why`` then says the
    reason; ``number`` is that of its placement, and ``address`` where it publishes."""

    site: str
    name: str
    state: str
    why: str = ""
    lane: str = ""
    host: str = ""
    number: int = 0
    address: str = ""
    fps: float = 0.0
    age_p95_ms: float | None = None
    dropped: int = 0


@dataclass(frozen=True)
class Status:
    """A cluster at one moment. ``trouble``: why the controller could not do its last turn."""

    hosts: tuple[HostStatus, ...] = ()
    cameras: tuple[CameraStatus, ...] = ()
    waiting: Mapping[str, str] = field(default_factory=dict)
    trouble: str = ""


class _Scale:
    """How many lanes a site asks for, from what its lanes report."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self._history: list[Observation] = []
        self._dropped: dict[tuple[int, str], int] = {}

    def observe(self, now_s: float, reports: Mapping[int, Report], settings: Settings) -> None:
        if self._history and now_s - self._history[-1].at_s < _OBSERVE_S:
            return
        ages, dropped, totals = [], 0, {}
        for number, report in reports.items():
            for camera, state in report.cameras.items():
                totals[number, camera] = state.dropped
                dropped += max(0, state.dropped - self._dropped.get((number, camera), state.dropped))
                if state.age_p95_ms is not None:
                    ages.append(state.age_p95_ms)
        self._dropped = totals
        self._history.append(Observation(now_s, max(ages, default=None), dropped))
        keep_s = now_s - max(60 * settings.quiet_min, settings.late_s) - 2 * _OBSERVE_S
        self._history = [seen for seen in self._history if seen.at_s >= keep_s]
        lanes = choose_lanes(self.lanes, self._history, settings)
        if lanes != self.lanes:
            _log.info("%d lanes instead of %d", lanes, self.lanes)
            self.lanes = lanes
            self._history.clear()


class Controller:
    """Brings the cameras of all sites to the hosts of ``engine``; :meth:`turn` it often. Any thread may call the rest.

    ``state`` is a folder of this user. Raises :class:`TransportError` where what it keeps cannot be read.
    """

    def __init__(self, engine: Engine, state: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._now_s = engine, now_s
        self._file = state / "sites.json"
        self._kept = _read(self._file)
        self._fleet = Fleet(Numbering(state / "last-number").next)
        self._lock = threading.RLock()
        self._turn = 0
        self._folders: dict[str, CameraFolder] = {}
        self._scales: dict[str, _Scale] = {}
        self._given: dict[str, CameraSettings] = {}
        self._sent: dict[int, tuple[int, Mapping[str, Assignment]]] = {}
        self._status = Status()
        for run, cameras in engine.adopt():
            self._fleet.adopt(run, {f"{run.site}/{name}": number for name, number in cameras.items()})

    # -- what users change -------------------------------------------------------------------------------------------

    def deploy(self, name: str, deployment: Deployment) -> None:
        """Run a site from the next turn on; one that runs goes over to a changed line camera by camera."""
        with self._lock:
            CameraFolder(Path(deployment.cameras))  # which raises now what would be raised in every turn
            self._kept.sites[name] = deployment
            self._folders.pop(name, None)
            self._keep()

    def withdraw(self, name: str) -> None:
        """Drain the cameras of a site. Raises :class:`PropertyError` for one that is not deployed."""
        with self._lock:
            if name not in self._kept.sites:
                raise PropertyError(
                    f"no site {name!r} is deployed; there are: {', '.join(sorted(self._kept.sites)) or 'none'}"
                )
            del self._kept.sites[name]
            self._keep()

    def drain(self, host: str, *, is_drained: bool = True) -> None:
        """Move the cameras away from a host, one at a time, and place none there; or place some there again."""
        with self._lock:
            known = self._engine.hosts().keys() | self._kept.drained
            if host not in known:
                raise PropertyError(f"there is no host {host!r}; there are: {', '.join(sorted(known)) or 'none'}")
            self._kept.drained = self._kept.drained | {host} if is_drained else self._kept.drained - {host}
            self._keep()

    @property
    def status(self) -> Status:
        """As of the last turn."""
        return self._status

    # -- one thread --------------------------------------------------------------------------------------------------

    def turn(self) -> list[Order]:
        """See what runs, decide, and give orders; returns them. Does not wait."""
        with self._lock:
            self._turn += 1
            drained = self._kept.drained
            hosts = {name: replace(host, is_drained=name in drained) for name, host in self._engine.hosts().items()}
            reports = self._engine.reports()
            cameras = {name: self._read_cameras(name) for name in self._kept.sites}
            wanted = {name: self._want(name, cameras[name], reports) for name in self._kept.sites}
            self._restart_changed(cameras)
            seen = {number: self._see(number, report) for number, report in reports.items()}
            orders = self._fleet.turn(wanted, hosts, seen)
            for order in orders:
                self._carry_out(order, cameras)
            self._send()
            self._status = self._describe(hosts, cameras, reports)
            return orders

    def end(self) -> None:
        """Forget nothing, but let all lanes drain and end: to be called until :attr:`is_idle`, instead of turns."""
        with self._lock:
            self._turn += 1
            reports = self._engine.reports()
            seen = {number: self._see(number, report) for number, report in reports.items()}
            for order in self._fleet.turn({}, self._engine.hosts(), seen):
                self._carry_out(order, {})
            self._send()

    @property
    def is_idle(self) -> bool:
        """True where no lane runs."""
        return not self._fleet.runs

    def _read_cameras(self, site: str) -> dict[str, CameraSettings]:
        if site not in self._folders:
            deployment = self._kept.sites[site]
            self._folders[site] = CameraFolder(Path(deployment.cameras), deployment.settings.most_cameras)
        return self._folders[site].read()

    def _want(self, site: str, cameras: Mapping[str, CameraSettings], reports: Mapping[int, Report | None]) -> Wanted:
        deployment = self._kept.sites[site]
        settings = deployment.settings
        running = {name for name, one in cameras.items() if not one.paused and not one.fault}
        scale = self._scales.setdefault(site, _Scale(settings.count_lanes(len(running), 0)))
        own = {run.number for run in self._fleet.runs.values() if run.site == site}
        scale.observe(self._now_s(), {n: one for n, one in reports.items() if one and n in own}, settings)
        return Wanted(
            frozenset(f"{site}/{name}" for name in running),
            settings.count_lanes(len(running), scale.lanes),
            Needs(settings.cpus, settings.gpus, settings.labels),
            settings.cameras_per_lane,
            deployment.version,
        )

    def _restart_changed(self, cameras: Mapping[str, Mapping[str, CameraSettings]]) -> None:
        for key in self._fleet.places:
            site, _, name = key.partition("/")
            settings = cameras.get(site, {}).get(name)
            if settings is None or settings.fault:
                continue
            if self._given.setdefault(key, settings) != settings:  # it has none where another controller gave it
                self._fleet.restart(key)

    def _see(self, number: int, report: Report | None) -> Seen:
        run = self._fleet.runs.get(number)
        site = run.site if run else ""
        turn, sent = self._sent.get(number, (0, {}))
        if report is None:
            return Seen(cameras=frozenset(f"{site}/{name}" for name in sent))
        names = set(report.cameras)
        if report.turn < turn:  # it may have been given these since
            names |= set(sent)
        settled = {f"{site}/{name}" for name, state in report.cameras.items() if state.is_settled}
        return Seen(True, frozenset(f"{site}/{name}" for name in names), frozenset(settled))

    def _carry_out(self, order: Order, cameras: Mapping[str, Mapping[str, CameraSettings]]) -> None:
        match order:
            case Start(run):
                _log.info("%s is started on %s as %d", run.lane, run.host, run.number)
                self._engine.start(run, self._kept.sites[run.site])
            case Stop(run):
                _log.info("%s on %s is ended", run.lane, run.host)
                self._engine.stop(run)
                self._sent.pop(run.number, None)
            case Give(run, camera, number):
                _log.info("%s goes to %s on %s as %d", camera, run.lane, run.host, number)
                site, _, name = camera.partition("/")
                self._given[camera] = cameras[site][name]
            case Take(run, camera):
                _log.info("%s leaves %s on %s", camera, run.lane, run.host)

    def _send(self) -> None:
        by_run: dict[int, dict[str, Assignment]] = {number: {} for number in self._fleet.runs}
        for camera, place in self._fleet.places.items():
            if not place.is_draining and place.run.number in by_run:
                settings = self._given.get(camera, CameraSettings())
                by_run[place.run.number][camera.partition("/")[2]] = Assignment(place.number, settings.properties)
        for number, assigned in by_run.items():
            if self._engine.follow(self._fleet.runs[number], self._turn, assigned):
                self._sent[number] = self._turn, assigned

    def _keep(self) -> None:
        try:
            write(self._file, msgspec.json.encode(self._kept))
        except OSError as error:
            raise TransportError(f"{self._file} cannot be written: {error.strerror}; make room") from None

    def _describe(
        self,
        hosts: Mapping[str, Host],
        cameras: Mapping[str, Mapping[str, CameraSettings]],
        reports: Mapping[int, Report | None],
    ) -> Status:
        places = self._fleet.places
        by_host = [
            HostStatus(
                name,
                host.cpus,
                host.gpus,
                dict(host.labels),
                host.is_drained,
                sum(run.host == name for run in self._fleet.runs.values()),
                sum(place.run.host == name for place in places.values()),
            )
            for name, host in sorted(hosts.items())
        ]
        described = [
            self._describe_camera(site, name, settings, reports)
            for site, own in sorted(cameras.items())
            for name, settings in sorted(own.items())
        ]
        return Status(tuple(by_host), tuple(described), dict(self._fleet.waiting))

    def _describe_camera(
        self, site: str, name: str, settings: CameraSettings, reports: Mapping[int, Report | None]
    ) -> CameraStatus:
        if settings.fault or settings.paused:
            return CameraStatus(site, name, "failed" if settings.fault else "paused", redact(settings.fault))
        place = self._fleet.places.get(f"{site}/{name}")
        if place is None:
            own = [why for lane, why in self._fleet.waiting.items() if lane.startswith(f"{site}/")]
            return CameraStatus(site, name, "waiting", own[0] if own else "its lane is being started, or is full")
        report = reports.get(place.run.number)
        state = report.cameras.get(name) if report else None
        failure = self._engine.failures().get(place.run.lane, "")
        why = redact(f"its lane has ended before, and is started again: {failure}") if failure else ""
        here = CameraStatus(site, name, "starting", why, place.run.lane, place.run.host, place.number)
        if state is None or state.number != place.number:
            return here
        return replace(
            here,
            state="draining" if place.is_draining else state.state,
            why=redact(state.why),
            address=state.address,
            fps=state.fps,
            age_p95_ms=state.age_p95_ms,
            dropped=state.dropped,
        )


def _read(file: Path) -> _Kept:
    try:
        return msgspec.json.decode(read_own(file), type=_Kept)
    except FileNotFoundError:
        return _Kept()
    except (OSError, *NOT_JSON) as error:
        raise TransportError(
            f"the deployed sites cannot be read from {file}: {error}; remove it, and deploy again"
        ) from None
