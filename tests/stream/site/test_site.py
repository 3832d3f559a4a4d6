"""A site: the files say what runs; only what changed is touched; a line that fails does not concern the others."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stream.elements.keypointsink import KeypointSink
from stream.errors import LaunchError, PartError, PosestreamError, PropertyError, TransportError
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.protocol.subscriber import Subscriber
from stream.runtime.bus import Qos
from stream.runtime.shared_process import SharedProcesses
from stream.runtime.supervisor import Supervisor
from stream.site import site as site_module
from stream.site.folder import MAX_CAMERAS, CameraExistsError, CameraFolder, CameraSettings, UnknownCameraError
from stream.site.reload import plan_reload
from stream.site.site import Site
from stream.site.template import Template
from tests.stream.site.bench import LINE, Bench, make_template, open_bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path / "runs"))
    with open_bench(tmp_path / "site.d") as made:
        yield made


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock of the site, in seconds from now."""
    now_s = time.monotonic()
    return lambda later_s: monkeypatch.setattr("stream.site.site.time.monotonic", lambda: now_s + later_s)


# -- the line of a camera ----------------------------------------------------------------------------------------------


def test_a_camera_gets_a_copy_of_the_line_with_its_name_properties_and_address() -> None:
    template = make_template()
    built = template.build("hall", {"seed": "7", "fps": "5"}, "ipc:///run/hall.sock")
    source, _, sink = built.lines[0].elements
    assert (source.camera, source.seed, source.fps, source.width) == ("hall", 7, 5.0, 64)  # type: ignore[attr-defined]
    assert (sink.bind, sink.pictures, sink.prefix) == ("ipc:///run/hall.sock", True, "")  # type: ignore[attr-defined]
    other = template.build("yard", {}, "ipc:///run/yard.sock")
    assert other.cameras == ("yard",)
    assert not {id(e) for e in built.lines[0].elements} & {id(e) for e in other.lines[0].elements}


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"sed": "1"}, "testsrc of site.yaml has no property 'sed'; did you mean 'seed'?"),
        ({"camera": "x"}, "camera= is the name that the camera is added under; leave it out"),
        ({"seed": "x"}, "testsrc: seed=x is not valid: it must be an integer"),
    ],
)
def test_properties_that_the_source_does_not_take_are_refused(properties: dict[str, str], why: str) -> None:
    with pytest.raises(PosestreamError) as caught:
        make_template().build("hall", properties, "ipc:///run/hall.sock")
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("testsrc ! tests.toys.oracle ! fakesink", "1 sources and 0 keypointsinks"),
        ("testsrc ! tests.toys.oracle ! keypointsink relay=tcp://127.0.0.1:1", "1 sources and 0 keypointsinks without"),
        ("testsrc ! queue name=q; testsrc camera=b ! queue name=q; from q ! fakesink", "2 sources and 0"),
    ],
)
def test_a_line_without_one_source_and_one_keypointsink_is_no_template(line: str, counts: str) -> None:
    with pytest.raises(
        LaunchError, match=rf"^site\.yaml has {counts}.*; a site needs one of each, of which every camera"
    ):
        make_template(line)


def test_a_keypointsink_with_a_relay_beside_the_one_of_the_site_is_left_as_it_is() -> None:
    relayed = "from t ! queue ! keypointsink relay=tcp://127.0.0.1:5571"
    line = f"testsrc ! tests.toys.oracle ! tee name=t; from t ! queue ! keypointsink; {relayed}"
    built = make_template(line).build("hall", {}, "ipc:///run/hall.sock")
    sinks = [element for one in built.lines for element in one.elements if isinstance(element, KeypointSink)]
    assert [(sink.bind, sink.relay) for sink in sinks] == [
        ("ipc:///run/hall.sock", ""),
        (KeypointSink().bind, "tcp://127.0.0.1:5571"),
    ]


def test_copies_that_would_write_to_one_file_are_refused(tmp_path: Path) -> None:
    tee = "testsrc ! tests.toys.oracle ! tee name=t; from t ! queue ! keypointsink; from t ! queue ! jsonsink location="
    with pytest.raises(LaunchError) as caught:
        make_template(f"{tee}{tmp_path}/poses.jsonl")
    assert str(caught.value) == (
        f"site.yaml: every camera's jsonsink would write to {tmp_path}/poses.jsonl; put {{camera}} into its location="
    )
    make_template(f"{tee}{tmp_path}/{{camera}}.jsonl")


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_camera_is_a_file_that_others_cannot_read(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path / "site.d")
    folder.add("hall", {"url": "rtsp://me:Kiwi7@10.0.0.7/1", "n": "3"}, lambda: None)
    file = tmp_path / "site.d/hall.yaml"
    assert (file.stat().st_mode & 0o777, (tmp_path / "site.d").stat().st_mode & 0o777) == (0o600, 0o700)
    folder.pause("hall", True)
    (settings,) = CameraFolder(tmp_path / "site.d").read().values()
    assert settings.properties == (("url", "rtsp://me:Kiwi7@10.0.0.7/1"), ("n", "3"))
    assert settings.paused
    folder.remove("hall")
    assert folder.read() == {}
    assert [path.name for path in (tmp_path / "site.d").iterdir()] == ["lock"]


