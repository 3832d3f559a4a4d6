"""Prints ``constraints.txt``: the version of everything that posestream and its tests install, as resolved now."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEADER = """# The versions that were tested together; 'make pin' writes this file.
# opencv-python-headless takes the place of opencv-python where libGL is missing: see scripts/set_up."""


def main() -> None:
    """Resolve ``.[dev]`` as if nothing were installed, and print what would be."""
    found = dict(sorted(resolved().items()))
    found["opencv-python-headless"] = found["opencv-python"]
    print(HEADER)
    for name in sorted(found):
        print(f"{name}=={found[name]}")


def resolved() -> dict[str, str]:
    """Name and version of every distribution, without the local part that a private build may carry."""
    root = Path(__file__).resolve().parents[1]
    command = ["-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", ".[dev]"]
    report = subprocess.run([sys.executable, *command], cwd=root, check=True, capture_output=True, text=True).stdout
    installs = (item["metadata"] for item in json.loads(report)["install"])
    versions = {item["name"].lower().replace("_", "-"): item["version"].partition("+")[0] for item in installs}
    return {name: version for name, version in versions.items() if name != "posestream"}


if __name__ == "__main__":
    main()
