"""Brings what runs to what is wanted: where lanes are started, and which camera goes to which, and when.

It knows no clock, no network and no Ray: it is given what is wanted and what was seen, and answers with orders. A
**run** is a lane on a host, for as long as it stays there; its number, like that of each camera that it is given, is
higher than all before it (:mod:`stream.cluster.numbering`).

A camera whose host is alive is moved by taking it from its run, which delivers what is in flight, and giving it to the
other when the first one no longer has it; one camera at a time, and only to a run that is ready. Cameras whose host is
dead are given to others at once, also to runs that are only being started: nothing can be asked of it, and its number
is old.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream.cluster.assignment import Host, Needs, assign_cameras, assign_lanes, explain_refusal


@dataclass(frozen=True)
class Wanted:
    """What a site wants: its ``cameras``, so many ``lanes``, what each of them ``needs``, the ``most`` cameras of one,
    and the ``version`` of their line: lanes of another one are replaced, camera by camera."""

    cameras: frozenset[str]
    lanes: int
    needs: Needs = field(default_factory=Needs)
    most: int = 8
    version: str = ""


@dataclass(frozen=True)
class Run:
    """A ``lane`` of a ``site`` on a ``host``."""

    number: int
    site: str
    lane: str
    host: str
    needs: Needs
    version: str = ""


@dataclass(frozen=True)
class Seen:
    """What is seen of a run that lives: whether it takes cameras, those it has, and those of them that run."""

    is_ready: bool = False
    cameras: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    """Those that are past their start: they run, or have failed, which another host would not change."""


@dataclass(frozen=True)
class Start:
    """Start this run."""

    run: Run


@dataclass(frozen=True)
class Stop:
    """End this run, which has no camera."""

    run: Run


@dataclass(frozen=True)
class Give:
    """Let this run have a camera, with this number."""

    run: Run
    camera: str
    number: int


@dataclass(frozen=True)
class Take:
    """Let this run drain a camera, and no longer have it."""

    run: Run
    camera: str


Order = Start | Stop | Give | Take


@dataclass
class Place:
    """The run that has a camera, and the ``number`` with which it was given it."""

    run: Run
    number: int
    is_draining: bool = False


class Fleet:
    """The cameras of all sites, called ``site/camera``. ``next_number`` gives the numbers."""

    def __init__(self, next_number: Callable[[], int]) -> None:
        self._next_number = next_number
        self.runs: dict[int, Run] = {}
        self.places: dict[str, Place] = {}
        self.waiting: dict[str, str] = {}
        """Lanes for which there is no host, and why."""
        self._homes: dict[str, str] = {}
        self._moved = ""
        """The camera that was last taken from a run that lives, for another one."""

    def adopt(self, run: Run, cameras: Mapping[str, int]) -> None:
        """Go on with a run that was started before, and the numbers of the cameras that it was given."""
        self.runs[run.number] = run
        for camera, number in cameras.items():
            known = self.places.get(camera)
            if known is None or known.number < number:
                self.places[camera] = Place(run, number)
                self._homes[camera] = run.lane

    def restart(self, camera: str) -> None:
        """Let a camera drain where it is, and be given anew; nothing where it has no place."""
        if (place := self.places.get(camera)) is not None:
            place.is_draining = True

    def cameras_of(self, run: Run) -> dict[str, int]:
        """The cameras that a run is to have, and their numbers; those that it is to drain are not among them."""
        return {
            camera: place.number for camera, place in self.places.items() if place.run is run and not place.is_draining
        }

    def turn(self, wanted: Mapping[str, Wanted], hosts: Mapping[str, Host], seen: Mapping[int, Seen]) -> list[Order]:
        """The orders that bring what was ``seen`` of the runs that live, by number, nearer to what is ``wanted``.

        A run that was ordered to start is among them from the next turn on.
        """
        self._forget(hosts, seen)
        lanes = {f"{site}/{index + 1}": site for site, want in wanted.items() for index in range(want.lanes)}
        self._find_homes(wanted, lanes)
        orders: list[Order] = [*self._start(lanes, wanted, hosts)]
        newest = {run.lane: run for _, run in sorted(self.runs.items())}
        orders += self._place(newest, seen)
        orders += self._stop(lanes, newest)
        return orders

    def _forget(self, hosts: Mapping[str, Host], seen: Mapping[int, Seen]) -> None:
        """Forget runs that are gone, and cameras that have been drained."""
        for number, run in list(self.runs.items()):
            if number not in seen or run.host not in hosts:
                del self.runs[number]
        for camera, place in list(self.places.items()):
            if place.run.number not in self.runs or (
                place.is_draining and camera not in seen[place.run.number].cameras
            ):
                del self.places[camera]

    def _find_homes(self, wanted: Mapping[str, Wanted], lanes: Mapping[str, str]) -> None:
        homes: dict[str, str] = {}
        for site, want in wanted.items():
            own = [lane for lane, of in lanes.items() if of == site]
            homes |= assign_cameras(want.cameras, own, most=want.most, current=self._homes)
        self._homes = homes

    def _start(self, lanes: Mapping[str, str], wanted: Mapping[str, Wanted], hosts: Mapping[str, Host]) -> list[Start]:
        """Start the lanes that do not run, or run on a host that is drained, where there is room for them."""
        placed = {
            run.lane
            for run in self.runs.values()
            if run.site in wanted and run.version == wanted[run.site].version and not hosts[run.host].is_drained
        }
        needs = {lane: wanted[site].needs for lane, site in lanes.items() if lane not in placed}
        if not needs:
            self.waiting = {}
            return []
        found = assign_lanes(needs, hosts, [(run.host, run.needs) for run in self.runs.values()])
        self.waiting = {lane: explain_refusal(needs[lane], hosts) for lane in needs if lane not in found}
        started = [
            Run(self._next_number(), lanes[lane], lane, host, needs[lane], wanted[lanes[lane]].version)
            for lane, host in found.items()
        ]
        self.runs |= {run.number: run for run in started}
        return [Start(run) for run in started]

    def _place(self, newest: Mapping[str, Run], seen: Mapping[int, Seen]) -> list[Order]:
        ready = {number for number, one in seen.items() if one.is_ready}
        orders: list[Order] = []
        is_moving = self._is_moving(newest, seen)
        for camera, place in self.places.items():
            home = newest.get(self._homes.get(camera, ""))
            if place.is_draining or place.run is home:
                continue
            is_move = camera in self._homes
            if is_move and (is_moving or home is None or home.number not in ready):
                continue
            if is_move:
                is_moving, self._moved = True, camera
            place.is_draining = True
            orders.append(Take(place.run, camera))
        for camera, lane in self._homes.items():
            home = newest.get(lane)
            if camera not in self.places and home is not None:  # it may be starting, and then begins with it
                self.places[camera] = Place(home, self._next_number())
                orders.append(Give(home, camera, self.places[camera].number))
        return orders

    def _is_moving(self, newest: Mapping[str, Run], seen: Mapping[int, Seen]) -> bool:
        """True while the camera that is moved drains, or starts elsewhere."""
        if self._moved not in self._homes:
            return False
        place = self.places.get(self._moved)
        if place is None:
            return self._homes[self._moved] in newest
        return place.is_draining or self._moved not in seen.get(place.run.number, Seen()).settled

    def _stop(self, lanes: Mapping[str, str], newest: Mapping[str, Run]) -> list[Stop]:
        """End the runs without cameras that are not the newest of a lane that is wanted."""
        busy = {place.run.number for place in self.places.values()}
        return [
            Stop(run)
            for run in self.runs.values()
            if run.number not in busy and (run.lane not in lanes or newest[run.lane] is not run)
        ]
