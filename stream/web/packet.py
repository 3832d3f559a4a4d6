"""What the page receives: frames as bytes, and the state as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from engines.redaction import redact
from stream.metrics.line_watch import LineWatch, PartState
from stream.protocol.json import round_floats
from stream.protocol.pose_message import Person, PoseMessage
from stream.site.site import CameraReport
from stream.web.feed import Address, CameraState, Feed

_DECIMALS_PX, _DECIMALS_SCORE = 1, 3
_MAX_EVENTS = 100
_HEAD_BYTES = 4

_encoder = msgspec.json.Encoder()


def encode_frame(camera: int, number: int, message: PoseMessage, jpeg: bytes, now_ns: int) -> bytes:
    """A frame of the page's camera ``camera``: the length of the head (4 bytes, big endian), the head, the JPEG.

    The head is JSON: ``camera``, ``number`` (of this message, without gaps), ``frame`` (``frame_seq``), ``captured_ms``
    (since 1970), ``age_ms``, ``size`` (px of the frame), ``skeleton`` and ``people`` with ``id``, ``score``, ``box``
    (px) and ``points`` (x px, y px, score).

    >>> message = PoseMessage("hall", 0, 7, 0, 1_000_000_000, (640, 480), "coco17", ())
    >>> packet = encode_frame(0, 3, message, b"JPEG", 1_040_000_000)
    >>> print(packet[4:].decode())
    {"camera":0,"number":3,"frame":7,"captured_ms":1000.0,"age_ms":40.0,"size":[640,480],"skeleton":"coco17","people":[]}JPEG
    >>> int.from_bytes(packet[:4]) == len(packet) - 4 - len(b"JPEG")
    True
    """
    head = _encoder.encode(
        {
            "camera": camera,
            "number": number,
            "frame": message.frame_seq,
            "captured_ms": message.wall_ns / 1e6,
            "age_ms": round((now_ns - message.wall_ns) / 1e6, 1),
            "size": message.size,
            "skeleton": message.skeleton,
            "people": [_person(person) for person in message.people],
        }
    )
    return len(head).to_bytes(_HEAD_BYTES) + head + jpeg


def _person(person: Person) -> dict[str, Any]:
    points = np.round(person.keypoints.astype(np.float64), _DECIMALS_SCORE)
    return {
        "id": person.id,
        "score": round(person.score, _DECIMALS_SCORE),
        "box": [round(edge, _DECIMALS_PX) for edge in person.box],
        "points": points.tolist(),
    }


def encode_state(
    feeds: Sequence[Feed],
    numbers: Mapping[tuple[Address, str], int],
    lines: Sequence[LineWatch],
    missing: Sequence[str],
    reports: Sequence[CameraReport] | None = None,
) -> str:
    """The state of all feeds and lines as JSON; ``numbers`` has the page's number of each camera of each feed, and
    ``reports`` the cameras of a site, if there is one."""
    now_s = time.monotonic()
    state = {
        "sources": [_source(feed) for feed in feeds],
        "cameras": [
            _camera(camera, numbers[feed.address, camera.name], place, now_s)
            for place, feed in enumerate(feeds)
            for camera in tuple(feed.cameras.values())
            if (feed.address, camera.name) in numbers
        ],
        "skeletons": {
            name: {"joints": skeleton.joints, "limbs": skeleton.limbs}
            for feed in feeds
            for name, skeleton in feed.skeletons.items()
        },
        "lines": [_line(line) for line in lines] + [_missing_line(name) for name in missing],
        "events": _events(lines),
        "site": None if reports is None else [describe_camera(report) for report in reports],
    }
    return _encoder.encode(round_floats(state)).decode()


def describe_camera(report: CameraReport) -> dict[str, Any]:
    """A camera of a site, for people and programs."""
    return {
        "name": report.name,
        "state": report.state,
        "why": redact(report.why),
        "address": report.address,
        "properties": dict(report.properties),
    }


def _source(feed: Feed) -> dict[str, Any]:
    return {"address": redact(feed.address.address), "trouble": feed.trouble, "hidden": len(feed.hidden)}


def _camera(camera: CameraState, number: int, source: int, now_s: float) -> dict[str, Any]:
    silent_s = camera.silent_s(now_s)
    return {
        "id": number,
        "source": source,
        "name": camera.name,
        "fps": round(camera.fps(now_s), 1),
        "age_ms": round(camera.last.age_ms, 1) if silent_s < float("inf") else None,
        "silent_s": round(silent_s, 1) if silent_s < float("inf") else None,
        "people": len(camera.last.people),
        "lost": camera.lost,
        "model": camera.last.model,
        "pictures": camera.has_pictures(now_s),
    }


def _line(line: LineWatch) -> dict[str, Any]:
    known = dict(line.states())
    return {
        "name": line.name,
        "trouble": line.trouble,
        "parts": [_part(line, name, known.get(name)) for name in line.parts],
    }


def _missing_line(name: str) -> dict[str, Any]:
    return {"name": name, "trouble": "no line runs", "parts": []}


def _part(line: LineWatch, name: str, state: PartState | None) -> dict[str, Any]:
    drops = {
        f"{camera}: {reason}": count for (part, camera, reason), count in tuple(line.drops.items()) if part == name
    }
    if state is None:
        return {"name": name, "state": "no heartbeat yet", "is_bad": True, "drops": drops}
    stats = state.stats
    return {
        "name": name,
        "state": "silent" if state.is_silent else "ended" if stats.finished else stats.state.lower(),
        "is_bad": state.is_silent,
        "fps": round(stats.fps, 1),
        "process_ms": round(stats.process_p50_ms, 1),
        "age_ms": round(stats.age_p50_ms, 1),
        "waiting": stats.waiting,
        "restarts": state.restarts,
        "errors": stats.errors,
        "memory_mb": round(stats.rss_bytes / 1e6),
        "status": stats.status,
        "drops": drops,
    }


def _events(lines: Iterable[LineWatch]) -> list[dict[str, Any]]:
    """The newest warnings, errors and restarts of all lines, newest first."""
    found = [(event, line.name) for line in lines for event in tuple(line.events)]
    found.sort(key=lambda pair: pair[0].received_ns, reverse=True)
    return [
        {
            "at_ms": event.received_ns // 1_000_000,
            "line": line,
            "part": event.part,
            "kind": event.kind,
            "text": redact(event.text),
        }
        for event, line in found[:_MAX_EVENTS]
    ]