def test_a_camera_that_cannot_run_is_not_written(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path)
    tmp_path.chmod(0o700)

    def refuse() -> None:
        raise LaunchError("no such property")

    with pytest.raises(LaunchError):
        folder.add("hall", {}, refuse)
    assert folder.read() == {}
    folder.add("hall", {}, lambda: None)
    with pytest.raises(
        CameraExistsError, match=r"^there is a camera 'hall' already; remove it first, or choose another"
    ):
        folder.add("hall", {}, lambda: None)
    for name in ("", "../x", "a b", "-x", "x" * 33, "a/b", ".x"):
        with pytest.raises(
            PropertyError, match=r"is no name for a camera: write at most 32 letters, digits, '-' and '_'$"
        ):
            folder.add(name, {}, lambda: None)
    for act in (lambda: folder.remove("yard"), lambda: folder.pause("../hall", True)):
        with pytest.raises(UnknownCameraError, match=r"^there is no camera '.*'; there are: hall$"):
            act()


def test_cameras_beyond_the_most_of_a_site_are_named(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path / "site.d")
    for number in range(MAX_CAMERAS + 2):
        (tmp_path / f"site.d/c{number:03}.yaml").write_text("properties: {}")
    found = folder.read()
    assert [name for name, settings in found.items() if settings.fault] == ["c064", "c065"]
    assert found["c065"].fault == "it does not run: there are 66 cameras, and a site has 64 at most; start another site"
    with pytest.raises(PropertyError, match="there are 66 cameras, and a site has 64 at most"):
        folder.add("hall", {}, lambda: None)
    folder.remove("c000")
    assert not folder.read()["c064"].fault


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CameraFolder(tmp_path / "site.d")

    def fail(error: OSError) -> None:
        raise error

    monkeypatch.setattr("stream.site.folder.create", lambda *_: fail(OSError(28, "No space left on device")))
    with pytest.raises(TransportError, match=r"hall\.yaml cannot be written: No space left on device; make room$"):
        folder.add("hall", {}, lambda: None)
    monkeypatch.setattr("stream.site.folder.create", lambda *_: fail(FileExistsError(17, "File exists")))
    with pytest.raises(CameraExistsError, match=r"^there is a camera 'hall' already; choose another name$"):
        folder.add("hall", {}, lambda: None)


def test_what_cannot_be_removed_or_locked_is_one_line(tmp_path: Path) -> None:
    folder = CameraFolder(tmp_path / "site.d")
    (tmp_path / "site.d/hall.yaml").mkdir()
    with pytest.raises(
        TransportError, match=r"/hall\.yaml cannot be removed: Is a directory; it is a folder, so move it away$"
    ):
        folder.remove("hall")
    (tmp_path / "site.d/lock").unlink()
    (tmp_path / "site.d/lock").mkdir()
    with pytest.raises(TransportError, match=r"/lock cannot be written: Is a directory; it is a folder"):
        folder.add("yard", {}, lambda: None)


def test_a_file_that_was_edited_within_its_size_and_time_is_read_again(tmp_path: Path) -> None:
    folder, file = CameraFolder(tmp_path / "d"), tmp_path / "d/hall.yaml"
    for seed in "78":
        file.write_text(f"properties: {{seed: {seed}}}")
        os.utime(file, ns=(1, 1))
        assert folder.read()["hall"].properties == (("seed", seed),)


class Raced(CameraFolder):
    """Lets another thread act, or wait, between what a change has read and what it writes."""

    def __init__(self, folder: Path, most: int, act: Callable[[], None]) -> None:
        super().__init__(folder, most)
        self.other = threading.Thread(target=act)

    def read(self) -> dict[str, CameraSettings]:
        found = super().read()
        self.other.start()
        self.other.join(0.2)
        return found


def test_a_camera_that_is_removed_while_it_is_paused_is_gone(tmp_path: Path) -> None:
    other = CameraFolder(tmp_path / "d")
    other.add("hall", {}, lambda: None)
    raced = Raced(tmp_path / "d", MAX_CAMERAS, lambda: other.remove("hall"))
    raced.pause("hall", True)
    raced.other.join()
    assert other.read() == {}


def test_two_cameras_that_are_added_at_once_do_not_exceed_the_most(tmp_path: Path) -> None:
    other, refused = CameraFolder(tmp_path / "d", 1), []

    def add() -> None:
        try:
            other.add("yard", {}, lambda: None)
        except PropertyError as error:
            refused.append(str(error))

    raced = Raced(tmp_path / "d", 1, add)
    raced.add("hall", {}, lambda: None)
    raced.other.join()
    assert list(other.read()) == ["hall"]
    assert refused == ["there are 1 cameras, and a site has 1 at most; start another site"]


