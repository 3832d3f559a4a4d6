"""Redaction of credentials in every text that leaves the process.

:func:`redact` hides what looks like a credential, and every secret that this process knows: the passwords and tokens of
each address it has read (:func:`mask_credentials`), however they are cut, quoted or escaped since.

>>> redact("cannot open rtsp://admin:p@ss@10.0.0.7:554/ch1?token=abc&x=1: timed out")
'cannot open rtsp://***@10.0.0.7:554/ch1?token=***&x=1: timed out'
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"

_STRONG = r"[\w-]{0,30}?(?:pass(?:w(?:or)?d|phrase)?|pwd|token|secret|api[_-]?key|credentials?|signature)"
_NAME = (
    rf"(?:{_STRONG}[\w-]{{0,30}}|[\w-]{{0,30}}session[\w-]{{0,30}}"
    r"|pw|key|auth|authorization|sig|jwt|usr|user|username|login|account)"
)
_CLOSING = r"['\"<>)\]},.]*(?:[\s;:]|$)"
"""What follows an address in a sentence."""

_SCHEME = re.compile(r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):/{1,3}(?=[^\s/])")
_BARE = r"(?:^|(?<=[\s'\"=,;/]))(?=[^\s:@/'\"=(\[{,;<>]+:[^\s/])(?!\S{0,40}:/)"
_TYPED = re.compile(rf"{_SCHEME.pattern}|{_BARE}")
_USER = re.compile(
    r"(?:^|(?<=[\s'\"=(\[{,;/]))(?<!:/)(?<!://)[^\s:@/'\"=(\[{,;<>]+:(?P<password>(?![\da-fA-F:]*\])[^\s@/]\S*)@(?=[\w\[*$])"
)
_QUERY = re.compile(rf"(?i)(?P<name>(?<![\w-]){_NAME})=(?P<value>\$\{{\w+\}}|[^&;#\s]*?)(?=[&;#]|{_CLOSING})")
_PATH = re.compile(rf"(?i)(?P<name>(?<![A-Za-z0-9]){_NAME})=(?P<value>\$\{{\w+\}}|[^&;/?#\s]*?)(?=[&;/?#]|{_CLOSING})")
_FIELD = re.compile(rf"(?i)(?P<name>(?<![\w-]){_STRONG})=(?P<value>\$\{{\w+\}}|[^&\s]+?)(?=&|{_CLOSING})")
_VALUE = re.compile(rf"(?i)(?<![\w-]){_STRONG}=(?P<value>[^&\s]+)")
_HEADER = re.compile(r"(?i)\b(?P<name>(?:proxy-)?authorization)\s*[:=]\s*(?P<kind>basic|digest|bearer)\s+[^\r\n'\"]+")
_STOP = re.compile(r"\s+(?:!(?=\s)|-{1,2}[A-Za-z]|\w+://)|[\r\n]")
_PROPERTY = re.compile(r"\s+[A-Za-z_]\w*=")
"""Where what the user typed goes on behind an address: at a link, an option, another address; at a property."""

_IPV4 = re.compile(r"\d+(\.\d+){3}|localhost|\*")
_WORD = re.compile(r"[^\W_]+")
_TRAILING = "'\",;:).>"
_PLACEHOLDER = re.compile(r"\$\{\w+\}|PASSWORD|password")
"""What stands for a password: a variable, or a word of the documentation."""
_NO_PASSWORD = re.compile(rf"(?:{_PLACEHOLDER.pattern}|PORT|port|\*|!|…)?\]?")
"""What else may follow the colon of an address."""
_NO_USERS = ("tcp", "ipc", "inproc", "udp", "")

_MIN_CHARS, _LONG_CHARS, _MAX_MASKS, _SENTENCE_CHARS = 3, 8, 10_000, 200
_BYTES = "surrogateescape"
"""File names may hold bytes that are no text."""
_masks: dict[str, None] = {}
_mask_pattern: re.Pattern[str] | None = None


def redact(text: str) -> str:
    """Replace every known secret in ``text``, and the user, password and tokens of every address, by ``***``.

    It hides too much rather than too little: a password may contain ``@``, ``:`` or ``/`` unescaped, some cameras
    expect ``/user=…_password=…`` in the path, and FFmpeg repeats the whole address in its errors.
    """
    if _mask_pattern is not None:
        text = _mask_pattern.sub(HIDDEN, text)
    for start, end in reversed(list(_find_userinfo(text, is_typed=False))):
        text = text[:start] + HIDDEN + text[end:]
    text = _USER.sub(_hide_user, text)
    text = re.sub(r"(?<=://)\S+", lambda match: _redact_tail(match[0]), text)
    text = _FIELD.sub(_hide_value, text)
    return _HEADER.sub(rf"\g<name>: \g<kind> {HIDDEN}", text)


def mask(secret: str) -> None:
    """Hide ``secret`` from now on, also percent-encoded, escaped, or in parts. Less than three characters are not."""
    global _mask_pattern
    spellings = {secret, unquote(secret), unquote_plus(secret)}
    spellings |= {form for one in spellings for form in (_quote(one), _quote(one, "/"), quote_plus(one, errors=_BYTES))}
    spellings |= {form for one in spellings for form in (repr(one)[1:-1], ascii(one)[1:-1])}
    words = {word for one in spellings for word in _WORD.findall(one)}
    new = [one for one in spellings | words if len(one) >= _MIN_CHARS and not _PLACEHOLDER.fullmatch(one)]
    if not new or _masks.keys() >= set(new):
        return
    _masks.update(dict.fromkeys(new))
    for oldest in list(_masks)[: max(0, len(_masks) - _MAX_MASKS)]:
        del _masks[oldest]
    longest_first = sorted(_masks, key=len, reverse=True)
    _mask_pattern = re.compile("|".join(map(_mask_one, longest_first)))


def mask_credentials(text: str) -> None:
    """Mask every password and token in ``text``, as the user typed it: before it is parsed, and rightly or not."""
    for start, end in _find_userinfo(text, is_typed=True):
        mask(text[start:end].partition(":")[2])
    for pattern in (_USER, _QUERY, _VALUE):
        for found in pattern.finditer(text):
            mask(found[pattern.groups])


def forget_masks() -> None:
    """Forget every secret."""
    global _mask_pattern
    _masks.clear()
    _mask_pattern = None


def _quote(text: str, safe: str = "") -> str:
    return quote(text, safe=safe, errors=_BYTES)


def _mask_one(secret: str) -> str:
    """A short secret counts only where it is a word of its own."""
    text = re.escape(secret)
    return text if len(secret) >= _LONG_CHARS else rf"(?<![^\W_]){text}(?![^\W_])"


# -- user and password ------------------------------------------------------------------------------------------------


def _find_userinfo(text: str, *, is_typed: bool) -> Iterator[tuple[int, int]]:
    """Where the user and password of each address begin and end; without a scheme, in what the user typed alone.

    In what the user typed (``is_typed``) they may contain blanks, up to the next property, option or link.
    """
    begin, at = _TYPED if is_typed else _SCHEME, 0
    while (found := begin.search(text, at)) is not None:
        start = found.end()
        stop = _STOP.search(text, start)
        segment = text[start : stop.start() if stop else len(text)]
        length = _userinfo_length(segment, found["scheme"] or "", is_typed=is_typed)
        at = start + max(length, 1)
        if length and not _PLACEHOLDER.fullmatch(segment[:length].partition(":")[2]):
            yield start, start + length


def _userinfo_length(segment: str, scheme: str, *, is_typed: bool) -> int:
    """How many characters of ``segment``, which follows a scheme, are user and password."""
    head = re.split(r"\s", segment, maxsplit=1)[0]
    authority = re.split(r"[/?#]", head, maxsplit=1)[0]
    name, colon, port = authority.rstrip(_TRAILING).rpartition(":")
    is_ipv6 = name.endswith("]") or authority.endswith("]")
    is_password = bool(colon) and not is_ipv6 and not port.isdigit() and not _NO_PASSWORD.fullmatch(port)
    may_be_password = is_password or (bool(colon) and not is_ipv6 and not _IPV4.fullmatch(name))
    reach = _reach(segment, goes_on=is_password) if is_typed else head
    if "@" in reach and ("@" in authority or may_be_password):
        return reach.rindex("@")
    if is_password and "@" in segment[:_SENTENCE_CHARS]:
        return segment.index("@")
    return len(head.rstrip(_TRAILING)) if is_password and scheme not in _NO_USERS else 0


def _reach(segment: str, *, goes_on: bool) -> str:
    """As much of what the user typed as one address may be; ``goes_on`` where a password has begun, but not ended."""
    stop = _PROPERTY.search(segment, max(0, segment.find("@")) if goes_on else 0)
    return segment[: stop.start()] if stop else segment


def _hide_user(match: re.Match[str]) -> str:
    return match[0] if _PLACEHOLDER.fullmatch(match["password"]) else f"{HIDDEN}@"


# -- tokens -----------------------------------------------------------------------------------------------------------


def _redact_tail(address: str) -> str:
    path, mark, query = address.partition("?")
    return _PATH.sub(_hide_value, path) + mark + _QUERY.sub(_hide_value, query)


def _hide_value(match: re.Match[str]) -> str:
    return match[0] if _PLACEHOLDER.fullmatch(match["value"]) else f"{match['name']}={HIDDEN}"
