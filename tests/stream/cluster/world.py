"""Hosts that die, are cut off and come back, as a :class:`stream.cluster.fleet.Fleet` sees them; without a clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from stream.cluster.assignment import Host
from stream.cluster.fleet import Fleet, Give, Order, Run, Seen, Start, Stop, Take, Wanted
from stream.cluster.numbering import Fence, Numbering


@dataclass
class Lane:
    """A run as its host has it: the cameras that run, and those that drain."""

    run: Run
    cameras: dict[str, int] = field(default_factory=dict)
    draining: set[str] = field(default_factory=set)
    is_ready: bool = False
    settled: set[str] = field(default_factory=set)


class World:
    """Carries orders out, a step a turn, and publishes what runs to a receiver that fences."""

    def __init__(self, hosts: Iterable[str] = (), cpus: int = 4) -> None:
        self.hosts = {name: Host(cpus) for name in hosts}
        self.wanted: dict[str, Wanted] = {}
        self.lanes: dict[int, Lane] = {}
        self.lost: list[Lane] = []
        """Lanes of hosts that are cut off, which go on."""
        numbering = Numbering()
        self.fleet = Fleet(numbering.next)
        self.fence = Fence()
        self.admitted: list[tuple[str, int]] = []
        self.orders: list[Order] = []
        self.drained: set[tuple[str, int]] = set()

    def want(self, cameras: Iterable[str], lanes: int, most: int = 8, site: str = "site") -> None:
        self.wanted[site] = Wanted(frozenset(f"{site}/{name}" for name in cameras), lanes, most=most)

    def kill(self, host: str, *, is_cut_off: bool = False) -> None:
        """A host dies, or goes on where it is not seen."""
        self.hosts.pop(host, None)
        for number, lane in list(self.lanes.items()):
            if lane.run.host == host:
                del self.lanes[number]
                if is_cut_off:
                    self.lost.append(lane)

    def drain(self, host: str) -> None:
        known = self.hosts[host]
        self.hosts[host] = Host(known.cpus, is_drained=True)

    def turn(self) -> list[Order]:
        """What is seen, then the orders, then their effect."""
        self.orders = self.fleet.turn(self.wanted, self.hosts, self.see())
        for order in self.orders:
            self.carry_out(order)
        self.publish(self.lanes.values())
        return self.orders

    def see(self) -> dict[int, Seen]:
        return {
            number: Seen(lane.is_ready, frozenset(lane.cameras), frozenset(lane.settled))
            for number, lane in self.lanes.items()
        }

    def carry_out(self, order: Order) -> None:
        match order:
            case Start(run):
                assert run.host in self.hosts
                self.lanes[run.number] = Lane(run)
            case Stop(run):
                assert not self.lanes[run.number].cameras, "a lane was ended that had a camera"
                del self.lanes[run.number]
            case Give(run, camera, number):
                assert all(camera not in lane.cameras for lane in self.lanes.values()), "a camera runs twice"
                self.lanes[run.number].cameras[camera] = number
            case Take(run, camera):
                self.lanes[run.number].draining.add(camera)

    def step(self) -> None:
        """Lanes become ready, cameras start, and those that drain end."""
        for lane in self.lanes.values():
            lane.is_ready = True
            lane.settled = set(lane.cameras) - lane.draining
            for camera in lane.draining:
                self.drained.add((camera, lane.cameras.pop(camera, 0)))
            lane.draining.clear()

    def publish(self, lanes: Iterable[Lane]) -> None:
        for lane in lanes:
            for camera, number in lane.cameras.items():
                if self.fence.admit(camera, number):
                    self.admitted.append((camera, number))

    def settle(self) -> int:
        """Turns until no more orders come; how many there were."""
        for turn in range(500):
            self.step()
            if not self.turn() and all(lane.is_ready for lane in self.lanes.values()):
                return turn
        raise AssertionError("it does not come to rest")

    def where(self) -> dict[str, str]:
        """The host of each camera that runs."""
        return {camera: lane.run.host for lane in self.lanes.values() for camera in lane.cameras}
