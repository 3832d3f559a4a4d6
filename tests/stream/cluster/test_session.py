"""Three hosts and six cameras: a host dies, one is cut off and comes back, one is drained, two cameras are added."""

from __future__ import annotations

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.cluster import ClusterOfHosts, Pose, deploy_six, find_faults
from benchmarks.namespaces import why_not


@pytest.mark.large
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: pip install '.[ray]'")
def test_cameras_outlive_their_hosts() -> None:
    if reason := why_not():
        pytest.skip(reason)
    # Not tmp_path: paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="cl") as folder, ClusterOfHosts(Path(folder)) as cluster:
        names = deploy_six(cluster)
        assert set(cluster.where().values()) == {"node0", "node1", "node2"}

        numbers = find_numbers(cluster)
        cluster.kill_controller()
        cluster.wait_until(lambda: find_numbers(cluster) == numbers, "the controller does not go on with what runs")

        since_ns = time.time_ns()
        cluster.power_off(2)
        cluster.wait_for_poses(names, since_ns)
        assert set(cluster.where().values()) == {"node0", "node1"}
        moved = {name for name, number in find_numbers(cluster).items() if number > numbers[name]}
        assert len(moved) == 2

        cluster.join(2)
        cluster.wait_until(lambda: len(cluster.status()["hosts"]) == 3, "node2 has not joined again")
        since_ns = time.time_ns()
        cluster.set_cable(1, is_plugged=False)
        cluster.wait_for_poses(names, since_ns)
        assert "node1" not in cluster.where().values()
        cluster.set_cable(1, is_plugged=True)  # its lanes have run on; now it hears that it was given up
        cluster.wait_until(lambda: len(cluster.status()["hosts"]) == 3, "node1 has not joined again")

        cluster.command("cluster", "drain", "node2")
        cluster.wait_until(lambda: "node2" not in cluster.where().values() and len(cluster.where()) == 6, "not drained")

        since_ns = time.time_ns()
        for name in ("new0", "new1"):
            cluster.command("camera", "add", str(cluster.site), name, "seed=9")
        cluster.wait_for_poses([*names, "new0", "new1"], since_ns)
        assert "node2" not in cluster.where().values()
        assert cluster.find_faults() == []
        assert "does not answer" in cluster.why_refused("0" * 64)


def find_numbers(cluster: ClusterOfHosts) -> dict[str, int]:
    """The number of each camera's placement; empty where the controller does not answer."""
    try:
        return {one["name"]: one["number"] for one in cluster.status()["cameras"]}
    except RuntimeError:
        return {}


def make_poses(*frames: tuple[int, int, float]) -> list[Pose]:
    """Poses of ``seq``, ``frame_seq`` and capture (s)."""
    return [Pose("hall", seq, frame, int(at_s * 1e9), int(at_s * 1e9)) for seq, frame, at_s in frames]


@pytest.mark.parametrize(
    ("poses", "fault"),
    [
        (make_poses((1, 0, 10.0), (2, 1, 10.1), (3, 0, 20.0)), ""),
        (make_poses((1, 0, 10.0), (1, 0, 10.0)), "message 1 after 1"),
        (make_poses((1, 0, 10.0), (2, 0, 9.0)), "after one of"),
        (make_poses((1, 0, 10.0), (2, 0, 20.0), (3, 101, 20.1)), "message 3 is of a line that was replaced"),
    ],
)
def test_a_fault_would_be_found(poses: list[Pose], fault: str) -> None:
    found = find_faults(poses)
    assert bool(found) == bool(fault)
    assert fault in "".join(found)
