"""The clients in docs/clients, run as a reader would run them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.elements.keypointsink import KeypointSink
from stream.messages import Poses
from stream.testing import make_poses
from stream.transports.curve import generate_keys
from tests.caches import cache_folder, fill_once
from tests.stream.publishing import TIMEOUT_S, count_snapshots, open_sink, wait_until
from tests.stream.relaying import open_line, open_relay

# npm fetches two packages of ready-made binaries; a machine that needs longer has no network to speak of.
INSTALL_TIMEOUT_S = 90
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def node(root: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Node.js client; its packages are installed once for each version of its package.json."""
    source = root / "docs/clients/node"
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("the Node.js client is not tried: no node and npm here")
    digest = hashlib.sha256((source / "package.json").read_bytes()).hexdigest()[:16]
    installed = fill_once(cache_folder(request, "node-client") / digest, lambda folder: install(source, folder))
    client = tmp_path_factory.mktemp("node-client")
    for file in source.glob("*.mjs"):
        shutil.copy(file, client)
    (client / "node_modules").symlink_to(installed / "node_modules")
    return client


def install(source: Path, folder: Path) -> None:
    shutil.copy(source / "package.json", folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"the Node.js client is not tried: its packages cannot be installed ({error})")


@contextmanager
def running(*command: str | Path, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A client in a process of its own, which is gone afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result(process: subprocess.Popen[str]) -> list[str]:
    """All it printed, when it has ended by itself."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    return out.splitlines()


def published(sink: KeypointSink, count: int = 5) -> list[Poses]:
    items = [make_poses(seq * 3, "hall") for seq in range(count)]
    for item in items:
        sink.consume(item)
        sink.consume(make_poses(item.frame.seq, "hallway"))
    sink.flush()
    return items


def check_equal(message: Any, number: int, item: Poses) -> None:
    """What a client printed as JSON is what was published."""
    assert (message["kind"], message["camera"], message["seq"]) == ("poses", "hall", number)
    assert message["frame_seq"] == item.frame.seq
    assert int(message["wall_ns"]) == item.frame.wall_ns
    assert int(message["ledger"]["captured"]) == item.frame.ledger["captured"]
    assert [person["id"] for person in message["people"]] == item.ids.tolist()
    for person, keypoints in zip(message["people"], item.keypoints, strict=True):
        np.testing.assert_array_equal(np.array(person["keypoints"], np.float32), keypoints)


@contextmanager
def open_way(way: str) -> Iterator[tuple[KeypointSink, str, Callable[[], int]]]:
    """A sink, the address of its subscribers, and how many snapshots they were sent."""
    if way == "direct":
        with open_sink() as sink:
            yield sink, sink.endpoint, lambda: count_snapshots(sink)
        return
    with open_relay() as relay, open_line(relay) as sink:
        yield sink, relay.bind, lambda: relay.server.statistics()[1].snapshots


@pytest.mark.parametrize("way", ["direct", "relay"])
def test_the_node_client_gets_the_very_keypoints_that_were_published(node: Path, way: str) -> None:
    with open_way(way) as (sink, address, count):
        command = ["node", "subscribe.mjs", "--address", address, "--camera", "hall", "--json", "--count", "6"]
        with running(*command, cwd=node) as client:
            wait_until(lambda: count() or client.poll() is not None, "the client is heard")
            items = published(sink)
            *messages, end = map(json.loads, result(client))
    for number, (message, item) in enumerate(zip(messages, items, strict=True)):
        check_equal(message, number, item)
    assert messages[-1]["joints"][9] == "left_wrist"
    assert messages[-1]["lost"] == 0
    assert (end["kind"], end["seq"]) == ("end", 5)


def test_the_node_client_joins_late_and_learns_skeleton_and_last_value(node: Path) -> None:
    with open_sink() as sink:
        items = published(sink)
        command = ["node", "subscribe.mjs", "--address", sink.endpoint, "--camera", "hall", "--json", "--count", "2"]
        with running(*command, cwd=node) as client:
            last, end = map(json.loads, result(client))
    check_equal(last, 4, items[4])
    assert last["joints"][0] == "nose"
    assert end["kind"] == "end"


def test_the_node_client_comes_in_with_keys(node: Path, tmp_path: Path) -> None:
    generate_keys(tmp_path)
    keys = ["--server-key", str(tmp_path / "server.key"), "--client-key", str(tmp_path / "client.key_secret")]
    with open_sink(keys=str(tmp_path / "server.key_secret"), clients=str(tmp_path)) as sink:
        published(sink)
        with running("node", "subscribe.mjs", "--address", sink.endpoint, "--count", "1", *keys, cwd=node) as client:
            assert result(client)[0].startswith("hall 12: ")


def test_the_node_client_passes_the_conformance_cases(node: Path) -> None:
    check_conformance("node", str(node / "conformance.mjs"))


def check_conformance(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/clients/conformance/run.py", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all passed\n")


@pytest.fixture(scope="session")
def compiler() -> str:
    """A C compiler."""
    return shutil.which("cc") or pytest.skip("the C client is not tried: no cc here")


def compile_c(compiler: str, target: Path, *sources: str, options: tuple[str, ...] = ()) -> str:
    strict = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror")
    files = [str(ROOT / "docs/clients/c" / source) for source in sources]
    done = subprocess.run(
        [compiler, *strict, *files, *options, "-o", target], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return str(target)


def test_the_c_client_passes_the_conformance_cases(compiler: str, tmp_path: Path) -> None:
    check_conformance(compile_c(compiler, tmp_path / "conformance", "conformance.c", "poses.c"))


def has_libzmq(compiler: str) -> bool:
    program = "#include <zmq.h>\nint main(void) { return !zmq_ctx_new(); }"
    command = [compiler, "-xc", "-", "-lzmq", "-o", os.devnull]
    return not subprocess.run(command, input=program.encode(), capture_output=True, check=False).returncode


def test_the_c_client_prints_what_is_published(compiler: str, tmp_path: Path) -> None:
    if not has_libzmq(compiler):
        pytest.skip("subscribe.c is not tried: no zmq.h and libzmq here (Debian: libzmq3-dev)")
    client = compile_c(compiler, tmp_path / "subscribe", "subscribe.c", "poses.c", options=("-lzmq",))
    with open_sink() as sink:
        published(sink, 1)
        with running(client, sink.endpoint, "hall", cwd=tmp_path) as process:
            assert process.stdout is not None
            x, y = make_poses(0).keypoints[0, 0, :2]
            assert process.stdout.readline().startswith(f"hall 0: 2 people; #1 nose at ({x:.0f}, {y:.0f}) px; #2 nose")
            assert process.stdout.readline() == "hall: the end\n"


def test_the_python_example_prints_what_is_published(root: Path, tmp_path: Path) -> None:
    source = (root / "docs/clients/subscribe.py").read_text()
    assert source.count("tcp://127.0.0.1:5570") == 1
    with open_sink() as sink:
        (tmp_path / "subscribe.py").write_text(source.replace("tcp://127.0.0.1:5570", sink.endpoint))
        with running(sys.executable, tmp_path / "subscribe.py", cwd=root) as client:
            wait_until(lambda: count_snapshots(sink) or client.poll() is not None, "the client is heard")
            sink.consume(make_poses(0, "hall"))
            assert client.stdout is not None
            wrist = make_poses(0).keypoints[0, 9]
            assert client.stdout.readline() == f"hall #1 at ({wrist[0]:.0f}, {wrist[1]:.0f}) px, score 0.80\n"
