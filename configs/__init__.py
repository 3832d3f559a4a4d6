"""Lines (``pipelines/*.yaml``) and networks (``models/*.yaml``) that ship with posestream, wherever it is installed.

>>> (folder() / "models").is_dir()
True
"""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Where the files lie: beside this module, in a checkout and in an installation alike."""
    return Path(__file__).resolve().parent
