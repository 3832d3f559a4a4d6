"""The page in a real browser: each skeleton on its own frame, one camera large, health, widths, and no markup of names.

One browser is started for all of it, and skipped where there is none.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from benchmarks.browser import Page, open_browser
from engines.datasets.synthetic.scene import Scene
from stream.elements.keypointsink import KeypointSink
from stream.messages import Frame, Poses
from stream.pipeline.launch import parse_launch
from stream.runtime.bus import AnyNotice, Stats, Warning_
from stream.runtime.run_dir import RunDirectory
from stream.testing.videos import numbered_picture
from stream.web.access import Access
from stream.web.feed import Address
from stream.web.server import PageServer
from tests.stream.publishing import open_sink, wait_until
from tests.stream.site.bench import open_bench

TOKEN, OTHER_TOKEN = "a token of some length", "another token of some length"
HOSTILE = "<img src=x onerror=alert(1)>"
SIZE = (320, 240)
FPS = 15
READ_NUMBER = """(() => {
  const canvas = document.querySelector('.card[data-camera="0"] canvas'), pen = canvas.getContext("2d");
  const level = (place) => pen.getImageData(place * 16 + 8, 8, 1, 1).data[1];
  let number = 0;
  for (let bit = 0; bit < 12; bit++) number += (level(bit) > 128) << bit;
  const frame = Number(canvas.dataset.frame);
  const joint = Array.from(pen.getImageData(40 + frame % 200, 120, 1, 1).data);
  return { number, guards: [level(12) > 200, level(13) < 60], frame, joint };
})()"""


def make_numbered(seq: int) -> Poses:
    """A frame with its number in it, and a person whose joints are all at one place that moves with the number."""
    frame = Frame(HOSTILE, seq, seq * 10**9 // FPS, time.time_ns(), numbered_picture(seq % 4096, SIZE))
    keypoints = np.tile(np.array([40.5 + seq % 200, 120.5, 0.9], np.float32), (1, 17, 1))
    box = np.array([[20, 60, 300, 200]], np.float32)
    return Poses(frame, box, np.array([0.9], np.float32), np.array([7]), keypoints, "coco17", "made up")


def make_drawn(scene: Scene, camera: str, seq: int) -> Poses:
    """People that are drawn, with the truth as their keypoints; the same two seconds again and again."""
    moment = scene.at(seq % (2 * FPS) / FPS)
    frame = Frame(camera, seq, seq * 10**9 // FPS, time.time_ns(), moment.pixels)
    keypoints = np.array(moment.keypoints, np.float32)
    keypoints[..., 2] = np.where(keypoints[..., 2] > 0, 0.97 - 0.02 * np.arange(17), 0.1)
    scores = np.full(len(moment.boxes), 0.93, np.float32)
    return Poses(frame, moment.boxes, scores, np.array(moment.ids) + 1, keypoints, "coco17", "the truth")


@contextmanager
def publishing(sink: KeypointSink, make: Callable[[int], Sequence[Poses]]) -> Iterator[None]:
    """Publish the frames that ``make`` returns, fifteen times a second."""
    stop = threading.Event()

    def run() -> None:
        for seq in itertools.count():
            for poses in make(seq):
                sink.consume(poses)
            if stop.wait(1 / FPS):
                return

    with running(run, stop):
        yield


@contextmanager
def running(work: Callable[[], None], stop: threading.Event) -> Iterator[None]:
    """Run ``work`` in a thread, which ends when ``stop`` is set."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def serving(*endpoints: str, run_dirs: Sequence[Path] = ()) -> Iterator[PageServer]:
    """The page of these publishers."""
    stop = threading.Event()
    with (
        PageServer([Address(one) for one in endpoints], Access("127.0.0.1", 0), run_dirs) as server,
        running(lambda: server.run(stop.is_set), stop),
    ):
        yield server


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    profile = tmp_path_factory.mktemp("profile")
    with ExitStack() as stack:
        try:
            page = stack.enter_context(open_browser(profile))
        except LookupError as error:
            pytest.skip(str(error))
        assert find_processes(profile)
        yield page
    wait_until(lambda: not find_processes(profile), "the browser has ended")


