"""The commands of clusters, where no cluster runs."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from stream.__main__ import execute
from stream.cli import cluster
from stream.cluster import node
from stream.cluster.controller import CameraStatus, HostStatus, Status
from stream.cluster.membership import Membership, find_folder, find_token, holding, save

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that fails, and returns what it says."""
    monkeypatch.setenv("POSESTREAM_CLUSTER_DIR", str(tmp_path / "cluster"))
    monkeypatch.setattr(node, "find_spec", lambda name: True)
    monkeypatch.chdir(tmp_path)

    def execute_it(*words: str) -> str:
        assert execute(words) != 0
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        return said.err

    return execute_it


@pytest.mark.parametrize("words", [("status",), ("drain", "node2"), ("down",)])
def test_a_host_in_no_cluster_says_how_to_start_one(run: Run, words: tuple[str, ...]) -> None:
    said = run("cluster", *words)
    assert "this host is in no cluster; start one with 'posestream cluster up', or join one with" in said


def test_top_shows_the_cluster_or_a_line(run: Run, tmp_path: Path) -> None:
    assert "this host is in no cluster" in run("top", "--cluster")
    assert "it names one line of this host; leave it out" in run("top", "--cluster", "--run-dir", str(tmp_path))


@pytest.mark.parametrize("words", [("up",), ("join", "10.0.0.1:6379")])
def test_without_ray_the_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr(node, "find_spec", lambda name: None)
    assert run("cluster", *words) == "posestream: a cluster needs ray; in a clone of posestream: pip install '.[ray]'\n"


def test_a_host_is_in_one_cluster(run: Run) -> None:
    find_token(find_folder(), is_new=True)
    with holding(find_folder()):
        save(find_folder(), Membership("10.0.0.1:6379", "token", "node", pid=os.getpid()))
        said = run("cluster", "join", "10.0.0.2:6379")
    assert f"this host has joined the cluster of 10.0.0.1:6379 already (process {os.getpid()}); 'posestream" in said


def test_a_drain_can_be_waited_for(
    monkeypatch: pytest.MonkeyPatch, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    left = iter([2, 2, 1, 0])

    class Client:
        drained: ClassVar[list[str]] = []

        def drain(self, host: str, *, is_drained: bool) -> None:
            assert is_drained
            self.drained.append(host)

        def status(self) -> Status:
            busy = HostStatus("node1", 4, 0, {}, is_drained=False, lanes=1, cameras=3)
            return Status((busy, HostStatus("node2", 4, 0, {}, is_drained=True, lanes=1, cameras=next(left))))

    monkeypatch.setattr(cluster, "_POLL_S", 0.0)
    monkeypatch.setattr(cluster, "open_client", lambda: contextlib.nullcontext((Client(), None)))
    assert execute(("cluster", "drain", "--wait", "node2")) == 0
    said = capfd.readouterr().err
    assert said == "node2 still has 2 cameras\nnode2 still has 1 camera\n"
    assert (Client.drained, next(left, None)) == (["node2"], None)
    assert "--wait has no effect with --undo" in run("cluster", "drain", "--wait", "--undo", "node2")


def test_mistyped_words_name_the_form(run: Run) -> None:
    assert "HEAD:PORT '10.0.0.1' is not HOST:PORT" in run("cluster", "join", "10.0.0.1")
    assert "'zone' is not NAME=VALUE" in run("cluster", "up", "--label", "zone")
    assert "there is no" in run("cluster", "join", "10.0.0.1:6379")


def test_a_site_that_cannot_be_deployed_is_refused_before_a_cluster_is_needed(run: Run, tmp_path: Path) -> None:
    line = "line:\n  - testsrc\n  - tests.toys.oracle\n  - keypointsink\n"
    (tmp_path / "site.yaml").write_text(line + "cluster: {lanes: 3}\n")
    assert "site.yaml: cluster: Object contains unknown field `lanes`; its keys are cameras_per_lane" in (
        run("deploy", "site.yaml")
    )
    (tmp_path / "site.yaml").write_text("line: [testsrc, fakesink]\n")
    assert "a site needs one of each" in run("deploy", "site.yaml")
    (tmp_path / "site.yaml").write_text(line)
    assert "this host is in no cluster" in run("deploy", "site.yaml")
    assert "'a/b' is no name for a site" in run("deploy", "site.yaml", "--name", "a/b")


def test_the_status_shows_hosts_cameras_and_what_waits() -> None:
    found = Status(
        (HostStatus("node2", 4.0, 1, {"zone": "north"}, True, 1, 1),),
        (
            CameraStatus("site", "hall", "running", "", "site/1", "node2", 17, "tcp://10.0.0.2:4000", 9.8, 41.0, 2),
            CameraStatus("site", "yard", "waiting", "no host has the labels gpu=yes"),
        ),
        {"site/2": "there is no host"},
        "no disk",
    )
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(cluster.render(found))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines() if line.strip()]
    assert lines == [
        "host state lanes cameras CPUs GPUs labels",
        "node2 drained 1 1 4 1 zone=north",
        "camera state host lane number fps age p95 drops address",
        "site/hall running node2 site/1 17 9.8 41 2 tcp://10.0.0.2:4000",
        "site/yard waiting 0.0 0",
        "site/yard: no host has the labels gpu=yes",
        "site/2 waits: there is no host",
        "the controller cannot go on: no disk",
    ]
