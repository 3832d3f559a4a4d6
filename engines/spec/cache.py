"""Where downloads, built engines and compiled kernels are kept, and the fingerprints that name files."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path

CACHE_VARIABLE = "POSESTREAM_CACHE"
FINGERPRINT_DIGITS = 16


def cache_folder() -> Path:
    """This user's cache: ``POSESTREAM_CACHE`` where set, else what the platform calls its cache."""
    if told := os.environ.get(CACHE_VARIABLE):
        return Path(told).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "posestream" / "cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/posestream").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "posestream"


def fingerprint(path: Path) -> str:
    """The first 16 hex digits of the sha256 of a file: they travel with every pose it leads to."""
    stat = path.stat()
    return _fingerprint(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _fingerprint(path: Path, mtime_ns: int, size: int) -> str:  # noqa: ARG001 - they are the key of the cache
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:FINGERPRINT_DIGITS]
