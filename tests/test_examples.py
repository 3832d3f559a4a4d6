"""Each program in ``examples/`` runs, and does what it says."""

from __future__ import annotations

import csv
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import pytest

from stream.cli.demo import free_port
from stream.testing.videos import numbered_picture, write_video
from tests.engines import networks


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, a video of four frames, a file that is no photo, and two toy networks, in one folder."""
    folder = tmp_path_factory.mktemp("media")
    cv2.imwrite(str(folder / "photo.png"), numbered_picture(1))
    write_video(folder / "clip.mp4", [numbered_picture(number) for number in range(4)])
    (folder / "broken.png").write_bytes(b"no picture")
    networks.pair(folder / "pair.onnx")
    networks.brightness(folder / "spot.onnx")
    (folder / "spot.json").write_text(json.dumps({"name": "spot", "input_size": [48, 64]}))
    return folder


@pytest.fixture
def toys(media: Path) -> list[str]:
    """The options that name the toy networks."""
    return ["--model", str(media / "spot.onnx"), "--detector", str(media / "pair.onnx")]


@pytest.fixture
def camera() -> Iterator[str]:
    """The address of a network camera that sends a picture 20 times a second (Motion JPEG over HTTP)."""
    picture = cv2.imencode(".jpg", numbered_picture(1))[1].tobytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            with suppress(OSError):  # the client has left
                while True:
                    self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n")
                    time.sleep(0.05)

        def log_message(self, *_: object) -> None:
            """Prints nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def run(root: Path, folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run an example in ``folder``; it must succeed."""
    program = root / "examples" / f"{name}.py"
    environment = os.environ | {"PYTHONPATH": str(root)}
    answer = subprocess.run(
        [sys.executable, str(program), *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer


def test_every_example_is_tried_here(root: Path) -> None:
    tried = Path(__file__).read_text()
    missing = [path.stem for path in (root / "examples").glob("*.py") if f'"{path.stem}"' not in tried]
    assert not missing


def test_photo(root: Path, media: Path, toys: list[str], tmp_path: Path) -> None:
    answer = run(root, tmp_path, "photo", str(media / "photo.png"), *toys)
    assert "person 2: right_wrist at (" in answer.stdout
    assert answer.stdout.endswith("2 people; drawn into photo_poses.jpg\n")
    drawn = cv2.imread(str(tmp_path / "photo_poses.jpg"))
    assert drawn is not None
    assert drawn.shape == (240, 320, 3)


def test_folder(root: Path, media: Path, toys: list[str], tmp_path: Path) -> None:
    answer = run(root, tmp_path, "folder", str(media), *toys)
    assert f"\nleft out {media / 'broken.png'}: " in answer.stderr  # after the folder's other files
    with (tmp_path / "keypoints.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2 * 17
    assert {Path(row["file"]).name for row in rows} == {"photo.png", "clip.mp4"}
    assert rows[-1]["joint"] == "right_ankle"


def test_webcam_on_a_file(root: Path, media: Path, toys: list[str], tmp_path: Path) -> None:
    run(root, tmp_path, "webcam", "--source", str(media / "clip.mp4"), "--out", "seen", *toys)
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [f"{number:06d}.jpg" for number in range(4)]


def test_rtsp_with_a_camera_of_another_protocol(root: Path, camera: str, toys: list[str], tmp_path: Path) -> None:
    answer = run(root, tmp_path, "rtsp", camera, "--frames", "3", *toys)
    assert re.fullmatch(r"door at 0\.\d s: 2 people\n", answer.stdout)


def test_subscriber_beside_a_line(root: Path, tmp_path: Path, no_leaks: None) -> None:
    port = free_port(0)
    line = f"testsrc realtime=true fps=10 ! detect ! track ! window ! pose ! keypointsink bind=tcp://127.0.0.1:{port}"
    with subprocess.Popen([sys.executable, "-m", "stream", "launch", line], cwd=root) as publisher:
        try:
            answer = run(root, tmp_path, "subscriber", f"tcp://127.0.0.1:{port}", "--count", "3")
        finally:
            publisher.terminate()
    assert len(answer.stdout.splitlines()) == 9
    assert answer.stdout.startswith("testsrc ")
    assert "person 1 raises " in answer.stdout


def test_squat_counter_counts_those_of_a_real_person(root: Path, shared: Path, tmp_path: Path) -> None:
    model, detector = shared / "data/real/tinypose_256_192.onnx", shared / "data/models/yolox_nano.onnx"
    clip = shared / "data/clips/tfjs_pose_squats.mp4"  # two squats, and half of a third
    answer = run(root, tmp_path, "squat_counter", str(clip), "--model", str(model), "--detector", str(detector))
    assert answer.stdout.endswith("person 1 has done 2\n2 squats\n")


def test_squat_counter_counts_nothing_where_people_stand(
    root: Path, media: Path, toys: list[str], tmp_path: Path
) -> None:
    assert run(root, tmp_path, "squat_counter", str(media / "clip.mp4"), *toys).stdout == "0 squats\n"


def test_own_element_in_python_and_in_a_line(root: Path, tmp_path: Path) -> None:
    assert run(root, tmp_path, "own_element").stdout.splitlines()[-1] == "frame 4: 3 faces hidden"
    line = "testsrc num_frames=2 ! detect ! track ! window ! pose ! examples.own_element size=0.2 ! fakesink"
    command = [sys.executable, "-m", "stream", "launch", line]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
