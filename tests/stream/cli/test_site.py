"""``posestream camera`` and ``posestream serve``: what they print, and what they refuse."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from stream.__main__ import execute
from stream.cli.site_argument import open_template
from stream.site.folder import CameraFolder
from stream.site.site import Site

Capture = pytest.CaptureFixture[str]
LINE = "line: [testsrc: {realtime: true}, detect, track, window, pose, keypointsink]\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.yaml").write_text(LINE)
    return tmp_path / "site.d"


def test_cameras_are_added_listed_paused_and_removed(site: Path, capsys: Capture) -> None:
    for words in (
        "add site.yaml hall seed=3 blur=0.5",
        "add site.yaml yard",
        "pause site.yaml yard",
        "list site.yaml",
        "pause site.yaml yard --resume",
        "remove site.yaml hall",
        "list site.yaml",
        "list site.yaml --cameras site.d",
    ):
        assert execute(["camera", *words.split()]) == 0
    assert capsys.readouterr() == ("hall  seed=3 blur=0.5\nyard  (paused)\nyard\nyard\n", "")
    assert sorted(path.name for path in site.iterdir()) == ["lock", "yard.yaml"]


def test_a_password_is_written_and_never_printed(site: Path, capsys: Capture, tmp_path: Path) -> None:
    url = "rtsp://me:Kiwi7Mango3@127.0.0.1:1/ch1"
    (tmp_path / "rtsp.yaml").write_text("line: [rtspsrc: {url: rtsp://10.0.0.1/x}, tests.toys.oracle, keypointsink]\n")
    assert execute(["camera", "add", "rtsp.yaml", "hall", f"url={url}"]) == 0
    assert execute(["camera", "list", "rtsp.yaml"]) == 0
    assert capsys.readouterr() == ("hall  url=rtsp://***@127.0.0.1:1/ch1\n", "")
    assert url in (tmp_path / "rtsp.d/hall.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("camera add site.yaml hall sed=1", "testsrc of site.yaml has no property 'sed'; did you mean 'seed'?"),
        ("camera remove site.yaml hall", "there is no camera 'hall'; there are: none"),
        ("camera add nowhere.yaml hall", "no file 'nowhere.yaml'"),
        ("camera list nowhere.yaml", "no file 'nowhere.yaml'"),
        ("camera pause nowhere.yaml hall", "no file 'nowhere.yaml'"),
        ("camera remove nowhere.yaml hall", "no file 'nowhere.yaml'"),
        ("camera list site.yaml --cameras nowhere.d", "--cameras nowhere.d is not there; 'posestream camera add' and"),
        ("camera reload site.yaml --cameras nowhere.d", "--cameras nowhere.d is not there"),
        (
            "serve site.yaml --listen 0.0.0.0:1",
            "--listen 0.0.0.0:1 is open to other hosts, which would see",
        ),
        ("serve two.yaml", "two.yaml has 1 sources and 0 keypointsinks; a site needs one of each"),
    ],
)
def test_what_cannot_be_done_is_one_line(site: Path, capsys: Capture, words: str, why: str) -> None:
    (site.parent / "two.yaml").write_text("line: [testsrc, fakesink]\n")
    assert execute(words.split()) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"posestream: {why}")
    assert error.count("\n") == 1
    assert not list(site.parent.glob("nowhere*"))


def test_a_list_without_cameras_says_where_none_are(site: Path, capsys: Capture) -> None:
    assert execute(["camera", "list", "site.yaml"]) == 0
    assert capsys.readouterr() == ("", "no cameras in site.d; 'posestream camera add' adds one\n")


def test_a_line_is_loaded_again_after_it_is_said_what_that_does(site: Path, capsys: Capture) -> None:
    reload = ["camera", "reload", "site.yaml"]
    assert execute(["camera", "add", "site.yaml", "hall"]) == 0
    assert execute(reload) == 1
    assert "no site runs with the cameras in site.d; " in capsys.readouterr().err
    with closing(Site(open_template("site.yaml"), CameraFolder(site), on_stderr=print)):
        assert execute(reload) == 0
        assert capsys.readouterr().out == "the line has not changed\n"
        Path("site.yaml").write_text(LINE.replace("realtime: true", "realtime: true, seed: 7"))
        changes = "-   - testsrc: {realtime: true}\n+   - testsrc: {seed: 7, realtime: true}\n"
        plan = f"{changes}drains and starts again: hall\n"
        before = (site / "line").read_text()
        assert execute([*reload, "--dry-run"]) == 0
        assert capsys.readouterr().out == plan
        assert (site / "line").read_text() == before
        assert execute(reload) == 0
        assert capsys.readouterr().out == plan
        assert "seed: 7" in (site / "line").read_text()


def test_properties_are_pairs(site: Path, capsys: Capture) -> None:
    assert execute(["camera", "add", "site.yaml", "hall", "seed"]) == 2
    assert "'seed' is not PROPERTY=VALUE" in capsys.readouterr().err
