"""How long the controller of a cluster takes to place cameras, what moves when a host dies, and how even the rest is.

    python -m benchmarks.placement            prints a table
    python -m benchmarks.placement --write    and writes benchmarks/results/placement.json and placement.md

It is the core that places them, :class:`stream.cluster.fleet.Fleet`, with hosts that carry orders out at once; so the
times are those of decisions alone. Eight cameras a lane and eight lanes a host, with an eighth more hosts than that
needs, and one. Then one host dies, and another is drained. Imbalance: the most cameras of a host over their mean.
The exit status is 1 if a host's death takes a second or more to decide.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.cluster.assignment import Host
from stream.cluster.fleet import Fleet, Give, Order, Run, Seen, Start, Stop, Take, Wanted
from stream.cluster.numbering import Numbering

_PER_LANE, _PER_HOST = 8, 8
_LIMIT_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """Of so many ``cameras``. ``placed_s``: all of them. ``replaced_s``: those of a dead host, of which there were
    ``lost``; ``moved`` others moved meanwhile. ``drained``: the moves to empty a host, and the longest turn of them."""

    cameras: int
    hosts: int
    placed_s: float
    imbalance: float
    lost: int
    replaced_s: float
    moved: int
    imbalance_after: float
    drained: int
    longest_turn_s: float


class Simulation:
    """Hosts that carry out every order at once, with room for ``per_host`` lanes of ``per_lane`` cameras each."""

    def __init__(self, cameras: int, per_lane: int = _PER_LANE, per_host: int = _PER_HOST) -> None:
        lanes, self._per_host = -(-cameras // per_lane), per_host
        hosts = 2 + -(-9 * lanes // (8 * per_host))
        self.hosts = {f"host-{n}": Host(per_host) for n in range(hosts)}
        self._wanted = {"site": Wanted(frozenset(f"site/camera-{n}" for n in range(cameras)), lanes, most=per_lane)}
        self._fleet = Fleet(Numbering().next)
        self._runs: dict[int, tuple[Run, set[str]]] = {}

    def turn(self) -> tuple[list[Order], float]:
        """The orders of a turn, which have been carried out, and how long it took to decide on them (s)."""
        seen = {
            number: Seen(True, frozenset(cameras), frozenset(cameras)) for number, (_, cameras) in self._runs.items()
        }
        since_s = time.perf_counter()
        orders = self._fleet.turn(self._wanted, self.hosts, seen)
        took_s = time.perf_counter() - since_s
        for order in orders:
            match order:
                case Start(run):
                    self._runs[run.number] = run, set()
                case Stop(run):
                    del self._runs[run.number]
                case Give(run, camera):
                    self._runs[run.number][1].add(camera)
                case Take(run, camera):
                    self._runs[run.number][1].remove(camera)
        return orders, took_s

    def settle(self) -> tuple[int, float, float]:
        """Turns until there are no more orders: the cameras that were taken from a run that lives, how long all turns
        took together, and the longest (s)."""
        taken, times = 0, []
        while True:
            orders, took_s = self.turn()
            times.append(took_s)
            taken += sum(isinstance(order, Take) for order in orders)
            if not orders:
                return taken, sum(times), max(times)

    def kill(self, host: str) -> None:
        """A host dies."""
        del self.hosts[host]
        self._runs = {number: one for number, one in self._runs.items() if one[0].host != host}

    def drain(self, host: str) -> None:
        """A host is to be emptied."""
        self.hosts[host] = Host(self._per_host, is_drained=True)

    def where(self) -> dict[str, str]:
        """The host of each camera."""
        return {camera: run.host for run, cameras in self._runs.values() for camera in cameras}

    def busiest(self) -> str:
        """The host with most cameras."""
        return Counter(self.where().values()).most_common(1)[0][0]

    def imbalance(self) -> float:
        """The most cameras of a host over the mean of all hosts."""
        counts = Counter(self.where().values())
        return max(counts.values()) * len(self.hosts) / sum(counts.values())


def main() -> int:
    """Measure, print, and write with ``--write``."""
    options = make_parser(__doc__).parse_args()
    outcomes = [measure(cameras) for cameras in (100, 1_000, 10_000)]
    table = make_table(outcomes)
    print(table)
    if options.write:
        write_results("placement", [asdict(one) for one in outcomes], table)
    return int(any(one.replaced_s >= _LIMIT_S for one in outcomes))


def measure(cameras: int, per_lane: int = _PER_LANE, per_host: int = _PER_HOST) -> Outcome:
    """Place so many cameras, let a host die, and drain another."""
    simulation = Simulation(cameras, per_lane, per_host)
    _, placed_s, _ = simulation.settle()
    imbalance, before = simulation.imbalance(), simulation.where()
    hosts, dead = len(simulation.hosts), simulation.busiest()
    lost = {camera for camera, host in before.items() if host == dead}
    simulation.kill(dead)
    _, replaced_s, _ = simulation.settle()
    after = simulation.where()
    assert after.keys() == before.keys()
    moved = sum(after[camera] != before[camera] for camera in before.keys() - lost)
    imbalance_after = simulation.imbalance()
    simulation.drain(simulation.busiest())
    drained, _, longest_s = simulation.settle()
    return Outcome(
        cameras, hosts, placed_s, imbalance, len(lost), replaced_s, moved, imbalance_after, drained, longest_s
    )


def make_table(outcomes: list[Outcome]) -> str:
    """The outcomes as Markdown, below the machine."""
    head = (
        "| cameras | hosts | all placed | imbalance | of a dead host | placed again in | others moved | imbalance then "
        "| moves to drain a host | longest turn |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    rows = [
        f"| {one.cameras:,} | {one.hosts} | {one.placed_s * 1e3:.0f} ms | {one.imbalance:.2f} | {one.lost} "
        f"| {one.replaced_s * 1e3:.0f} ms | {one.moved} | {one.imbalance_after:.2f} | {one.drained} "
        f"| {one.longest_turn_s * 1e3:.0f} ms |"
        for one in outcomes
    ]
    return "\n".join([describe_machine(), "", head, *rows])


if __name__ == "__main__":
    sys.exit(main())
