"""CURVE keys: what lets a link, a bus or a publisher leave this host. Files are ZeroMQ's own certificates.

* Parts of one line share one key: :func:`make_line_key` writes it, ``POSESTREAM_CURVE`` names it on every host, and
  whoever holds it may join, nobody else.
* A publisher and its subscribers have a pair each: :func:`generate_keys` makes both. The publisher keeps
  ``server.key_secret``; a subscriber gets ``server.key`` (whom to believe) and ``client.key_secret`` (who it is).

Secret files are readable by their owner only, and are refused when they are not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import zmq.auth

from stream.errors import TransportError

VARIABLE = "POSESTREAM_CURVE"
"""The environment variable that names the key of a line."""

REMEDY = "make keys with: posestream keygen keys"


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair; both halves are 40 printable characters (Z85)."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Keys:
        """A fresh pair, in no file."""
        return cls(*zmq.curve_keypair())

    @classmethod
    def load(cls, path: str | Path) -> Keys:
        """Both halves from a secret file. Raises :class:`TransportError`, also where others may read it."""
        public, secret = _halves(Path(path))
        if secret is None:
            raise TransportError(f"key file {path} holds no secret key; name the .key_secret file")
        _refuse_readable_by_others(Path(path))
        return cls(public, secret)

    @classmethod
    def from_environment(cls) -> Keys | None:
        """The line's pair, which ``POSESTREAM_CURVE`` names, or None where it is unset."""
        path = os.environ.get(VARIABLE, "")
        return cls.load(path) if path else None


def load_public(path: str | Path) -> bytes:
    """The public half from either file of a pair. Raises :class:`TransportError`."""
    return _halves(Path(path))[0]


def make_line_key(path: str | Path) -> Path:
    """Write a fresh key for a line to ``path``. Raises :class:`TransportError`; never overwrites."""
    file = Path(path)
    if file.exists():
        raise TransportError(f"key file {file} exists already; choose another name or remove it first")
    try:
        return _generate(file.parent, "line", secret=file)
    except OSError as error:
        raise TransportError(f"key file {file} cannot be written: {error.strerror}; choose another name") from None


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
        return tuple(_generate_pair(home, name) for name in names)
    except OSError as error:
        raise TransportError(f"keys cannot be written to {home}: {error.strerror}; choose another folder") from None


def _generate_pair(home: Path, name: str) -> Path:
    return _generate(home, name, secret=home / f"{name}.key_secret", public=home / f"{name}.key")


def _generate(home: Path, name: str, *, secret: Path, public: Path | None = None) -> Path:
    # A folder of mode 0700 keeps the secret to its owner until its own mode does.
    with tempfile.TemporaryDirectory(dir=home) as private:
        public_file, secret_file = zmq.auth.create_certificates(private, name)
        Path(secret_file).chmod(0o600)
        if public is not None:
            shutil.move(public_file, public)
        return Path(shutil.move(secret_file, secret))


def _halves(file: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(file)
    except (OSError, ValueError) as error:
        raise TransportError(f"key file {file} cannot be read ({error}); {REMEDY}") from None


def _refuse_readable_by_others(file: Path) -> None:
    if os.name == "posix" and (mode := file.stat().st_mode & 0o077):
        raise TransportError(f"key file {file} is open to others (mode …{mode:02o}); run: chmod 600 {file}")
