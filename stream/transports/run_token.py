"""The token of a run, by which its parts know each other where there are no CURVE keys.

It lies in the run directory, readable by its user alone. A part that connects must send a password made of it and of
the address (ZeroMQ's PLAIN mechanism): who has no access to the directory cannot connect, neither over loopback nor
over a socket file. Messages are not encrypted, so it costs nothing after the connection was made; it is not used beyond
this host.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

_BYTES = 32


@dataclass(frozen=True, slots=True)
class RunToken:
    """A token, 64 hexadecimal digits."""

    text: str = field(repr=False)

    @classmethod
    def generate(cls) -> RunToken:
        """Draw a new token."""
        return cls(secrets.token_hex(_BYTES))

    @property
    def is_valid(self) -> bool:
        """False for anything that :meth:`generate` cannot have drawn."""
        return len(self.text) == 2 * _BYTES and all(digit in "0123456789abcdef" for digit in self.text)

    def password(self, address: str) -> bytes:
        """What a part must send to connect to ``address``; it opens no other address."""
        return hmac.new(self.text.encode(), address.encode(), hashlib.sha256).hexdigest().encode()
