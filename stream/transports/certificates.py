"""CURVE certificates of a publisher and its subscribers: files in ZeroMQ's own certificate format.

``generate_keys("keys")`` makes two pairs: the publisher keeps ``server.key_secret``; a subscriber gets ``server.key``
(whom to believe) and ``client.key_secret`` (who it is). Secret files are readable by their owner only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import zmq.auth

from stream.errors import TransportError

REMEDY = "make them with: posestream keygen keys"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A public key and, of one's own, the secret half; 40 printable characters (Z85) each."""

    public: bytes
    secret: bytes | None = field(default=None, repr=False)


def generate_keys(folder: str | Path, names: tuple[str, ...] = ("server", "client")) -> tuple[Path, ...]:
    """Write ``NAME.key`` and ``NAME.key_secret`` into ``folder`` for every name; returns the secret files.

    Raises :class:`TransportError` rather than overwrite a key or where the folder cannot be written.
    """
    home = Path(folder)
    for name in names:
        if (home / f"{name}.key_secret").exists():
            raise TransportError(f"{home / name}.key_secret exists already; choose another folder or remove it first")
    try:
        home.mkdir(parents=True, exist_ok=True)
        return tuple(_generate(home, name) for name in names)
    except OSError as error:
        raise TransportError(f"keys cannot be written to {home}: {error.strerror}; choose another folder") from None


def load(path: str | Path, *, secret: bool) -> Certificate:
    """Read a certificate; with ``secret`` it must hold the secret half. Raises :class:`TransportError`."""
    file = Path(path)
    try:
        public, private = zmq.auth.load_certificate(file)
    except (OSError, ValueError) as error:
        raise TransportError(f"key file {file} cannot be read ({error}); {REMEDY}") from None
    if not secret:
        return Certificate(public)
    if private is None:
        raise TransportError(f"key file {file} holds no secret key; name the .key_secret file")
    _refuse_readable_by_others(file)
    return Certificate(public, private)


def _generate(home: Path, name: str) -> Path:
    # A folder of mode 0700 keeps the secret to its owner until its own mode does.
    with tempfile.TemporaryDirectory(dir=home) as private:
        public_file, secret_file = zmq.auth.create_certificates(private, name)
        Path(secret_file).chmod(0o600)
        shutil.move(public_file, home / f"{name}.key")
        return Path(shutil.move(secret_file, home / f"{name}.key_secret"))


def _refuse_readable_by_others(file: Path) -> None:
    if os.name == "posix" and (mode := file.stat().st_mode & 0o077):
        raise TransportError(f"key file {file} is open to others (mode …{mode:02o}); run: chmod 600 {file}")
