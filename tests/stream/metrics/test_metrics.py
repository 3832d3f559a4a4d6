"""The metrics of a line: from notices to the text that Prometheus reads, judged by its own tools."""

from __future__ import annotations

import json
import logging
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream.__main__ import execute
from stream.metrics import exporter
from stream.metrics.collector import LineCollector
from stream.metrics.exporter import Exporter
from stream.metrics.line_watch import SILENT_S, LineWatch
from stream.metrics.running_lines import RunningLines
from stream.pipeline.launch import parse_launch
from stream.runtime.bus import Error, Qos, Restarted, Stats, Warning_
from stream.runtime.run_dir import Run, RunDirectory

ROOT = Path(__file__).resolve().parents[3]
BOARD, ALERTS = ROOT / "docs/metrics/grafana.json", ROOT / "docs/metrics/alerts.yml"
NAME = re.compile(r"\bposestream_\w+")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[LineWatch]:
    """A line of two parts that has sent nothing yet."""
    folder = tmp_path / "hall"
    folder.mkdir()
    (folder / "line.yaml").write_text(parse_launch("testsrc ! queue ! fakesink").to_yaml())
    watch = LineWatch(folder)
    yield watch
    watch.close()


def scrape(line: LineWatch) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of their names."""
    registry = CollectorRegistry()
    registry.register(LineCollector(lambda: [line]))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name.removeprefix("posestream_"), *s.labels.values()): s.value for f in families for s in f.samples}


def test_a_heartbeat_becomes_metrics_in_base_units(line: LineWatch) -> None:
    line.receive(
        Stats(
            part="testsrc", state="PLAYING", pid=1, incarnation=1, fps=29.5, items=120, waiting=3, unfinished=2,
            errors=4, process_p50_ms=2.5, process_p95_ms=8, age_p50_ms=20, age_p95_ms=35, resent=5, malformed=6,
            rss_bytes=7, idle_ms=250,
        )
    )  # fmt: skip
    found = scrape(line)
    part = ("hall", "testsrc")
    assert {key[0]: value for key, value in found.items() if key[1:] == part} == {
        "part_up": 1, "frames_per_second": 29.5, "waiting_items": 3, "unfinished_items": 2, "resident_memory_bytes": 7,
        "idle_seconds": 0.25, "items_total": 120, "item_errors_total": 4, "resent_items_total": 5,
        "malformed_messages_total": 6, "restarts_total": 1, "warnings_total": 0, "errors_total": 0,
    }  # fmt: skip
    assert found["process_seconds", *part, "50"] == 0.0025
    assert found["process_seconds", *part, "95"] == 0.008
    assert found["age_seconds", *part, "95"] == 0.035


def test_drops_are_totals_by_camera_and_reason_though_notices_repeat_them_or_get_lost(line: LineWatch) -> None:
    for total in (2, 9, 9):
        line.receive(Qos(part="testsrc", camera="yard", reason="no credit", dropped=1, total=total))
    line.receive(Qos(part="testsrc", camera="yard", reason="late", dropped=1, total=1))
    found = scrape(line)
    assert found["dropped_items_total", "yard", "hall", "testsrc", "no credit"] == 9
    assert found["dropped_items_total", "yard", "hall", "testsrc", "late"] == 1


def test_restarts_warnings_and_errors_are_counted(line: LineWatch) -> None:
    line.receive(Restarted(part="fakesink", why="killed", count=3))
    line.receive(Warning_(part="fakesink", text="w"))
    line.receive(Error(part="fakesink", text="e"))
    line.receive(Stats(part="fakesink", incarnation=2))
    found = scrape(line)
    assert [found[name, "hall", "fakesink"] for name in ("restarts_total", "warnings_total", "errors_total")] == [
        3,
        1,
        1,
    ]


def test_a_line_is_up_when_all_its_parts_answer(line: LineWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    line.receive(Stats(part="testsrc"))
    assert (scrape(line)["line_up", "hall"], line.trouble) == (0, "no heartbeat yet from fakesink")
    line.receive(Stats(part="fakesink", finished=True))
    assert (scrape(line)["line_up", "hall"], line.trouble) == (1, "")
    now_s = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now_s + SILENT_S + 1)
    found = scrape(line)
    assert line.trouble == "no heartbeat for 3 s from testsrc"
    assert (found["part_up", "hall", "testsrc"], found["part_up", "hall", "fakesink"]) == (0, 1), "one has ended"


def get(url: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_over_http_a_process_is_healthy_and_ready_when_its_lines_are(line: LineWatch) -> None:
    with Exporter("127.0.0.1", 0) as exporter:
        base = exporter.address.removesuffix("/metrics")
        assert get(f"{base}/healthz") == (200, "ok\n")
        assert get(f"{base}/readyz") == (503, "no line runs\n")
        exporter._running._lines[Run(line.run_dir, "", 1, 0)] = line
        assert get(f"{base}/readyz") == (503, "hall: no heartbeat yet from testsrc, fakesink\n")
        for part in line.parts:
            line.receive(Stats(part=part))
        assert get(f"{base}/readyz") == (200, "ok\n")
        assert 'posestream_line_up{line="hall"} 1.0' in get(exporter.address)[1].splitlines()
        assert get(f"{base}/other") == (404, "see /metrics, /healthz and /readyz\n")


@pytest.mark.parametrize(("host", "status"), [("localhost:1", 200), ("[::1]", 200), ("evil.example", 421), ("[", 421)])
def test_on_loopback_only_names_of_this_host_are_answered(host: str, status: int) -> None:
    with Exporter("127.0.0.1", 0) as exporter:
        assert get(exporter.address.replace("/metrics", "/healthz"), host)[0] == status


def test_clients_that_say_nothing_leave_no_traceback_and_no_more_threads_than_a_few(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exporter._QuietHandler, "timeout", 0.5)
    with Exporter("127.0.0.1", 0) as served, ExitStack() as opened:
        address = ("127.0.0.1", served._server.server_port)
        before = threading.active_count()
        silent = [
            opened.enter_context(socket.create_connection(address)) for _ in range(exporter._MAX_CONNECTIONS + 20)
        ]
        assert threading.active_count() - before <= exporter._MAX_CONNECTIONS
        for client in silent:
            client.settimeout(10)
            assert client.recv(1) == b""  # closed: at once, or after the time limit
        assert get(served.address.replace("/metrics", "/healthz"))[0] == 200
    assert capfd.readouterr().err == ""


def test_running_lines_are_followed_until_they_end(
    line: LineWatch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    runs = [Run(line.run_dir, "", 1, 0)]
    monkeypatch.setattr("stream.metrics.running_lines.list_runs", lambda _directories: runs)
    with closing(RunningLines()) as running:
        running.follow()
        assert [watch.name for watch in running.lines] == ["hall"]
        runs.clear()
        running.scan()
        assert running.lines == ()
    assert caplog.messages == [f"the line in {line.run_dir} {what}" for what in ("is followed", "has ended")]


def test_a_line_is_down_where_its_directory_was_named_and_it_does_not_run(tmp_path: Path) -> None:
    with (
        closing(RunDirectory(tmp_path / "yard")) as run,
        Exporter("127.0.0.1", 0, [run.path, tmp_path / "hall"]) as exporter,
    ):
        run.write("line.yaml", parse_launch("testsrc ! fakesink").to_yaml())
        exporter._running.scan()
        assert [watch.name for watch in exporter._running.lines] == ["yard"]
        lines = get(exporter.address)[1].splitlines()
        assert [text for text in lines if text.startswith("posestream_line_up")] == [
            'posestream_line_up{line="yard"} 0.0',
            'posestream_line_up{line="hall"} 0.0',
        ]
        ready = get(exporter.address.replace("/metrics", "/readyz"))
        assert ready == (503, "yard: no heartbeat yet from testsrc\nhall: no line runs\n")


@pytest.mark.parametrize("listen", ["9464", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_one_line(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["metrics", "--listen", listen]) == 1
    assert capsys.readouterr().err == (
        f"posestream: --listen {listen!r} is not HOST:PORT; write it as in 127.0.0.1:9464\n"
    )


def test_an_address_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Exporter("127.0.0.1", 0) as exporter:
        taken = exporter.address.removeprefix("http://").removesuffix("/metrics")
        assert execute(["metrics", "--listen", taken]) == 1
    assert capsys.readouterr().err == (
        f"posestream: metrics cannot be served on {taken}: Address already in use; choose another --listen\n"
    )


# -- the board, the alerts and the page --------------------------------------------------------------------------------


def exported_names(line: LineWatch) -> set[str]:
    line.receive(Stats(part="testsrc"))
    line.receive(Qos(part="testsrc", camera="yard", reason="late", dropped=1, total=1))
    return {f"posestream_{key[0]}" for key in scrape(line)}


def board_queries() -> list[str]:
    panels = json.loads(BOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_the_board_and_the_alerts_use_metrics_that_exist_and_the_page_lists_all(line: LineWatch) -> None:
    exported = exported_names(line)
    used = {name for query in [*board_queries(), ALERTS.read_text()] for name in NAME.findall(query)}
    assert used <= exported
    assert set(NAME.findall((ROOT / "docs/how-to/metrics.md").read_text())) >= exported


def promtool(*arguments: str, text: str | None = None) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_finds_no_fault_with_the_metrics(line: LineWatch) -> None:
    exported_names(line)
    registry = CollectorRegistry()
    registry.register(LineCollector(lambda: [line]))
    promtool("check", "metrics", text=generate_latest(registry).decode())


def test_prometheus_reads_every_query_of_the_board(tmp_path: Path) -> None:
    queries = board_queries()
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "board.json"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", str(file))


def test_alerts_fire_when_they_should_and_not_before() -> None:
    promtool("test", "rules", str(ROOT / "tests/stream/metrics/alerts_test.yml"))
