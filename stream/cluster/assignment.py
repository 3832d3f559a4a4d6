"""Which lane a camera belongs to, and which host a lane runs on; what has a place that fits keeps it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream.cluster.hashing import hash_name, hash_names, score, weigh

_PARTS = 10_000
"""A CPU or GPU is shared in so many parts, as Ray shares them."""


@dataclass(frozen=True)
class Needs:
    """What a lane takes of its host: ``cpus``, ``gpus`` (a part of one, or whole ones), and ``labels`` that it must
    have."""

    cpus: float = 1.0
    gpus: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Host:
    """What a host offers. New lanes are not placed on one that ``is_drained``."""

    cpus: float
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    is_drained: bool = False


class Room:
    """What is free on a host. A part of a GPU is taken from one of them, the fullest that has enough."""

    def __init__(self, host: Host) -> None:
        self._cpus = round(host.cpus * _PARTS)
        self._gpus = [_PARTS] * host.gpus

    def take(self, needs: Needs) -> bool:
        """Take what a lane needs, where it is free; False where it is not, and then nothing is taken."""
        cpus, whole, part = round(needs.cpus * _PARTS), int(needs.gpus), round(needs.gpus % 1 * _PARTS)
        free = sorted(self._gpus)
        if cpus > self._cpus or free.count(_PARTS) < whole:
            return False
        for _ in range(whole):
            free.remove(_PARTS)
        if part:
            fitting = next((index for index, left in enumerate(free) if left >= part), None)
            if fitting is None:
                return False
            free[fitting] -= part
        self._cpus, self._gpus = self._cpus - cpus, free + [0] * whole
        return True

    def has(self, needs: Needs) -> bool:
        """True where :meth:`take` would take it."""
        return self._copy().take(needs)

    def count(self, needs: Needs) -> int:
        """How many lanes that need so much have room; a thousand at most."""
        room, taken = self._copy(), 0
        while taken < 1000 and room.take(needs):
            taken += 1
        return taken

    def _copy(self) -> Room:
        copied = Room(Host(0))
        copied._cpus, copied._gpus = self._cpus, list(self._gpus)
        return copied


def assign_cameras(
    cameras: Iterable[str], lanes: Sequence[str], *, most: int, current: Mapping[str, str]
) -> dict[str, str]:
    """The lane of each camera. No lane has more than its share, rounded up, nor more than ``most``; cameras for which
    there is no room are left out.

    A camera stays in its ``current`` lane, unless that is gone or has more than its share: then those leave that score
    least there. All others go to the lane that scores highest for them and has room.
    """
    wanted = sorted(cameras)
    if not wanted or not lanes:
        return {}
    share = min(most, -(-len(wanted) // len(lanes)))
    found = _keep_cameras(wanted, set(lanes), share, current)
    used = Counter(found.values())
    room = np.array([share - used[lane] for lane in lanes])
    hashes = hash_names(lanes)
    for camera in sorted((camera for camera in wanted if camera not in found), key=hash_name):
        free = np.flatnonzero(room)
        if not free.size:
            break
        index = int(free[score(hash_name(camera), hashes[free]).argmax()])
        room[index] -= 1
        found[camera] = lanes[index]
    return found


def _keep_cameras(wanted: Sequence[str], lanes: set[str], share: int, current: Mapping[str, str]) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for camera in wanted:
        if (lane := current.get(camera)) in lanes:
            members.setdefault(str(lane), []).append(camera)
    for lane, present in members.items():
        if len(present) > share:
            scores = score(hash_name(lane), hash_names(present))
            members[lane] = [present[index] for index in np.argsort(scores)[::-1][:share]]
    return {camera: lane for lane, present in members.items() for camera in present}


def assign_lanes(
    needs: Mapping[str, Needs], hosts: Mapping[str, Host], taken: Iterable[tuple[str, Needs]]
) -> dict[str, str]:
    """The host of each lane in ``needs``; lanes for which no host has room are left out.

    ``taken`` is what runs already: a host, and what it gives. A lane goes to the host that scores highest for it, in
    the measure of the hosts' sizes, among those that have its labels, have room and are not drained; those that have
    less than their part of all lanes come first, so that a new host fills up.
    """
    rooms = {name: Room(host) for name, host in sorted(hosts.items())}
    lanes = Counter(dict.fromkeys(rooms, 0))
    for host, given in taken:
        if host in rooms:
            rooms[host].take(given)
            lanes[host] += 1
    found: dict[str, str] = {}
    for need in {repr(need): need for need in needs.values()}.values():
        own = sorted((lane for lane, its in needs.items() if its == need), key=hash_name)
        found |= _assign_equal(own, need, hosts, rooms, lanes)
    return found


def _assign_equal(
    own: Sequence[str], need: Needs, hosts: Mapping[str, Host], rooms: Mapping[str, Room], lanes: Counter[str]
) -> dict[str, str]:
    """The hosts of lanes with equal needs, which are taken from ``rooms`` and counted in ``lanes``."""
    names = [name for name in rooms if _suits(hosts[name], need) and rooms[name].has(need)]
    hashes, counts = hash_names(names), np.array([lanes[name] for name in names])
    weights = np.array([Room(hosts[name]).count(need) for name in names], np.float64)
    is_free = np.ones(len(names), bool)
    found: dict[str, str] = {}
    for lane in own:
        free = np.flatnonzero(is_free)
        if not free.size:
            break
        part = (counts[free].sum() + 1) / weights[free].sum()
        under = free[counts[free] < part * weights[free]]  # never empty: they have one lane less than their parts
        index = int(under[weigh(score(hash_name(lane), hashes[under]), weights[under]).argmax()])
        name = names[index]
        rooms[name].take(need)
        counts[index] += 1
        lanes[name] += 1
        is_free[index] = rooms[name].has(need)
        found[lane] = name
    return found


def _suits(host: Host, needs: Needs) -> bool:
    return not host.is_drained and needs.labels.items() <= host.labels.items()


def explain_refusal(needs: Needs, hosts: Mapping[str, Host]) -> str:
    """Why no host takes a lane, and what would help."""
    if not hosts:
        return "there is no host; add one with 'posestream cluster join'"
    awake = {name: host for name, host in hosts.items() if not host.is_drained}
    if not awake:
        return f"every host is drained: {', '.join(sorted(hosts))}; add another with 'posestream cluster join'"
    labelled = [name for name, host in awake.items() if _suits(host, needs)]
    if not labelled:
        labels = ", ".join(f"{key}={value}" for key, value in sorted(needs.labels.items()))
        return f"no host has the labels {labels}; add one with 'posestream cluster join --label'"
    return (
        f"no room for {needs.cpus:g} CPUs and {needs.gpus:g} GPUs on {', '.join(sorted(labelled))}; add a host, or "
        "lower cpus and gpus in the site's file"
    )
