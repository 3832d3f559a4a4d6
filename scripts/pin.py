"""Prints ``constraints.txt``: the version of everything that posestream and its tests install, as resolved now."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HEADER = """# The versions that were tested together; 'make pin' writes this file.
# opencv-python-headless replaces opencv-python where libGL is missing: see scripts/set_up.
# NVIDIA's libraries are left out: PyTorch for CUDA requires exact versions, which other pins would contradict."""


def main() -> None:
    """Resolve ``.[dev,ray]`` as if nothing were installed, and print the constraints."""
    versions = resolve_versions()
    versions["opencv-python-headless"] = versions["opencv-python"]
    print(HEADER)
    for name in sorted(versions):
        print(f"{name}=={versions[name]}")


def resolve_versions() -> dict[str, str]:
    """Name and version of every distribution, without the local part that a private build may carry."""
    root = Path(__file__).resolve().parents[1]
    command = ["-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", ".[dev,ray]"]
    report = subprocess.run([sys.executable, *command], cwd=root, check=True, capture_output=True, text=True).stdout
    installs = (item["metadata"] for item in json.loads(report)["install"])
    versions = {item["name"].lower().replace("_", "-"): item["version"].partition("+")[0] for item in installs}
    return {name: version for name, version in versions.items() if not name.startswith(("nvidia-", "posestream"))}


if __name__ == "__main__":
    main()
