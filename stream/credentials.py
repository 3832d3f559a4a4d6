"""Credentials in addresses: hidden in messages and logs, and read from the environment.

>>> redact("cannot open rtsp://admin:p@ss@10.0.0.7:554/ch1?token=abc&x=1: timed out")
'cannot open rtsp://***@10.0.0.7:554/ch1?token=***&x=1: timed out'

``${NAME}`` in an address stands for an environment variable (:func:`expand_variables`), so that no file need hold a
password.
"""

from __future__ import annotations

import logging
import os
import re

from stream.errors import SourceError

HIDDEN = "***"

_SECRET = (
    r"(?:[\w-]*(?:pass(?:w(?:or)?d)?|pwd|passphrase|token|secret|api[_-]?key|credentials?|signature|session)[\w-]*"
    r"|pw|key|auth|authorization|sig|jwt|usr|user|username|login|account)"
)
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>[^\s'\"<>|]+)")
_QUERY_SECRET = re.compile(rf"(?i)(?P<name>(?<![\w-]){_SECRET})=(?P<value>[^&;#\s]*)")
_PATH_SECRET = re.compile(rf"(?i)(?P<name>(?<![A-Za-z0-9]){_SECRET})=(?P<value>[^&;/?#\s]*)")
_HEADER = re.compile(r"(?i)\b(?P<name>(?:proxy-)?authorization)\s*[:=]\s*(?P<kind>basic|digest|bearer)\s+[^\r\n'\"]+")
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def redact(text: str) -> str:
    """Replace the user, password and tokens of every URL in ``text`` by ``***``.

    It hides too much rather than too little: a password may contain ``@``, ``:`` or ``/`` unescaped, some cameras
    expect ``/user=…_password=…`` in the path, and FFmpeg repeats the whole address in its errors.
    """
    return _HEADER.sub(rf"\g<name>: \g<kind> {HIDDEN}", _URL.sub(_redacted_url, text))


class RedactingFormatter(logging.Formatter):
    """A log formatter that hides credentials, in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def expand_variables(url: str) -> str:
    """Replace every ``${NAME}`` in ``url`` by the environment variable. Raises :class:`SourceError` for one not set."""
    return _VARIABLE.sub(_value, url)


def _value(match: re.Match[str]) -> str:
    name = match[1]
    if name not in os.environ:
        raise SourceError(f"the address contains ${{{name}}}, but the variable {name} is not set; export it first")
    return os.environ[name]


def _redacted_url(match: re.Match[str]) -> str:
    rest = match["rest"]
    return match["scheme"] + (HIDDEN + "@" if _userinfo_end(rest) else "") + _redacted_tail(rest[_userinfo_end(rest) :])


def _userinfo_end(rest: str) -> int:
    """The index of the host: after the last ``@`` that can belong to the user and password."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return authority.rindex("@") + 1
    _, colon, port = authority.rpartition(":")
    is_password = bool(colon) and not port.isdigit() and not authority.endswith("]")
    return rest.rfind("@") + 1 if is_password else 0


def _redacted_tail(tail: str) -> str:
    path, mark, query = tail.partition("?")
    hidden = rf"\g<name>={HIDDEN}"
    return _PATH_SECRET.sub(hidden, path) + mark + _QUERY_SECRET.sub(hidden, query)
