"""The folder for downloaded weights, built engines and compiled kernels, and whether downloads are allowed."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "POSESTREAM_CACHE"
OFFLINE_VARIABLE = "POSESTREAM_OFFLINE"
"""Nothing is downloaded if this environment variable is set, to anything but 0."""


def cache_folder() -> Path:
    """The folder named by ``POSESTREAM_CACHE`` if that is set, else the platform's cache folder for posestream.

    On Linux that is ``$XDG_CACHE_HOME/posestream``, by default ``~/.cache/posestream``. It need not exist.
    """
    if path := os.environ.get(CACHE_VARIABLE):
        return Path(path).expanduser()
    return platformdirs.user_cache_path("posestream", appauthor=False)


def is_offline() -> bool:
    """True if this process must not download anything."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")
