"""A site: the files say what runs; only what changed is touched; a line that fails does not concern the others."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stream.errors import PartError, TransportError
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.protocol.subscriber import Subscriber
from stream.runtime.bus import Qos
from stream.runtime.shared_process import SharedProcesses
from stream.runtime.supervisor import Supervisor
from stream.site import site as site_module
from stream.site.folder import CameraFolder
from stream.site.site import Site
from stream.site.template import Template
from tests.stream.site.bench import Bench, make_template, open_bench


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock of the site, in seconds from now."""
    now_s = time.monotonic()
    return lambda later_s: monkeypatch.setattr("stream.site.site.time.monotonic", lambda: now_s + later_s)


def test_two_sites_do_not_share_a_folder(bench: Bench) -> None:
    with pytest.raises(
        TransportError, match=r"^a site has the cameras in .* already; end it, or choose other --cameras$"
    ):
        Site(make_template(), bench.folder, on_stderr=print)


def test_only_the_camera_that_changed_is_touched(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bench.site.add("hall", {"seed": "1"})
    bench.site.add("yard", {"seed": "2"})
    assert bench.states() == {"hall": "running", "yard": "running"}
    hall, yard = bench.lines
    bench.site.pause("yard", True)
    assert bench.states() == {"hall": "running", "yard": "draining"}
    yard.has_ended = True
    assert bench.states() == {"hall": "running", "yard": "paused"}
    bench.site.pause("yard", False)
    assert bench.states() == {"hall": "running", "yard": "running"}
    bench.site.remove("yard")
    bench.states()
    bench.lines[2].has_ended = True
    assert bench.states() == {"hall": "running"}
    assert [line.did for line in bench.lines] == [["play"], ["play", "stop"], ["play", "stop"]]
    assert hall.run_dir != yard.run_dir
    did = [text.partition(" line ")[::2] for text in caplog.messages]
    assert did[:2] == [("hall: its", f"is started in {hall.run_dir}"), ("yard: its", f"is started in {yard.run_dir}")]
    assert did[2:4] == [("yard: its", "delivers what is in flight, and ends"), ("yard: its", "has ended")]


def test_a_file_that_is_edited_starts_its_camera_again_with_what_it_says(bench: Bench) -> None:
    bench.site.add("hall", {"seed": "1"})
    bench.states()
    (bench.folder.path / "hall.yaml").write_text("properties: {seed: 22}\n")
    assert bench.states() == {"hall": "draining"}
    bench.lines[0].has_ended = True
    assert bench.states() == {"hall": "draining"} or bench.states() == {"hall": "running"}
    assert bench.lines[1].pipeline.lines[0].elements[0].seed == 22  # type: ignore[attr-defined]


@pytest.mark.parametrize(("text", "why"), [("properties: {sed: 1}", "no property 'sed'"), ("{", "hall.yaml line")])
def test_a_file_that_is_edited_wrongly_changes_nothing_and_says_so(bench: Bench, text: str, why: str) -> None:
    bench.site.add("hall", {"seed": "1"})
    bench.states()
    file = bench.folder.path / "hall.yaml"
    good = file.read_text()
    file.write_text(f"{text}\n")
    assert bench.states() == {"hall": "running"}
    assert why in bench.why("hall")
    file.write_text(good)
    assert bench.states() == {"hall": "running"}
    assert (bench.why("hall"), bench.lines[0].did) == ("", ["play"])


def test_a_camera_that_is_paused_and_resumed_while_it_drains_runs_again(bench: Bench) -> None:
    bench.site.add("hall", {})
    bench.states()
    bench.site.pause("hall", True)
    bench.states()
    bench.site.pause("hall", False)
    assert bench.states() == {"hall": "draining"}
    bench.lines[0].has_ended = True
    bench.states()
    assert bench.states() == {"hall": "running"}
    assert [line.did for line in bench.lines] == [["play", "stop"], ["play"]]


def test_a_line_that_fails_is_tried_again_later_and_later(bench: Bench, at: Callable[[float], None]) -> None:
    at(0)
    bench.site.add("hall", {})
    bench.site.add("yard", {})
    bench.states()
    bench.lines[0].error = PartError("the camera burns")
    assert bench.states() == {"hall": "failed", "yard": "running"}
    assert bench.printed == ["hall: the camera burns; tried again in 2 s"]
    at(1.9)
    assert bench.states()["hall"] == "failed"
    at(2.1)
    assert bench.states()["hall"] == "running"
    bench.lines[2].error = PartError("the camera burns")
    bench.states()
    assert bench.printed[1:] == ["hall: the camera burns; tried again in 4 s"]
    assert bench.why("hall") == "the camera burns"
    assert bench.lines[1].did == ["play"]


def test_a_line_whose_source_ends_is_not_started_again(bench: Bench) -> None:
    bench.site.add("hall", {})
    bench.states()
    bench.lines[0].has_ended = True
    assert [bench.states() for _ in range(3)] == [{"hall": "ended"}] * 3
    assert len(bench.lines) == 1


def test_a_line_that_does_not_drain_is_killed(bench: Bench, at: Callable[[float], None]) -> None:
    at(0)
    bench.site.add("hall", {})
    bench.states()
    bench.site.remove("hall")
    bench.states()
    at(site_module._DRAIN_S + 1)
    bench.states()
    assert bench.states() == {}
    assert bench.lines[0].did == ["play", "stop", "kill"]
    assert bench.printed == ["hall: its line has not ended within 20 s; it is killed and loses what was in flight"]
    assert bench.site.killed == ["hall"]


@pytest.mark.parametrize(
    ("close_s", "is_urgent", "why"),
    [(-1.0, False, "has not ended within -1 s"), (99.0, True, "was asked to end twice")],
)
def test_a_site_that_ends_kills_lines_that_do_not_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, close_s: float, is_urgent: bool, why: str
) -> None:
    monkeypatch.setattr(site_module, "_CLOSE_S", close_s)
    bench.site.add("hall", {})
    bench.states()
    socket = Path(bench.site.reports[0].address.removeprefix("ipc://"))
    socket.touch()
    bench.site.close(lambda: is_urgent)
    assert bench.printed == [f"hall: its line {why}; it is killed and loses what was in flight"]
    assert (bench.lines[0].did, bench.site.killed) == (["play", "stop", "kill"], ["hall"])
    assert not socket.parent.exists()


