"""What this host knows of its cluster, and how Ray is started; Ray itself need not be here."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stream.cluster import node
from stream.cluster.membership import Membership, check_token, find_folder, find_token, holding, load, require, save
from stream.cluster.node import Offer, make_environment
from stream.errors import TransportError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POSESTREAM_CLUSTER_DIR", str(tmp_path / "cluster"))
    return find_folder()


def test_the_folder_is_for_this_user_alone(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    with pytest.raises(TransportError, match=r"is open to others .*chmod 700 it if it is yours, or choose another"):
        find_folder()


def test_a_token_is_made_once_and_is_for_this_user_alone(folder: Path) -> None:
    file = find_token(folder, is_new=True)
    assert len(file.read_text()) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert find_token(folder, is_new=True).read_text() == file.read_text()
    file.chmod(0o644)
    with pytest.raises(TransportError, match=r"others may read the token .*\(mode 644\); chmod 600"):
        check_token(file)
    file.unlink()
    with pytest.raises(TransportError, match=r"copy the head's token there, mode 600, or name it with --token-file"):
        find_token(folder)


def test_an_empty_token_is_none(folder: Path) -> None:
    file = folder / "token"
    file.touch(0o600)
    with pytest.raises(TransportError, match="token is empty; copy the head's token there"):
        check_token(file)


def test_a_host_knows_its_cluster_while_a_process_runs_it(folder: Path) -> None:
    member = Membership("10.0.0.1:6379", str(folder / "token"), "node", pid=os.getpid())
    with holding(folder):
        assert load(folder) is None
        save(folder, member)
        assert load(folder) == require(folder) == member
        with pytest.raises(TransportError, match="has joined the cluster of 10") as caught, holding(folder):
            pass
        assert f"already (process {os.getpid()}); 'posestream cluster down' ends that" in str(caught.value)
    save(folder, member)  # as one that was killed leaves it, also if its number belongs to another process by now
    assert load(folder) is None
    with holding(folder):
        assert load(folder) is None
    with pytest.raises(TransportError, match="this host is in no cluster; start one with 'posestream cluster up', or"):
        require(folder)


def test_ray_always_wants_the_token(folder: Path) -> None:
    environment = make_environment(folder / "token")
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(folder / "token")


def test_ray_is_started_with_what_the_host_offers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(node, "Node", lambda words, *_: started.append(words))
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path / "run"))
    offer = Offer("node2", "10.0.0.2", cpus=4, gpus=1, labels={"zone": "north", "disk": "fast"})
    node.start_head(offer, 6379, tmp_path / "token", tmp_path / "log")
    node.start_member(offer, "10.0.0.1:6379", tmp_path / "token", tmp_path / "log")
    head, member = (" ".join(words) for words in started)
    assert "--head --port 6379 --include-dashboard=false" in head
    assert member.startswith("--address 10.0.0.1:6379 ")
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    for words in (head, member):
        assert f"--node-name node2 --temp-dir {tmp_path}/run/ray " in words
        assert "--node-ip-address 10.0.0.2 --num-cpus 4 --num-gpus 1 --labels zone=north,disk=fast" in words


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        ("2026-12-01 15:07:06,823\tINFO node.py:438 -- Failed to reach it\n", "Failed to reach it"),
        ("[2026-12-01 15:13:07,933 W 19622 19631] (raylet) store.cc:366: Disconnecting\n", "(raylet) store.cc:366:"),
        ("going on\nConnectionError: no head\nsee above\n", "ConnectionError: no head"),
        ("", "it said nothing"),
    ],
)
def test_why_ray_has_ended_is_what_it_said_last(tmp_path: Path, printed: str, why: str) -> None:
    ended = node.Node.__new__(node.Node)
    ended.log = tmp_path / "log"
    ended.log.write_text(printed)
    ended._process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    ended._process.wait()
    assert ended.describe_end().startswith(f"ray has ended with status 3: {why}")


def test_a_host_is_started_again_until_it_is_asked_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "_AGAIN_S", 0.0)
    said: list[str] = []
    log = tmp_path / "log"

    class Ended:
        is_alive = False

        def describe_end(self) -> str:
            return "ray has ended with status 1"

        def close(self) -> None:
            log.write_text("closed")

    node.stay(lambda: Ended(), lambda: len(said) == 3, said.append)  # type: ignore[arg-type, return-value]
    assert said == ["ray has ended with status 1; started again"] * 3
    assert log.read_text() == "closed"


@pytest.mark.skipif(sys.platform != "linux", reason="the end of a parent is noticed on Linux")
def test_a_lack_of_ray_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(node, "find_spec", lambda name: None)
    with pytest.raises(TransportError, match=r"a cluster needs ray; in a clone of posestream: pip install '\.\[ray\]'"):
        node.require_ray()
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "stream.cluster.ray_engine", raising=False)
    for name in make_environment(tmp_path):
        monkeypatch.setenv(name, "")
    with pytest.raises(TransportError, match=r"a cluster needs ray; in a clone of posestream: pip install '\.\[ray\]'"):
        node.load_engine(tmp_path / "token")
