"""Pipelines, networks and training recipes that ship with posestream, as YAML files.

>>> (folder() / "models").is_dir()
True
"""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """The folder with ``pipelines``, ``models`` and ``training``, in a checkout and in an installation."""
    return Path(__file__).resolve().parent
