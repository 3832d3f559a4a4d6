"""Who may see the page: this machine alone, or those who have the token, over TLS."""

from __future__ import annotations

import hashlib
import hmac
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from engines.formats.files import FormatError, decode_text, read_bytes
from engines.redaction import mask
from stream.capture.regular_file import describe_kind
from stream.errors import PropertyError, TransportError
from stream.transports.addresses import is_loopback_host, split_listen
from stream.transports.curve import check_permissions

_MIN_TOKEN, _MAX_TOKEN_BYTES = 16, 4096
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
COOKIE_PREFIX = "posestream-"
_MAKE_ONE = "(umask 077; openssl rand -hex 32 > FILE)"


@dataclass(frozen=True)
class Access:
    """Where the page is served, and what a browser needs to see it: ``token`` (empty: nothing), and TLS or not.

    Make it with :func:`make_access`.
    """

    host: str
    port: int
    token: str = field(default="", repr=False)
    cert: Path | None = None
    key: Path | None = None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.cert else "http"

    @property
    def pass_value(self) -> str:
        """What the cookie of a browser holds that has given the token: not the token itself."""
        return hmac.new(self.token.encode(), b"posestream page", hashlib.sha256).hexdigest()

    @property
    def cookie(self) -> str:
        """The name of that cookie; another for every token, since cookies do not tell the ports of a host apart."""
        return f"{COOKIE_PREFIX}{hashlib.sha256(self.pass_value.encode()).hexdigest()[:8]}"

    def is_token(self, given: str) -> bool:
        """True for the token; takes as long for every other text."""
        return hmac.compare_digest(given.encode(), self.token.encode())

    def is_pass(self, given: str) -> bool:
        """True for the value of the cookie."""
        return hmac.compare_digest(given.encode(), self.pass_value.encode())

    def is_host(self, name: str) -> bool:
        """True if the page answers to this name.

        Without a token only to those of this machine: a page of another site can make its own name lead here (DNS
        rebinding), and would then be asked for nothing. With a token, its browser has no cookie for that name.
        """
        return bool(self.token) or name in _LOCAL_NAMES or name == self.host


def make_access(listen: str, token_file: Path | None, cert: Path | None, key: Path | None) -> Access:
    """Check where the page is to be served, ``HOST:PORT``, against what protects it there.

    Raises :class:`PropertyError` for an address that is none, :class:`TransportError` for one that other hosts can
    reach without a token and TLS, and for files that cannot be used.
    """
    host, port = split_listen(listen, "127.0.0.1:8080")
    if (cert is None) != (key is None):
        raise PropertyError("--cert and --key belong together: give both, or neither")
    if not is_loopback_host(host) and (token_file is None or cert is None):
        raise TransportError(
            f"--listen {listen} is open to other hosts, which would see the cameras: give --token-file, --cert and "
            f"--key, or listen on 127.0.0.1:{port} behind a proxy that has TLS"
        )
    token = _read_token(token_file) if token_file is not None else ""
    if cert is not None and key is not None:
        _check_certificate(cert, key)
    return Access(host, port, token, cert, key)


def _read_token(file: Path) -> str:
    try:
        token = decode_text(read_bytes(file, _MAX_TOKEN_BYTES)).strip()
    except FormatError as error:
        raise TransportError(f"--token-file {file} cannot be read: {error}; make one with {_MAKE_ONE}") from None
    check_permissions(file)
    if len(token) < _MIN_TOKEN or not (token.isascii() and token.isprintable()):
        raise TransportError(
            f"--token-file {file} holds no token of {_MIN_TOKEN} or more ASCII characters; make one with {_MAKE_ONE}"
        )
    mask(token)
    return token


def _check_certificate(cert: Path, key: Path) -> None:
    for option, file in (("--cert", cert), ("--key", key)):
        if kind := describe_kind(file):
            raise TransportError(f"{option} {file} is {kind}, not a file; give a PEM file")
    try:
        # Without a password of our own, OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or "not a certificate and its key"
        raise TransportError(
            f"--cert {cert} and --key {key} cannot be used: {why}; give a PEM certificate and its key, without password"
        ) from None
