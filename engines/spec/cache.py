"""The folder for downloaded weights, built engines and compiled kernels."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "POSESTREAM_CACHE"


def cache_folder() -> Path:
    """The folder named by ``POSESTREAM_CACHE`` if that is set, else the platform's cache folder for posestream.

    On Linux that is ``$XDG_CACHE_HOME/posestream``, by default ``~/.cache/posestream``. It need not exist.
    """
    if path := os.environ.get(CACHE_VARIABLE):
        return Path(path).expanduser()
    return platformdirs.user_cache_path("posestream", appauthor=False)
