"""What the pages for other programs show, tried with stand-ins for those programs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from docs.clients import ros2
from stream.bridges.payload import encode_frame
from stream.protocol.pose_message import Person, PoseMessage
from stream.protocol.subscriber import Subscriber
from tests.documents import read_blocks
from tests.stream.bridges.frames import make_message

ROOT = Path(__file__).resolve().parents[2]
JOINTS = ("nose", "left_wrist")


def make_waving(*wrists_px: float) -> PoseMessage:
    """A person for each of these heights of the left wrist; the noses are at 100 px."""
    people = [
        Person(number, (0.0, 0.0, 9.0, 9.5), 0.9, np.array([[5, 100, 0.9], [5, y, 0.9]], np.float32), JOINTS)
        for number, y in enumerate(wrists_px, 1)
    ]
    return replace(make_message(7), people=tuple(people), joints=JOINTS)


def block(page: str, language: str) -> str:
    (found,) = [block.text for block in read_blocks(ROOT, [f"docs/how-to/{page}.md"]) if block.language == language]
    return found


def test_the_templates_for_home_assistant_read_a_message() -> None:
    jinja2 = pytest.importorskip("jinja2")
    configured = yaml.safe_load(block("home-assistant", "yaml"))["mqtt"]
    environment = jinja2.Environment()

    def render(*wrists_px: float) -> dict[str, str]:
        value = json.loads(encode_frame(make_waving(*wrists_px)))
        return {
            entity["name"]: environment.from_string(entity["value_template"]).render(value_json=value).strip()
            for entity in (*configured["sensor"], *configured["binary_sensor"])
        }

    people, someone, hand = (f"{what} in the hall" for what in ("People", "Someone", "A hand is raised"))
    assert render() == {people: "0", someone: "OFF", hand: "OFF"}
    assert render(150, 180) == {people: "2", someone: "ON", hand: "OFF"}
    assert render(150, 50) == {people: "2", someone: "ON", hand: "ON"}
    assert len({entity["unique_id"] for kind in configured.values() for entity in kind}) == 3


def test_the_function_for_node_red_reads_a_message() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("the function is not tried: no node here")
    payload = encode_frame(make_waving(150, 50)).decode()
    program = f"""
        const pass = msg => {{ {block("node-red", "js")} }};
        console.log(JSON.stringify([pass({{payload: {payload}}}), pass({{payload: "online"}})]));
    """
    ended = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True)
    passed, left_out = json.loads(ended.stdout)
    assert (passed, left_out) == ({"topic": "hall", "payload": {"people": 2, "raised": [2]}}, None)


def make_pose() -> Any:
    return SimpleNamespace(position=SimpleNamespace(x=0.0, y=0.0, z=0.0))


def make_array() -> Any:
    return SimpleNamespace(header=SimpleNamespace(frame_id="", stamp=SimpleNamespace(sec=0, nanosec=0)), poses=[])


def test_the_node_for_ros_publishes_each_camera_on_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[str, Any]] = []
    messages = [replace(make_waving(50), camera="hall/2"), make_waving(150, 50)]
    rclpy, msg = ModuleType("rclpy"), ModuleType("geometry_msgs.msg")
    node = SimpleNamespace(
        create_publisher=lambda _kind, topic, _depth: SimpleNamespace(
            publish=lambda array: published.append((topic, array))
        )
    )
    rclpy.__dict__.update(init=lambda: None, ok=lambda: bool(messages), create_node=lambda _name: node)
    msg.__dict__.update(Pose=make_pose, PoseArray=make_array)
    monkeypatch.setitem(sys.modules, "rclpy", rclpy)
    monkeypatch.setitem(sys.modules, "geometry_msgs", ModuleType("geometry_msgs"))
    monkeypatch.setitem(sys.modules, "geometry_msgs.msg", msg)
    monkeypatch.setattr(Subscriber, "poll", lambda _self, _timeout_s: messages.pop(0))
    monkeypatch.setattr(sys, "argv", ["ros2.py", "tcp://127.0.0.1:9"])
    ros2.main()
    assert [topic for topic, _ in published] == ["posestream/hall_2", "posestream/hall"]
    array = published[1][1]
    assert (array.header.frame_id, array.header.stamp.sec) == ("hall", 1_700_000_000)
    assert [(pose.position.y, round(pose.position.z, 2)) for pose in array.poses] == [
        (100, 0.9),
        (150, 0.9),
        (100, 0.9),
        (50, 0.9),
    ]


def test_the_pages_say_that_they_are_untested() -> None:
    for page, program in (("home-assistant", "Home Assistant"), ("node-red", "Node-RED"), ("ros2", "ROS 2")):
        text = " ".join((ROOT / f"docs/how-to/{page}.md").read_text().split())
        assert re.search(rf"Not tested with {program}", text), page
