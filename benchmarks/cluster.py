"""How long a cluster's cameras are without poses when a host loses its power or its cable, or a process is killed.

    python -m benchmarks.cluster --write    writes benchmarks/results/cluster.json and cluster.md

Three hosts are network namespaces of this machine, which needs root. Six cameras of ten frames a second run in lines
that do no work (:mod:`benchmarks.empty`); a subscriber has them all from a relay on the first host, which is also the
head. A time is from the fault to the first pose of a camera whose capture is later than the fault, of the last of the
cameras that the fault concerns. What must hold is checked as well: the numbers and the captures of each camera rise,
and no publisher that was replaced is heard again. The exit status is 1 if they do not.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.namespaces import Namespaces, why_not
from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.cluster.membership import Membership, holding, save
from stream.runtime.private_files import create
from stream.transports.curve import generate_keys

_ROOT = Path(__file__).resolve().parents[1]
_START_S = 120.0
_FPS = 10
_LATE_S = 1.5
_SITE = """
line:
  - testsrc: {{realtime: true, fps: 10, width: 64, height: 64, people: 1}}
  - benchmarks.empty.find
  - window
  - benchmarks.empty.estimate: {{past: 0}}
  - keypointsink
cluster:
  cameras_per_lane: 2
  cpus: 0.5
  relay: tcp://10.99.0.1:5571
  relay_key: {keys}/server.key
  keys: {keys}/client.key_secret
"""


@dataclass(frozen=True)
class Pose:
    """A message as the subscriber had it: when its frame was captured, and when it came (ns since 1970)."""

    camera: str
    seq: int
    frame_seq: int
    captured_ns: int
    received_ns: int


class ClusterOfHosts:
    """Three hosts with a cluster on them, a relay, and a subscriber; a context manager."""

    def __init__(self, folder: Path, hosts: int = 3) -> None:
        self.folder, self._hosts = folder, Namespaces(hosts)
        self.names = [f"node{index}" for index in range(hosts)]
        self._opened = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.keys = folder / "keys"
        self.site = folder / "site.yaml"

    def __enter__(self) -> Self:
        self._opened.enter_context(self._hosts)
        try:
            self._begin()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def _begin(self) -> None:
        generate_keys(self.keys)
        lines = self.folder / "lines"
        lines.mkdir()
        (lines / "client.key").write_bytes((self.keys / "client.key").read_bytes())
        self.site.write_text(_SITE.format(keys=self.keys))
        relay = ["relay", "--bind", "tcp://10.99.0.1:5570", "--publishers", "tcp://10.99.0.1:5571"]
        self._start("relay", 0, *relay, "--keys", f"{self.keys}/server.key_secret", "--publisher-keys", str(lines))
        watch = [sys.executable, "-m", "benchmarks.cluster", "--watch", str(self.keys)]
        self._processes["watch"] = self._hosts.start(0, watch, self.folder / "watch.log", self._environment(0))
        self._start("node0", 0, "cluster", "up", "--name", "node0", "--address", "10.99.0.1", "--cpus", "4")
        self.wait_until(lambda: "the head is" in self.log("node0"), "the head has not started")
        for index in range(1, len(self.names)):
            self.join(index)
        self.wait_until(lambda: len(self.status()["hosts"]) == len(self.names), "a host has not joined")

    # -- commands ------------------------------------------------------------------------------------------------------

    def join(self, index: int) -> None:
        """Let a host join."""
        name, token = self.names[index], self.folder / "cluster0" / "token"
        words = ["cluster", "join", "10.99.0.1:6379", "--token-file", str(token), "--name", name, "--cpus", "4"]
        self._start(name, index, *words)

    def command(self, *words: str, **environment: str) -> str:
        """Run a command of posestream on the head; returns what it prints. Raises :class:`RuntimeError`."""
        found = subprocess.run(
            ["ip", "netns", "exec", self._hosts.names[0], sys.executable, "-m", "stream", *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=_ROOT,
            env=os.environ | self._environment(0) | environment,
        )
        if found.returncode != 0:
            raise RuntimeError(f"posestream {' '.join(words)}: {found.stderr.strip()[-500:]}")
        return found.stdout

    def status(self) -> dict[str, Any]:
        """What 'posestream cluster status' says."""
        found: dict[str, Any] = json.loads(self.command("cluster", "status", "--json"))
        return found

    def why_refused(self, token: str) -> str:
        """What a command says on a host whose token is another one; empty where it is answered."""
        folder = self.folder / "stranger"
        folder.mkdir(mode=0o700)
        create(folder / "token", token)
        with holding(folder):
            save(folder, Membership("10.99.0.1:6379", str(folder / "token"), "stranger", pid=os.getpid()))
            try:
                self.command("cluster", "status", POSESTREAM_CLUSTER_DIR=str(folder))
            except RuntimeError as error:
                return str(error)
        return ""

    def where(self) -> dict[str, str]:
        """The host of each camera that runs."""
        return {one["name"]: one["host"] for one in self.status()["cameras"] if one["state"] == "running"}

    def power_off(self, index: int) -> None:
        """A host loses its power."""
        self._hosts.power_off(index)

    def set_cable(self, index: int, *, is_plugged: bool) -> None:
        """Pull the cable of a host, or plug it in."""
        self._hosts.set_cable(index, is_plugged=is_plugged)

    def kill_part(self, camera: str) -> None:
        """Kill the process of a line's part, which its supervisor starts again."""
        self._find_part(camera).kill()

    def kill_lane(self, camera: str) -> None:
        """Kill the process of the lane that has a camera, whose lines end with it."""
        lane = self._find_part(camera).parent()
        assert lane is not None
        lane.kill()

    def kill_controller(self) -> None:
        """Kill the process of the controller, which Ray starts again."""
        for process in psutil.process_iter(["cmdline"]):
            if "ray::ControllerActor" in " ".join(process.info["cmdline"] or []):
                return process.kill()
        raise RuntimeError("no process is the controller")

    def _find_part(self, camera: str) -> psutil.Process:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "stream.runtime.worker" in words and any(word.endswith(f"-{camera}") for word in words):
                return process
        raise RuntimeError(f"no process runs {camera}")

    # -- what was seen -------------------------------------------------------------------------------------------------

    def poses(self) -> list[Pose]:
        """Everything that the subscriber has had."""
        whole = self.log("watch").rpartition("\n")[0]
        return [Pose(**json.loads(line)) for line in whole.splitlines() if line.startswith("{")]

    def wait_for_poses(self, cameras: Iterable[str], since_ns: int, timeout_s: float = _START_S) -> float:
        """Wait for a pose of each camera that was captured after ``since_ns``; how long after it the last came, s."""
        wanted = set(cameras)

        def first() -> dict[str, int]:
            later = [pose for pose in self.poses() if pose.captured_ns > since_ns and pose.camera in wanted]
            return {pose.camera: pose.received_ns for pose in reversed(later)}

        self.wait_until(lambda: first().keys() == wanted, f"no poses of {', '.join(sorted(wanted))}", timeout_s)
        return (max(first().values()) - since_ns) / 1e9

    def find_faults(self) -> list[str]:
        """What is wrong with what was received; empty where nothing is."""
        return find_faults(self.poses())

    def log(self, name: str) -> str:
        """What a program has printed."""
        file = self.folder / f"{name}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait_until(self, is_so: Callable[[], bool], what: str, timeout_s: float = _START_S) -> None:
        """Wait for a condition. Raises :class:`RuntimeError`, which says ``what`` is wrong."""
        until_s = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > until_s:
                raise RuntimeError(f"{what} within {timeout_s:g} s; the logs are in {self.folder}")
            time.sleep(0.1)

    def _start(self, name: str, index: int, *words: str) -> None:
        command = [sys.executable, "-m", "stream", *words]
        self._processes[name] = self._hosts.start(index, command, self.folder / f"{name}.log", self._environment(index))

    def _environment(self, index: int) -> Mapping[str, str]:
        folders = {"POSESTREAM_CLUSTER_DIR": f"cluster{index}", "POSESTREAM_RUN_DIR": f"run{index}"}
        for name in folders.values():
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        return {name: str(self.folder / place) for name, place in folders.items()} | {"PYTHONPATH": str(_ROOT)}


