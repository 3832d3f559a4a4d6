"""The conformance cases of the protocol, and the package's own subscriber as one of their clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from docs.clients.conformance.run import find_difference
from scripts.conformance_cases import FOLDER, cases, text
from stream.errors import VersionError
from stream.protocol.pose_message import Person, PoseMessage
from stream.protocol.sequence import Reception

FILES = sorted(FOLDER.glob("*.json"))


def test_the_files_are_what_the_script_writes() -> None:
    assert {file.stem: file.read_text("utf-8") for file in FILES} == {
        name: text(case) for name, case in cases().items()
    }


class Client:
    """Turns the steps of a case into events, by the reception of ``posestream.Subscriber``."""

    def __init__(self, case: dict[str, Any]) -> None:
        self._now_ms, self._clock_ns = 0, None
        selected = frozenset([case["camera"]]) if case["camera"] is not None else None
        self._reception = Reception(selected, prefix=case["prefix"], now_s=lambda: self._now_ms / 1000)
        self._lost: dict[str, int] = {}
        self._ended: frozenset[str] = frozenset()
        self._malformed, self._was_alive = 0, False

    def run(self, step: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Take a step; yield its events."""
        self._now_ms += step.get("wait_ms", 0)
        self._clock_ns = step.get("clock_ns", self._clock_ns)
        delivered = [message for parts in self._parts(step) for message in self._reception.take(*parts, now_ns=0)]
        statistics = self._reception.statistics()
        for camera, counts in statistics.cameras.items():
            if missing := counts.lost - self._lost.get(camera, 0):
                yield {"event": "lost", "camera": camera, "count": missing}
            self._lost[camera] = counts.lost
        yield from ({"event": "malformed"} for _ in range(statistics.malformed - self._malformed))
        yield from (event(message, self._clock_ns) for message in delivered)
        yield from ({"event": "end", "camera": camera} for camera in self._reception.ended_cameras - self._ended)
        yield from ({"event": "ask"} for _ in self._reception.ask_again())
        if self._was_alive and not self._reception.alive:
            yield {"event": "silent"}
        self._malformed, self._ended = statistics.malformed, self._reception.ended_cameras
        self._was_alive = self._reception.alive

    def _parts(self, step: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
        if "message" in step:
            parts = [bytes.fromhex(part) for part in step["message"]]
            if len(parts) == 2:
                yield parts[0], parts[1]
            else:
                self._reception.count_malformed()


def event(message: PoseMessage, clock_ns: int | None) -> dict[str, Any]:
    at = {} if clock_ns is None else {"at": list(map(person_map, message.at(clock_ns).people))}
    return {
        "event": "poses",
        **{key: getattr(message, key) for key in ("camera", "seq", "frame_seq", "retained")},
        **{key: str(getattr(message, key)) for key in ("pts_ns", "wall_ns")},
        "joints": list(message.joints),
        "people": list(map(person_map, message.people)),
        **at,
    }


def person_map(person: Person) -> dict[str, Any]:
    known = {"id": person.id, "box": list(person.box), "score": person.score, "keypoints": person.keypoints.tolist()}
    return known if person.predicted is None else known | {"predicted": person.predicted.tolist()}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_subscriber_passes(file: Path) -> None:
    case = json.loads(file.read_text("utf-8"))
    client = Client(case)
    found: list[dict[str, Any]] = []
    for step in case["steps"]:
        try:
            found += client.run(step)
        except VersionError:
            found.append({"event": "refused"})
            break
    assert find_difference(case["expect"], found) == ""


def test_a_difference_is_found() -> None:
    one = [{"event": "lost", "camera": "hall", "count": 1}]
    assert find_difference(one, [{"event": "lost", "camera": "hall", "count": 2}]).startswith("FAILED: event 0 should")
    assert find_difference(one, []).startswith("FAILED: 0 events instead of 1")
    assert find_difference(one, one * 2).startswith("FAILED: 2 events instead of 1")
    assert find_difference([{"x": [0.1]}], [{"x": [0.1 + 1e-12]}]) == ""
    assert find_difference([{"x": [0.1]}], [{"x": [0.1001]}]) != ""
