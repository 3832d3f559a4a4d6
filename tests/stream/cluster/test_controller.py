"""The controller follows the folder of cameras and the deployed sites, and gives orders to hosts that are fake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stream.cluster.assignment import Host
from stream.cluster.controller import Controller, Deployment
from stream.cluster.fleet import Run
from stream.cluster.lane import Assignment, CameraState, Report
from stream.cluster.settings import Settings
from stream.errors import PropertyError, TransportError
from stream.site.folder import CameraFolder


@dataclass
class FakeLane:
    """A lane that does what it is asked at once."""

    run: Run
    line: str
    turn: int = -1
    cameras: Mapping[str, Assignment] = field(default_factory=dict)
    age_ms: float = 10.0


class FakeEngine:
    """Hosts that live until they are removed; lanes take no orders where it ``is_deaf``."""

    def __init__(self) -> None:
        self.names = {"a": Host(4), "b": Host(4)}
        self.lanes: dict[int, FakeLane] = {}
        self.is_deaf = False
        self.why_failed: dict[str, str] = {}

    def failures(self) -> Mapping[str, str]:
        return self.why_failed

    def hosts(self) -> Mapping[str, Host]:
        return self.names

    def start(self, run: Run, deployment: Deployment) -> None:
        self.lanes[run.number] = FakeLane(run, deployment.line)

    def stop(self, run: Run) -> None:
        self.lanes.pop(run.number)

    def follow(self, run: Run, turn: int, cameras: Mapping[str, Assignment]) -> bool:
        if self.is_deaf or run.number not in self.lanes:
            return False
        self.lanes[run.number].turn, self.lanes[run.number].cameras = turn, cameras
        return True

    def reports(self) -> Mapping[int, Report | None]:
        self.lanes = {number: lane for number, lane in self.lanes.items() if lane.run.host in self.names}
        return {number: self._report(lane) for number, lane in self.lanes.items()}

    def adopt(self) -> Iterable[tuple[Run, Mapping[str, int]]]:
        return [
            (lane.run, {name: given.number for name, given in lane.cameras.items()}) for lane in self.lanes.values()
        ]

    def _report(self, lane: FakeLane) -> Report | None:
        if lane.turn < 0:
            return None
        states = {
            name: CameraState(
                given.number, "running", address="tcp://here:1", is_settled=True, fps=5, age_p95_ms=lane.age_ms
            )
            for name, given in lane.cameras.items()
        }
        return Report(lane.turn, states)


class Bench:
    """A controller, its hosts, a clock, and a site."""

    def __init__(self, folder: Path) -> None:
        self.now_s, self.folder = 0.0, folder
        self.engine = FakeEngine()
        self.cameras = CameraFolder(folder / "site.d")
        self.controller = self.make()

    def make(self) -> Controller:
        return Controller(self.engine, self.folder, lambda: self.now_s)

    def deploy(self, line: str = "line", **settings: object) -> None:
        wanted = Settings(**{"cameras_per_lane": 2, **settings})  # type: ignore[arg-type]
        self.controller.deploy("site", Deployment(line, "site.yaml", str(self.cameras.path), wanted))

    def add(self, *names: str, **properties: str) -> None:
        for name in names:
            self.cameras.add(name, properties, lambda: None)

    def settle(self, turns: int = 20) -> None:
        for _ in range(turns):
            self.now_s += 1.0
            self.controller.turn()

    def running(self) -> dict[str, str]:
        return {one.name: one.host for one in self.controller.status.cameras if one.state == "running"}

    def given(self) -> dict[str, Assignment]:
        return {name: given for lane in self.engine.lanes.values() for name, given in lane.cameras.items()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    tmp_path.chmod(0o700)
    return Bench(tmp_path)


def test_cameras_of_a_deployed_site_run_with_their_properties(bench: Bench) -> None:
    bench.add("hall", seed="3")
    bench.deploy()
    bench.settle()
    (status,) = bench.controller.status.cameras
    assert (status.site, status.name, status.state, status.address) == ("site", "hall", "running", "tcp://here:1")
    assert bench.given()["hall"].properties == (("seed", "3"),)


def test_a_lane_that_ends_again_and_again_says_why(bench: Bench) -> None:
    bench.engine.is_deaf = True
    bench.engine.why_failed["site/1"] = "run directory /run/posestream is open to others"
    bench.add("hall")
    bench.deploy()
    bench.settle()
    (status,) = bench.controller.status.cameras
    said = "its lane has ended before, and is started again: run directory /run/posestream is open to others"
    assert (status.state, status.why) == ("starting", said)
    bench.engine.is_deaf = False
    bench.engine.why_failed.clear()
    bench.settle()
    assert [(one.state, one.why) for one in bench.controller.status.cameras] == [("running", "")]


def test_the_folder_of_cameras_is_followed(bench: Bench) -> None:
    bench.deploy()
    bench.settle()
    bench.add("hall", "yard", "gate")
    bench.settle()
    assert bench.running().keys() == {"hall", "yard", "gate"}
    bench.cameras.remove("yard")
    bench.cameras.pause("gate", True)
    bench.settle()
    assert bench.running().keys() == {"hall"}
    assert {one.name: one.state for one in bench.controller.status.cameras} == {"hall": "running", "gate": "paused"}


def test_a_camera_whose_file_changed_is_given_anew_with_a_higher_number(bench: Bench) -> None:
    bench.add("hall", "yard", seed="3")
    bench.deploy()
    bench.settle()
    before = bench.given()
    bench.cameras.remove("hall")
    bench.add("hall", seed="4")
    bench.settle()
    after = bench.given()
    assert after["hall"].properties == (("seed", "4"),)
    assert after["hall"].number > before["hall"].number
    assert after["yard"] == before["yard"]


def test_a_file_that_cannot_run_says_why_and_concerns_no_other(bench: Bench) -> None:
    bench.add("hall")
    bench.deploy()
    (bench.cameras.path / "bad.yaml").write_text("properties: 7\n")
    bench.settle()
    status = {one.name: one for one in bench.controller.status.cameras}
    assert status["hall"].state == "running"
    assert status["bad"].state == "failed"
    assert "bad.yaml" in status["bad"].why


def test_a_dead_host_is_replaced_and_a_drained_one_emptied(bench: Bench) -> None:
    bench.add("hall", "yard", "gate", "door")
    bench.deploy()
    bench.settle()
    assert set(bench.running().values()) == {"a", "b"}
    del bench.engine.names["b"]
    bench.settle()
    assert set(bench.running().values()) == {"a"}
    bench.engine.names["b"] = Host(4)
    bench.controller.drain("a")
    bench.settle()
    assert set(bench.running().values()) == {"b"}
    assert [one.is_drained for one in bench.controller.status.hosts] == [True, False]


def test_a_drain_of_no_host_names_those_that_are_there(bench: Bench) -> None:
    with pytest.raises(PropertyError, match="there is no host 'c'; there are: a, b"):
        bench.controller.drain("c")
    with pytest.raises(PropertyError, match="no site 'other' is deployed; there are: none"):
        bench.controller.withdraw("other")


def test_late_frames_get_one_more_lane_and_quiet_ones_one_less(bench: Bench) -> None:
    bench.add("hall", "yard", "gate", "door")
    bench.deploy(late_s=5, quiet_min=1)
    bench.settle()
    assert len(bench.engine.lanes) == 2
    for _ in range(10):
        for lane in bench.engine.lanes.values():
            lane.age_ms = 5000.0
        bench.settle(1)
    assert len(bench.engine.lanes) == 3
    for lane in bench.engine.lanes.values():
        lane.age_ms = 10.0
    bench.settle(90)
    assert len(bench.engine.lanes) == 2
    assert len(bench.running()) == 4


def test_a_changed_line_comes_camera_by_camera(bench: Bench) -> None:
    bench.add("hall", "yard", "gate", "door")
    bench.deploy()
    bench.settle()
    bench.deploy(line="another line")
    seen = set()
    for _ in range(30):
        bench.settle(1)
        seen.add(len(bench.given()))
    assert {lane.line for lane in bench.engine.lanes.values()} == {"another line"}
    assert seen <= {3, 4}
    assert len(bench.running()) == 4


def test_other_bounds_move_no_camera(bench: Bench) -> None:
    bench.add("hall", "yard")
    bench.deploy()
    bench.settle()
    before = bench.given()
    bench.deploy(max_lanes=3, age_limit_ms=100)
    bench.settle()
    assert bench.given() == before


def test_a_controller_that_is_started_again_changes_nothing(bench: Bench) -> None:
    bench.add("hall", "yard", "gate")
    bench.deploy()
    bench.settle()
    before = bench.given()
    bench.controller.drain("a")
    bench.controller = bench.make()
    bench.controller.drain("a", is_drained=False)
    bench.settle()
    assert bench.given() == before
    assert len(bench.running()) == 3


def test_a_camera_that_may_have_reached_a_lane_is_given_to_no_other(bench: Bench) -> None:
    """A lane that does not answer may have the camera that its last orders were about."""
    bench.add("hall")
    bench.deploy()
    bench.settle()
    bench.engine.is_deaf = True
    bench.controller.drain(bench.running()["hall"])
    bench.settle()
    assert [len(lane.cameras) for lane in bench.engine.lanes.values() if lane.cameras] == [1]


def test_all_lanes_end_where_the_cluster_ends_and_the_site_is_kept(bench: Bench) -> None:
    bench.add("hall", "yard", "gate")
    bench.deploy()
    bench.settle()
    for _ in range(10):
        bench.controller.end()
    assert bench.controller.is_idle
    assert not bench.engine.lanes
    bench.controller = bench.make()
    bench.settle()
    assert len(bench.running()) == 3


def test_a_withdrawn_site_is_forgotten(bench: Bench) -> None:
    bench.add("hall")
    bench.deploy()
    bench.settle()
    bench.controller.withdraw("site")
    bench.settle()
    assert not bench.engine.lanes
    assert bench.make().status.cameras == ()


@pytest.mark.parametrize("content", [b"{", b'{"sites":{"\xff":1}}'])
def test_what_was_kept_and_cannot_be_read_is_named_with_the_remedy(content: bytes, bench: Bench) -> None:
    (bench.folder / "sites.json").write_bytes(content)
    with pytest.raises(TransportError, match=r"cannot be read from .*remove it, and deploy again"):
        bench.make()
