"""CURVE keys: what lets a link or a bus leave this host.

All parts of a line share one key file, a CURVE key pair: whoever holds it may join, nobody else. Make it with
``python -m stream.transports.curve FILE`` and name it in the environment variable ``POSESTREAM_CURVE`` on every host.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from stream.errors import TransportError

VARIABLE = "POSESTREAM_CURVE"
"""The environment variable that names the key file."""

_LINE = re.compile(r'^\s*(public|secret)\s*=\s*"([!-~]{40})"\s*$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Keys:
    """A CURVE key pair; both halves are 40 printable characters (Z85)."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> Keys:
        """A fresh pair."""
        return cls(*zmq.curve_keypair())

    @classmethod
    def load(cls, path: str | Path) -> Keys:
        """Read a key file. Raises :class:`TransportError` when it is missing or is not one."""
        try:
            halves = dict(_LINE.findall(Path(path).read_text(encoding="ascii")))
        except (OSError, UnicodeDecodeError) as error:
            raise TransportError(f"key file {path} cannot be read: {error}; make one with {_REMEDY}") from None
        if halves.keys() != {"public", "secret"}:
            raise TransportError(f"key file {path} does not hold a public and a secret key; make one with {_REMEDY}")
        return cls(halves["public"].encode(), halves["secret"].encode())

    @classmethod
    def from_environment(cls) -> Keys | None:
        """The pair that ``POSESTREAM_CURVE`` names, or None where it is unset."""
        path = os.environ.get(VARIABLE, "")
        return cls.load(path) if path else None

    def save(self, path: str | Path) -> None:
        """Write the key file, readable by its owner only. Raises :class:`TransportError`; never overwrites."""
        text = f'public = "{self.public.decode()}"\nsecret = "{self.secret.decode()}"\n'
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
        except OSError as error:
            raise TransportError(f"key file {path} cannot be written: {error.strerror}; choose another name") from None


_REMEDY = "python -m stream.transports.curve FILE"


def main(arguments: list[str]) -> int:
    """Write a fresh key file to the one path given."""
    if len(arguments) != 1:
        print(f"usage: {_REMEDY}", file=sys.stderr)
        return 2
    try:
        Keys.generate().save(arguments[0])
    except TransportError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"wrote {arguments[0]}: copy it to every host of the line and set {VARIABLE} to its path there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
