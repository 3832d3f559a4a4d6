"""Try a client of the keypoint protocol on all cases of this folder: ``python run.py COMMAND [ARGUMENT…]``.

README.md says what the command must do. Needs Python 3.11 or newer and nothing else.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def main(command: list[str]) -> int:
    """Run every case; print its name and the first difference."""
    failed = 0
    for file in sorted(FOLDER.glob("*.json")):
        case = json.loads(file.read_text("utf-8"))
        difference = find_difference(case["expect"], run(command, case))
        print(f"{file.stem}: {difference or 'passed'}")
        failed += bool(difference)
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


def run(command: list[str], case: dict[str, Any]) -> list[Any]:
    """Give the steps of a case to a client, and return the events that it printed."""
    camera = ["--camera", case["camera"]] if case["camera"] is not None else []
    prefix = ["--prefix", case["prefix"]] if case["prefix"] else []
    steps = "".join(map(line, case["steps"]))
    done = subprocess.run(
        [*command, *camera, *prefix], input=steps.encode(), capture_output=True, timeout=60, check=False
    )
    if done.returncode:
        return [f"exit status {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}"]
    return [json.loads(text) for text in done.stdout.decode().splitlines()]


def line(step: dict[str, Any]) -> str:
    """A step as a line of a client's stdin."""
    match step:
        case {"message": parts}:
            return " ".join(["message", *(part or "-" for part in parts)]) + "\n"
        case {"wait_ms": milliseconds}:
            return f"wait {milliseconds}\n"
        case {"clock_ns": time_ns}:
            return f"clock {time_ns}\n"
        case {"connection": state}:
            return f"connection {state}\n"
    raise ValueError(f"unknown step {step}")


def find_difference(expected: list[Any], found: list[Any]) -> str:
    """Describe the first difference of two lists of events; empty if there is none."""
    for number, (one, other) in enumerate(zip(expected, found, strict=False)):
        if not is_equal(one, other):
            return f"FAILED: event {number} should be {shorten(one)}, and is {shorten(other)}"
    if len(expected) != len(found):
        extra = (expected + found)[len(expected) if len(found) > len(expected) else len(found) :]
        return f"FAILED: {len(found)} events instead of {len(expected)}; first of the difference: {shorten(extra[0])}"
    return ""


def is_equal(expected: Any, found: Any) -> bool:
    """Compare; numbers as float 32, and ``joints`` only where the case knows them."""
    if isinstance(expected, dict):
        keys = [key for key in expected if key != "joints" or expected[key] is not None]
        return isinstance(found, dict) and all(key in found and is_equal(expected[key], found[key]) for key in keys)
    if isinstance(expected, list):
        return isinstance(found, list) and len(expected) == len(found) and all(map(is_equal, expected, found))
    if isinstance(expected, float) and isinstance(found, int | float):
        return struct.pack("<f", expected) == struct.pack("<f", found)
    return bool(expected == found)


def shorten(event: Any) -> str:
    """An event on one line."""
    text = json.dumps(event)
    return text if len(text) < 300 else f"{text[:300]}…"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
