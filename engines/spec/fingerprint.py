"""Fingerprints: the first digits of a sha256, which identify a network and name files in the cache."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from engines.formats.files import stamp

DIGITS = 16


def hash_file(path: Path) -> str:
    """The sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_file(path: Path) -> str:
    """The first 16 hex digits of a file's sha256. Computed again only if the file was changed."""
    return _fingerprint_file(path, stamp(path.stat()))


@lru_cache(maxsize=64)
def _fingerprint_file(path: Path, state: tuple[int, ...]) -> str:  # noqa: ARG001 - part of the cache's key
    return hash_file(path)[:DIGITS]


def fingerprint_bytes(data: bytes) -> str:
    """The first 16 hex digits of the sha256 of ``data``.

    >>> fingerprint_bytes(b"abc")
    'ba7816bf8f01cfea'
    """
    return hashlib.sha256(data).hexdigest()[:DIGITS]