def test_cameras_that_another_process_keeps_locked_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.site.folder._LOCK_S", 0.05)
    folder = CameraFolder(tmp_path / "d")
    folder.add("hall", {}, lambda: None)
    code = f"import fcntl; file = open({str(tmp_path / 'd/lock')!r}); fcntl.flock(file, 2); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(TransportError, match=r"/lock has been locked by another program for 0\.05 s; end it, or"):
            folder.remove("hall")
        other.communicate(b"\n")
    folder.remove("hall")
    assert folder.read() == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("properties: [1]", "hall.yaml line 1, column 13: "),
        ("paused: maybe", "hall.yaml line 1, column 9: "),
        ("url: x", "hall.yaml line 1, column 1: "),
        ("{", "hall.yaml line 2, column 1: "),
    ],
)
def test_a_file_that_cannot_be_read_is_said_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "hall.yaml").write_text(f"{text}\n")
    assert why in CameraFolder(tmp_path).read()["hall"].fault


@pytest.mark.parametrize(
    ("make", "why"), [(Path.mkdir, "Is a directory"), (lambda path: path.symlink_to(path), "Too many levels")]
)
def test_what_is_no_file_of_a_camera_is_said_without_its_error_number(
    tmp_path: Path, make: Callable[[Path], None], why: str
) -> None:
    tmp_path.chmod(0o700)
    make(tmp_path / "hall.yaml")
    fault = CameraFolder(tmp_path).read()["hall"].fault
    assert re.fullmatch(rf".*/hall\.yaml cannot be read: {why}.*; put a file of the camera there", fault)


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(
        TransportError, match=r"is open to others \(mode 755\); chmod 700 it .* another with --cameras$"
    ):
        CameraFolder(tmp_path)


def test_two_sites_do_not_share_a_folder(bench: Bench) -> None:
    with pytest.raises(
        TransportError, match=r"^a site has the cameras in .* already; end it, or choose other --cameras$"
    ):
        Site(make_template(), bench.folder, on_stderr=print)


# -- what runs ---------------------------------------------------------------------------------------------------------


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


# -- another line ------------------------------------------------------------------------------------------------------


def test_a_line_that_changed_is_said_and_starts_only_the_cameras_that_it_concerns_again(bench: Bench) -> None:
    bench.site.add("hall", {})
    bench.site.add("yard", {"fps": "5"})
    bench.site.add("gate", {})
    bench.site.pause("gate", True)
    bench.states()
    bench.folder.write_line(make_template(LINE.replace("fps=25", "fps=10")).text)
    properties = "width: 64, height: 64, fps: {}.0, people: 1, realtime: true, noise: 1.0"
    assert bench.states() == {"gate": "paused", "hall": "draining", "yard": "running"}
    assert bench.printed == [
        f"site.yaml: -   - testsrc: {{{properties.format(25)}}}",
        f"site.yaml: +   - testsrc: {{{properties.format(10)}}}",
        "site.yaml: drains and starts again: hall; does not touch: gate, yard",
    ]
    bench.lines[0].has_ended = True
    bench.states()
    assert bench.states()["hall"] == "running"
    assert bench.lines[-1].pipeline.lines[0].elements[0].fps == 10  # type: ignore[attr-defined]
    assert [line.did for line in bench.lines] == [["play", "stop"], ["play"], ["play"]]
    bench.states()
    assert len(bench.printed) == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LINE.replace("testsrc", "replaysrc location=none.mcap num_frames=1"), "line"),
        ("line: [testsrc, fakesink]", "has 1 sources and 0 keypointsinks"),
        ("line: {", "line 1, column"),
    ],
)
def test_a_line_that_a_camera_cannot_run_changes_nothing(bench: Bench, text: str, why: str) -> None:
    bench.site.add("hall", {"seed": "1"})
    bench.states()
    bench.folder.write_line(text)
    assert bench.states() == {"hall": "running"}
    (printed,) = bench.printed
    assert printed.startswith("site.yaml is not loaded again: ")
    assert why in printed
    assert bench.lines[0].did == ["play"]


def test_a_plan_shows_no_password_and_is_refused_where_a_camera_could_not_run() -> None:
    before, after = (
        make_template(f"rtspsrc url=rtsp://me:{word}@10.0.0.7/1 ! tests.toys.oracle ! keypointsink")
        for word in ("Kiwi7Mango", "Lime8Peach")
    )
    plan = plan_reload(before, after, {"hall": CameraSettings()})
    assert plan.restarted == ("hall",)
    assert not any(word in str(plan) for word in ("Kiwi7Mango", "Lime8Peach"))
    other = make_template()
    with pytest.raises(
        LaunchError, match=r"^camera hall cannot run with the new line, and nothing is changed: testsrc of"
    ):
        plan_reload(before, other, {"hall": CameraSettings((("transport", "udp"),))})


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