def find_processes(profile: Path) -> list[int]:
    """The processes of the browser that name its profile."""
    found = psutil.process_iter(["cmdline"])
    return [one.pid for one in found if f"--user-data-dir={profile}" in (one.info["cmdline"] or ())]


@pytest.fixture
def browser(chromium: Page) -> Page:
    """The browser with an empty page: what it showed before would complain that its server has gone."""
    chromium.open("about:blank")
    chromium.run("1")
    chromium.errors.clear()
    return chromium


def test_the_skeleton_is_drawn_on_its_own_frame(browser: Page) -> None:
    with (
        open_sink(pictures=True) as sink,
        publishing(sink, lambda seq: [make_numbered(seq)]),
        serving(sink.endpoint) as server,
    ):
        browser.open(server.address)
        browser.wait_for("document.querySelector('.card canvas')?.dataset.frame > 0")
        seen: list[dict[str, Any]] = []
        while len(seen) < 8:
            found = browser.run(READ_NUMBER)
            if not seen or found["frame"] != seen[-1]["frame"]:
                seen.append(found)
            time.sleep(0.02)
        assert browser.run("document.querySelector('.card strong').textContent") == HOSTILE
        assert browser.run("document.querySelectorAll('img').length") == 0
    for one in seen:
        assert one["number"] == one["frame"] % 4096
        assert one["guards"] == [True, True]
        assert one["joint"] == [255, 128, 0, 255], f"the last joint drawn, a right one, is not at its place: {one}"
    assert browser.errors == []


def test_cameras_are_shown_together_and_alone_with_the_health_of_the_line(browser: Page, tmp_path: Path) -> None:
    scenes = {"hall": Scene(3, 3, 640, 480, noise=0.0), "yard": Scene(8, 3, 640, 480, noise=0.0)}
    browser.resize(1280, 900)
    browser.prefer("light")
    with (
        open_sink(pictures=True) as sink,
        publishing(sink, lambda seq: [make_drawn(scene, name, seq) for name, scene in scenes.items()]),
        make_line(tmp_path / "hall") as run_dir,
        serving(sink.endpoint, run_dirs=[run_dir]) as server,
    ):
        browser.open(server.address)
        browser.wait_for("document.querySelectorAll('.card canvas[data-frame]').length == 2")
        post(server, Stats(part="testsrc", state="PLAYING", fps=15, items=9), Warning_(part="window", text=HOSTILE))
        browser.wait_for("document.getElementById('events').textContent.includes('onerror')")
        check_all(browser)
        check_one(browser)
        check_narrow(browser)
    assert browser.errors == []


def check_all(browser: Page) -> None:
    facts = browser.wait_for("(t => t.includes(' fps') && t)(document.querySelector('.facts').textContent)")
    assert "3 people" in facts
    assert browser.run("[...document.querySelectorAll('.card strong')].map(e => e.textContent)") == ["hall", "yard"]
    assert "no heartbeat yet from window" in browser.run("document.getElementById('health-summary').textContent")
    assert browser.run("[...document.querySelectorAll('#lines td')].slice(0, 3).map(e => e.textContent)") == [
        "testsrc",
        "playing",
        "15",
    ]


def check_one(browser: Page) -> None:
    """A click shows one camera with the scores of all joints; the other is not sent any more."""
    browser.run("document.querySelector('.card').click()")
    browser.wait_for("document.querySelector('#large-canvas').dataset.frame > 0")
    rows = browser.run("[...document.querySelectorAll('#people tbody tr')].map(r => r.innerText.split('\\t'))")
    assert [row[0] for row in rows[:2]] + [rows[-1][0]] == ["nose", "left eye", "right ankle"]
    assert rows[0][1] in ("0.97", "0.10")
    assert browser.run("document.getElementById('grid').hidden")
    keep_screenshot(browser, "view-one.jpg")
    browser.run("document.getElementById('back').click()")
    browser.wait_for("!document.getElementById('grid').hidden")


