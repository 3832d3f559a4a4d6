"""Without model=, what flows decides: drawn people have what ships, all others the pair for real people."""

from __future__ import annotations

from pathlib import Path

import pytest

import configs
from stream.elements.pose import Pose
from stream.pipeline.launch import load_yaml, parse_launch

PAIR = ("yolox-nano", "tinypose-256x192")
CAMERA = "rtspsrc url=rtsp://h/a"
REST = "detect ! track ! queue ! window ! pose ! fakesink"


@pytest.mark.parametrize(
    ("line", "networks"),
    [
        (f"testsrc ! queue ! {REST}", ("hrnet-small",)),
        (f"{CAMERA} ! queue ! {REST}", PAIR),
        (f"filesrc location=a.mp4 ! {REST}", PAIR),
        (f"camerasrc ! {REST}", PAIR),
        (f"testsrc ! queue name=q  {CAMERA} ! queue name=q  from q ! {REST}", PAIR),
        (f"testsrc ! queue name=q  testsrc name=b ! queue name=q  from q ! {REST}", ("hrnet-small",)),
        (f"{CAMERA} ! tee name=t ! queue ! fakesink  from t ! queue ! {REST}", PAIR),
        (
            f"{CAMERA} ! detect model=a.onnx ! track ! window ! pose model=hrnet-small ! fakesink",
            ("a.onnx", "hrnet-small"),
        ),
        ("testsrc ! detect model=yolox-s ! track ! window ! pose ! fakesink", ("yolox-s", "hrnet-small")),
    ],
)
def test_what_flows_decides(line: str, networks: tuple[str, ...]) -> None:
    assert parse_launch(line.replace("  ", "\n")).networks == networks


def test_the_window_is_that_of_the_network_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.elements.pose.DEFAULT_MODEL", "fami-small")  # three frames; the other one's is one
    for source, frames in (("testsrc", 1), (CAMERA, 0)):
        line = parse_launch(f"{source} ! {REST}")
        (pose,) = [element for part in line.parts for element in part.elements if isinstance(element, Pose)]
        sink, _ = line.get_caps(pose)
        assert sink is not None
        assert sink.fields == {"past": frames, "future": frames}


@pytest.mark.parametrize("name", ["branch", "file", "rtsp", "two_cameras", "webcam"])
def test_lines_for_cameras_and_files_run_the_pair(name: str) -> None:
    assert load_yaml(Path(configs.folder()) / "pipelines" / f"{name}.yaml").networks == PAIR


def test_the_demo_runs_what_ships() -> None:
    assert load_yaml(Path(configs.folder()) / "pipelines" / "demo.yaml").networks == ("hrnet-small",)