def test_cameras_run_again_when_the_site_is_started_again(bench: Bench) -> None:
    bench.site.add("hall", {"seed": "4"})
    bench.site.add("yard", {})
    bench.site.pause("yard", True)
    bench.states()
    bench.lines[0].has_ended = True
    bench.site.close()
    with open_bench(bench.folder.path) as again:
        assert again.states() == {"hall": "running", "yard": "paused"}


def test_what_fails_while_a_camera_drains_is_said(bench: Bench) -> None:
    bench.site.add("hall", {})
    bench.states()
    bench.site.remove("hall")
    bench.states()
    bench.lines[0].error = PartError("the line ran to its end without all of its frames")
    assert bench.states() == {}
    assert bench.printed == ["hall: the line ran to its end without all of its frames"]


def test_a_line_says_at_its_end_what_was_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notices = [
        Qos(part="detect", camera="hall", reason="leaky", dropped=3, total=3),
        Qos(part="detect", camera="hall", reason="leaky", dropped=2, total=5),
        Qos(part="testsrc", camera="hall", reason="no credit", dropped=1, total=1),
    ]
    monkeypatch.setattr(Supervisor, "play", lambda _: None)
    monkeypatch.setattr(Supervisor, "messages", lambda _: iter(notices))
    monkeypatch.setattr(Supervisor, "wait", lambda *_: True)
    said: list[str] = []
    line = site_module._Line(
        make_template().build("hall", {}, "ipc:///run/hall.sock"),
        tmp_path,
        lambda *words: said.append(": ".join(words)),
        shared=SharedProcesses(lambda *_: None),
    )
    line.play()
    assert line.wait(0)
    assert said == ["detect: 5 frames dropped (leaky)", "testsrc: 1 frame dropped (no credit)"]


# -- real lines --------------------------------------------------------------------------------------------------------


def test_a_camera_has_no_gap_while_others_come_and_go(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path_factory.mktemp("r")))  # paths of sockets have to be short
    site = Site(make_template(), CameraFolder(tmp_path / "d"), on_stderr=print)
    try:
        site.add("hall", {})
        site.turn()
        with Subscriber(site.reports[0].address, timeout_s=60) as subscriber:
            frames = [next(subscriber).frame_seq]
            site.add("yard", {"seed": "1"})
            frames += _follow(site, subscriber, lambda: _state(site, "yard") == "running", 30)
            site.remove("yard")
            frames += _follow(site, subscriber, lambda: not _state(site, "yard"), 5)
            assert subscriber.statistics.total.lost == 0
        assert frames == list(range(frames[0], frames[0] + len(frames)))
        assert len(frames) > 30
    finally:
        site.close()


def _state(site: Site, name: str) -> str:
    return next((report.state for report in site.reports if report.name == name), "")


def _follow(site: Site, subscriber: Subscriber, is_done: Callable[[], bool], more: int) -> list[int]:
    """The frames that come until ``is_done``, and so many more."""
    frames: list[int] = []
    until_s = time.monotonic() + 60
    while more:
        site.turn()
        frames.append(next(subscriber).frame_seq)
        more -= is_done()
        assert time.monotonic() < until_s
    return frames


def test_cameras_of_a_site_share_a_process_and_come_and_go_alone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path_factory.mktemp("r")))  # paths of sockets have to be short
    source = "testsrc realtime=true fps=25 width=64 height=64 people=1 noise=1"
    line = parse_launch(f"{source} ! queue leaky=no ! tests.toys.oracle ! keypointsink")
    template = Template(Pipeline(*line.lines, in_flight=100, sources_per_process=8), "site.yaml")
    site = Site(template, CameraFolder(tmp_path / "d"), on_stderr=print)
    try:
        site.add("hall", {})
        site.turn()
        with Subscriber(site.reports[0].address, timeout_s=60) as subscriber:
            frames = [next(subscriber).frame_seq]
            site.add("yard", {"seed": "1"})
            frames += _follow(site, subscriber, lambda: len(_shared_processes(site)) == 2, 20)
            shared = _shared_processes(site)
            assert shared["hall"] == shared["yard"]
            site.remove("yard")
            frames += _follow(site, subscriber, lambda: not _state(site, "yard"), 5)
            site.add("yard", {"seed": "1"})
            frames += _follow(site, subscriber, lambda: _shared_processes(site) == shared, 5)
        assert frames == list(range(frames[0], frames[0] + len(frames)))
        site.turn()
        site.remove("hall")  # whose thread started the process
        while _state(site, "hall"):
            site.turn()
        assert psutil.pid_exists(shared["yard"])
        assert _shared_processes(site) == {"yard": shared["yard"]}
    finally:
        site.close()


def _shared_processes(site: Site) -> dict[str, int]:
    """The process of the source of each camera."""
    states = ((report.name, report.run_dir / "testsrc.pid") for report in site.reports)
    return {name: int(json.loads(path.read_text())["pid"]) for name, path in states if path.exists()}