def check_narrow(browser: Page) -> None:
    """On a telephone, in the dark, cameras stand below each other and nothing is wider than the page."""
    light = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.resize(380, 760)
    browser.prefer("dark")
    browser.wait_for("innerWidth == 380")
    assert browser.run("getComputedStyle(document.body).backgroundColor") != light
    lefts = "[...document.querySelectorAll('.card')].map(e => Math.round(e.getBoundingClientRect().left))"
    assert len(set(browser.run(lefts))) == 1
    assert browser.run("document.documentElement.scrollWidth") == 380
    keep_screenshot(browser, "view-phone.jpg")


@contextmanager
def make_line(folder: Path) -> Iterator[Path]:
    """The directory of a line that seems to run."""
    with closing(RunDirectory(folder)) as run:
        run.write(
            "line.yaml", parse_launch("testsrc ! detect ! track ! queue ! window ! pose ! keypointsink").to_yaml()
        )
        yield run.path


def post(server: PageServer, *notices: AnyNotice) -> None:
    """Give the watch of the only line these notices, as its parts would have sent them."""
    wait_until(lambda: server._running.lines, "the line is found")
    for notice in notices:
        server._running.lines[0].receive(notice)


def keep_screenshot(browser: Page, name: str) -> None:
    """Check that the page can be photographed; where POSESTREAM_SCREENSHOTS names a folder, the picture stays there."""
    picture = browser.screenshot()
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.std() > 20
    if folder := os.environ.get("POSESTREAM_SCREENSHOTS"):
        (Path(folder) / name).write_bytes(picture)


def test_a_browser_gives_the_token_once(browser: Page) -> None:
    with PageServer([], Access("127.0.0.1", 0, TOKEN)) as server:
        browser.open(server.address)
        browser.wait_for("!!document.querySelector('input[name=token]')")
        browser.run(f"document.querySelector('input[name=token]').value = '{TOKEN}'")
        browser.run("document.forms[0].submit()")
        browser.wait_for("document.getElementById('connection')?.textContent === 'connected'")
    assert [error for error in browser.errors if "401" not in error] == []


def test_cameras_are_added_and_removed_on_the_page(
    browser: Page, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSESTREAM_RUN_DIR", str(tmp_path_factory.mktemp("r")))
    browser.resize(1280, 900)
    stop = threading.Event()
    with (
        open_bench(tmp_path / "d") as bench,
        PageServer([], Access("127.0.0.1", 0, OTHER_TOKEN), site=bench.site) as server,
        running(lambda: server.run(stop.is_set), stop),
    ):
        browser.open(server.address)
        browser.wait_for("!!document.querySelector('input[name=token]')")
        browser.run(f"document.querySelector('input[name=token]').value = '{OTHER_TOKEN}'; document.forms[0].submit()")
        browser.wait_for("document.getElementById('site') && !document.getElementById('site').hidden")
        fill = "document.getElementById('add-name').value = {}; document.getElementById('add-properties').value = {};"
        submit = "document.getElementById('add').requestSubmit()"
        browser.run(fill.format("'hall'", "'sed=1'") + submit)
        browser.wait_for("document.getElementById('site-trouble').textContent.includes(\"did you mean 'seed'?\")")
        browser.run(fill.format("'hall'", "'seed=1\\n blur=0.5'") + submit)
        row = "document.querySelector('#site-cameras tr')"
        browser.wait_for(f"{row}?.textContent.includes('running')")
        assert browser.run(f"{row}.cells[2].textContent") == "seed=1 blur=0.5"
        browser.run(f"{row}.querySelector('button').click()")
        browser.wait_for(f"{row}.textContent.includes('draining')")
        bench.lines[0].has_ended = True
        browser.wait_for(f"{row}.textContent.includes('paused')")
        browser.run(f"window.confirm = () => true; {row}.querySelectorAll('button')[1].click()")
        browser.wait_for(f"{row} === null")
        assert bench.folder.read() == {}
    assert [error for error in browser.errors if "400" not in error and "401" not in error] == []
