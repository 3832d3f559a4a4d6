"""Fingerprints of files."""

from __future__ import annotations

import os
from pathlib import Path

from engines.spec.fingerprint import fingerprint_file, hash_file


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"abc")
    # The sha256 of "abc" is in the standard (FIPS 180-2, B.1).
    assert fingerprint_file(path) == "ba7816bf8f01cfea"
    path.write_bytes(b"something longer")
    assert fingerprint_file(path) == hash_file(path)[:16] != "ba7816bf8f01cfea"


def test_a_fingerprint_follows_content_of_the_same_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    found = []
    for content in (b"abc", b"abd"):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
        found.append(fingerprint_file(path))
    assert found[0] != found[1]
