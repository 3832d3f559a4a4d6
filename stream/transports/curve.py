"""CURVE keys, required for links, buses and publishers beyond this host. The files are ZeroMQ certificates.

* The parts of a line share one key: :func:`make_line_key` writes it, ``POSESTREAM_CURVE`` names it on every host, and
  only its holders may join.
* A publisher and its subscribers have a pair each: :func:`generate_keys` makes both. The publisher keeps
  ``server.key_secret``; a subscriber gets ``server.key`` (to authenticate the publisher) and ``client.key_secret``
  (its own identity).

Secret files must be readable by their owner only; others are refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import zmq.auth

from engines.formats.files import FormatError, read_bytes
from stream.errors import TransportError

VARIABLE = "POSESTREAM_CURVE"
"""The environment variable with the path of the line's key."""

_MAX_BYTES = 64 * 1024

REMEDY = "make keys with: posestream keygen keys"


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair; each key has 40 printable characters (Z85)."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Keys:
        """Generate a new pair in memory."""
        return cls(*zmq.curve_keypair())

    @classmethod
    def load(cls, path: str | Path) -> Keys:
        """Load a pair from a secret file. Raises :class:`TransportError`, also if others may read the file."""
        public, secret = _load(Path(path))
        if secret is None:
            raise TransportError(f"key file {path} contains no secret key; give the .key_secret file")
        check_permissions(Path(path))
        return cls(public, secret)

    @classmethod
    def from_environment(cls) -> Keys | None:
        """Load the line's pair from the file in ``POSESTREAM_CURVE``; None if it is unset."""
        path = os.environ.get(VARIABLE, "")
        return cls.load(path) if path else None


def load_public(path: str | Path) -> bytes:
    """Load the public key from either file of a pair. Raises :class:`TransportError`."""
    return _load(Path(path))[0]


def make_line_key(path: str | Path) -> Path:
    """Write a new key for a line to ``path``; never overwrites a file. Raises :class:`TransportError`."""
    file = Path(path)
    if os.path.lexists(file):
        raise TransportError(f"key file {file} already exists; choose another name or remove it first")
    try:
        return _generate(file.parent, "line", secret=file)
    except OSError as error:
        raise TransportError(f"key file {file} cannot be written: {error.strerror}; choose another name") from None


def generate_keys(folder: str | Path, names: tuple[str, ...] = ("server", "client")) -> tuple[Path, ...]:
    """Write ``NAME.key`` and ``NAME.key_secret`` into ``folder`` for every name, or none; return the secret files.

    Raises :class:`TransportError` if one of these files exists, which is never overwritten, or the folder cannot be
    written.
    """
    home = Path(folder)
    files = [file for name in names for file in _pair(home, name)]
    for file in files:
        if os.path.lexists(file):
            raise TransportError(f"{file} already exists; choose another folder or remove it first")
    try:
        home.mkdir(parents=True, exist_ok=True)
        return tuple(_generate_pair(home, name) for name in names)
    except OSError as error:
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink()
        raise TransportError(f"keys cannot be written to {home}: {error.strerror}; choose another folder") from None


def _pair(home: Path, name: str) -> tuple[Path, Path]:
    return home / f"{name}.key_secret", home / f"{name}.key"


def _generate_pair(home: Path, name: str) -> Path:
    secret, public = _pair(home, name)
    return _generate(home, name, secret=secret, public=public)


def _generate(home: Path, name: str, *, secret: Path, public: Path | None = None) -> Path:
    # The folder has mode 0700, so the secret is never readable by others.
    with tempfile.TemporaryDirectory(dir=home) as private:
        public_file, secret_file = zmq.auth.create_certificates(private, name)
        Path(secret_file).chmod(0o600)
        if public is not None:
            Path(public_file).chmod(0o644)  # whatever the umask: who can write it decides which publisher is trusted
            shutil.move(public_file, public)
        return Path(shutil.move(secret_file, secret))


def _load(file: Path) -> tuple[bytes, bytes | None]:
    try:
        read_bytes(file, _MAX_BYTES)
        return zmq.auth.load_certificate(file)
    except (OSError, ValueError, FormatError) as error:
        raise TransportError(f"key file {file} cannot be read ({error}); {REMEDY}") from None


def check_permissions(file: Path) -> None:
    """Raise :class:`TransportError` if others than the owner may read a file with a secret."""
    if os.name == "posix" and (mode := file.stat().st_mode & 0o077):
        raise TransportError(f"key file {file} is readable by others (mode …{mode:02o}); run: chmod 600 {file}")
