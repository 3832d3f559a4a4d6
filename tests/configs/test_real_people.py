"""The lines that ship for cameras and files find real people where someone else's network saw them, joint by joint.

Each line runs as it is typed, in this process, with the pair of networks that it names; only its source is another: a
clip in place of a file, its frames from a camera's driver, or the clip from a server in place of a network camera.
"""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs the extra openvino", allow_module_level=True)

from engines.hub import catalogue
from engines.skeletons import SKELETONS
from engines.spec.fingerprint import hash_file
from stream.__main__ import execute
from stream.elements import camerasrc
from stream.elements.camerasrc import Camerasrc
from stream.elements.keypointsink import KeypointSink
from stream.messages import Poses

FRAMES, SENT = 9, 30
LIVE = (f"num_frames={FRAMES}", "max_items=1000", "stall_timeout_s=100")
"""A camera that is lost begins the clip anew, and on a busy machine one is silent for longer than the 3 s it may be."""
HEIGHT_PX = 228
SOURCES = ("camerasrc", "rtspsrc")
FILES = {
    "yolox-nano.onnx": "data/models/yolox_nano.onnx",
    "tinypose-256x192.xml": "data/real/tinypose_256_192/model.xml",
    "tinypose-256x192.bin": "data/real/tinypose_256_192/model.bin",
}

Found = dict[tuple[str, int], Any]
"""The people of each frame of each camera."""
Publish = Callable[..., Found]


@pytest.fixture(autouse=True)
def pulled(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with the pair of networks, as ``posestream pull people`` leaves it."""
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))
    known = {
        catalogue.cached_path(name, file.suffix).name: (catalogue.cached_path(name, file.suffix), file.sha256)
        for name in catalogue.SETS["people"]
        for file in catalogue.find_entry(name)[1].sources[0].files
    }
    assert known.keys() == FILES.keys()
    for name, (path, digest) in known.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(shared / FILES[name])
        assert hash_file(path) == digest


@pytest.fixture
def clip(shared: Path) -> Path:
    """Yoga, 576x576: one person."""
    return shared / "data/clips/tfjs_pose_1.mp4"


class MjpegCamera(BaseHTTPRequestHandler):
    """Sends the beginning of the clip as network cameras do: pictures as they are taken, without a clock."""

    clip: Path

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  its name in the standard library
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        capture = cv2.VideoCapture(str(self.clip))
        with suppress(OSError):  # the line has ended
            for _ in range(SENT):
                jpeg = cv2.imencode(".jpg", capture.read()[1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                self.wfile.write(head + jpeg + b"\r\n")
                time.sleep(0.03)


@pytest.fixture
def address(clip: Path) -> Iterator[str]:
    """A network camera that sees the clip."""
    handler = type("Camera", (MjpegCamera,), {"clip": clip})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/video"
        server.shutdown()


@pytest.fixture
def camera(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first camera of this machine sees the clip."""
    monkeypatch.setattr(Camerasrc, "open_capture", staticmethod(lambda device, backend: cv2.VideoCapture(str(clip))))
    monkeypatch.setattr(camerasrc, "resolve_device", lambda device, present: 0)


def run(*words: str) -> None:
    assert execute(["run", *words, "--in-process"]) == 0


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """What a line publishes; a subscriber may miss the first messages of a line as short as these."""
    found: Found = {}
    consume = KeypointSink.consume

    def note_and_consume(sink: KeypointSink, item: Poses) -> None:
        found[item.key] = list(item.keypoints)
        consume(sink, item)

    monkeypatch.setattr(KeypointSink, "consume", note_and_consume)

    def run_line(*words: str) -> Found:
        run(*words, "bind=tcp://127.0.0.1:*")
        return found

    return run_line


def read(path: Path) -> Found:
    rows = map(json.loads, path.read_text().splitlines())
    return {
        (row["camera"], row["frame_seq"]): [np.array(person["keypoints"]) for person in row["people"]] for row in rows
    }


def check(found: Found, shared: Path, camera: str, latest: int = 0) -> None:
    """One person in every frame of the camera, with joints where the reference has them; of a live camera, it is not
    known which frame, up to ``latest``, was its first."""
    names = SKELETONS["coco17"].joints
    reference = json.loads((shared / "data/annot/tfjs/pose_1.json").read_text())
    wanted = np.array([[[frame[name]["x"], frame[name]["y"]] for name in names] for frame in reference])
    people = [found[key] for key in sorted(found) if key[0] == camera]
    assert [key[1] for key in sorted(found) if key[0] == camera] == list(range(FRAMES))
    points = np.array([only for (only,) in people])
    errors = [np.linalg.norm(points[..., :2] - wanted[at : at + FRAMES], axis=2) for at in range(latest + 1)]
    best = min(errors, key=lambda each: float(np.median(each)))
    assert np.median(best) < 3  # each of the two networks errs by some pixels
    assert np.median(best, axis=1).max() < 4
    assert best.max() < 0.1 * HEIGHT_PX


def test_a_file(shared: Path, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "poses.jsonl"
    run("file", f"location={clip}", f"num_frames={FRAMES}", f"jsonsink.location={path}")
    check(read(path), shared, "video")


def test_branches_of_a_file(publish: Publish, shared: Path, clip: Path, tmp_path: Path) -> None:
    path, drawn = tmp_path / "poses.jsonl", tmp_path / "poses.mp4"
    outputs = (f"jsonsink.location={path}", f"overlaysink.location={drawn}")
    found = publish("branch", f"location={clip}", f"num_frames={FRAMES}", *outputs)
    check(found, shared, "video")
    check(read(path), shared, "video")
    with av.open(drawn) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES


@pytest.mark.usefixtures("camera")
def test_a_webcam(publish: Publish, shared: Path) -> None:
    check(publish("webcam", *LIVE), shared, "desk")


def test_a_network_camera(publish: Publish, shared: Path, address: str) -> None:
    found = publish("rtsp", f"url={address}", *LIVE)
    check(found, shared, "hall", latest=SENT - FRAMES)


@pytest.mark.usefixtures("camera")
def test_two_cameras(publish: Publish, shared: Path, address: str) -> None:
    of_each = [f"{source}.{value}" for source in SOURCES for value in LIVE]
    found = publish("two_cameras", f"rtspsrc.url={address}", *of_each)
    check(found, shared, "desk")
    check(found, shared, "hall", latest=SENT - FRAMES)