def main() -> int:
    """Measure, print, and write with ``--write``; or be the subscriber."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each fault")
    parser.add_argument("--watch", type=Path, help="be the subscriber, with the keys in this folder")
    options = parser.parse_args()
    if options.watch:
        watch(options.watch)
    if reason := why_not():
        print(f"cannot measure: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="cl") as folder, ClusterOfHosts(Path(folder)) as cluster:
        names = deploy_six(cluster)
        times = {
            name: [_say(name, fault(cluster, names)) for _ in range(options.rounds)] for name, fault in FAULTS.items()
        }
        faults = cluster.find_faults()
        table = make_table(times, faults)
    print(table)
    if options.write:
        write_results("cluster", {"seconds": times, "faults": faults}, table)
    return int(bool(faults))


def _say(fault: str, took_s: float) -> float:
    print(f"{fault}: {took_s:.1f} s", file=sys.stderr, flush=True)
    return took_s


def deploy_six(cluster: ClusterOfHosts) -> set[str]:
    """Deploy a site of six cameras, and wait until all have poses; returns their names."""
    names = {f"camera{index}" for index in range(6)}
    for index, name in enumerate(sorted(names)):
        cluster.command("camera", "add", str(cluster.site), name, f"seed={index}")
    cluster.command("deploy", str(cluster.site))
    cluster.wait_for_poses(names, 0)
    return names


def lose_power(cluster: ClusterOfHosts, names: set[str]) -> float:
    """A host with cameras loses its power; how long its cameras are without poses, s."""
    index, lost = find_victim(cluster, names)
    since_ns = time.time_ns()
    cluster.power_off(index)
    took_s = cluster.wait_for_poses(lost, since_ns)
    cluster.join(index)
    wait_for_hosts(cluster)
    return took_s


def lose_cable(cluster: ClusterOfHosts, names: set[str]) -> float:
    """The cable of a host with cameras is pulled."""
    index, lost = find_victim(cluster, names)
    since_ns = time.time_ns()
    cluster.set_cable(index, is_plugged=False)
    took_s = cluster.wait_for_poses(lost, since_ns)
    cluster.set_cable(index, is_plugged=True)
    wait_for_hosts(cluster)
    return took_s


def lose_lane(cluster: ClusterOfHosts, names: set[str]) -> float:
    """The process of a lane is killed."""
    where = {one["name"]: one["lane"] for one in cluster.status()["cameras"]}
    lost = {name for name in names if where[name] == where["camera0"]}
    since_ns = time.time_ns()
    cluster.kill_lane("camera0")
    return cluster.wait_for_poses(lost, since_ns)


def lose_part(cluster: ClusterOfHosts, names: set[str]) -> float:
    """The process of a part is killed, whose supervisor starts it again."""
    lost = min(names)
    since_ns = time.time_ns()
    cluster.kill_part(lost)
    return cluster.wait_for_poses({lost}, since_ns)


FAULTS = {
    "a host loses its power": lose_power,
    "the cable of a host is pulled": lose_cable,
    "the process of a lane is killed": lose_lane,
    "the process of a part is killed": lose_part,
}


def find_victim(cluster: ClusterOfHosts, names: set[str]) -> tuple[int, set[str]]:
    """A host that is not the head and has cameras, and these."""
    cluster.wait_until(lambda: cluster.where().keys() == names, "not all cameras run")
    if set(cluster.where().values()) == {"node0"}:
        cluster.command("cluster", "drain", "node0")
        cluster.wait_until(lambda: "node0" not in cluster.where().values(), "node0 is not drained")
        cluster.command("cluster", "drain", "node0", "--undo")
    where = cluster.where()
    index = next(index for index in (2, 1) if f"node{index}" in where.values())
    return index, {name for name, host in where.items() if host == f"node{index}"}


def wait_for_hosts(cluster: ClusterOfHosts) -> None:
    """Wait until all hosts are there again."""
    cluster.wait_until(lambda: len(cluster.status()["hosts"]) == len(cluster.names), "a host has not joined again")


def make_table(times: Mapping[str, list[float]], faults: list[str]) -> str:
    """The times as Markdown, below the machine and what it did besides."""
    head = "| fault | times | without poses: median | most |\n|---|---|---|---|"
    rows = [
        f"| {name} | {len(found)} | {statistics.median(found):.1f} s | {max(found):.1f} s |"
        for name, found in times.items()
    ]
    wrong = "; ".join(faults[:5]) or "none"
    machine = f"{describe_machine()}, load {os.getloadavg()[0]:.0f}; three hosts in network namespaces"
    return "\n".join([machine, "", head, *rows, "", f"Out of order, twice, or of a line that was replaced: {wrong}."])


def find_faults(poses: Iterable[Pose]) -> list[str]:
    """Messages that came twice or out of order, and publishers that were heard after they had been replaced.

    The frames of a line are numbered from 0, at ten a second: so the capture and the number of a frame say when its
    line was started, and a line that was started later replaces the others.
    """
    last: dict[str, Pose] = {}
    starts_s: dict[str, float] = {}
    faults = []
    for pose in poses:
        before = last.get(pose.camera)
        if before is not None and pose.seq <= before.seq:
            faults.append(f"{pose.camera}: message {pose.seq} after {before.seq}")
        if before is not None and pose.captured_ns <= before.captured_ns:
            faults.append(f"{pose.camera}: a frame of {pose.captured_ns} after one of {before.captured_ns}")
        start_s = pose.captured_ns / 1e9 - pose.frame_seq / _FPS
        if start_s < starts_s.get(pose.camera, start_s) - _LATE_S:
            faults.append(f"{pose.camera}: message {pose.seq} is of a line that was replaced")
        # A frame may have been captured late, on a busy machine; one that is early shows what is true.
        is_new = start_s > starts_s.get(pose.camera, 0.0) + _LATE_S
        starts_s[pose.camera] = start_s if is_new else min(start_s, starts_s[pose.camera])
        last[pose.camera] = pose
    return faults


def watch(keys: Path) -> None:
    """Print each message of the relay as a line of JSON, for ever."""
    from stream.protocol.subscriber import Subscriber

    with Subscriber(
        "tcp://10.99.0.1:5570", server_key=keys / "server.key", client_key=keys / "client.key_secret"
    ) as subscriber:
        for message in subscriber:
            if not message.retained:
                found = Pose(message.camera, message.seq, message.frame_seq, message.wall_ns, message.received_ns)
                print(json.dumps(asdict(found)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
