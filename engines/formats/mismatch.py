"""What msgspec says about a value that does not fit, in the words of posestream.

>>> try:
...     msgspec.convert({"steps": [1, "x"]}, dict[str, list[int]])
... except msgspec.ValidationError as error:
...     describe_mismatch(error)
'[...][1] must be an integer, not text'
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

_NOUNS = {
    "int": "an integer",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "a mapping",
    "bytes": "bytes",
    "uuid": "a UUID",
    "datetime": "a date and time",
    "ext": "an extension",
    "dict": "a mapping",  # as Python names it, where a value is converted by code of ours
    "list": "a list",
    "NoneType": "null",
}
_OPERATORS = {">=": "of at least", "<=": "of at most", ">": "greater than", "<": "less than", "==": "of"}
_UNITS = {"str": "characters", "bytes": "bytes", "array": "values", "object": "keys"}
_PATH = re.compile(r" - at (?P<key>`key` in )?`\$(?P<path>[^`]*)`$")


def describe_mismatch(error: msgspec.ValidationError) -> str:
    """One line: which value does not fit, and what it must be."""
    message, path = split_mismatch(error)
    return f"{path} {message}" if path else message if message.startswith("'") else f"it {message}"


def split_mismatch(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, to be read behind the path of the value, and the path; it is empty for the whole."""
    message = str(error)
    found = _PATH.search(message)
    path = found["path"].removeprefix(".") if found else ""
    if found and found["key"]:
        path = f"a key of {path}" if path else "a key"
    return _translate(_PATH.sub("", message)), path


def _noun(kinds: str) -> str:
    """``int | null`` in words."""
    return " or ".join(_NOUNS.get(kind, kind) for kind in kinds.split(" | "))


def _number(text: str) -> str:
    return text.removesuffix(".0")


def _wrong_kind(match: re.Match[str]) -> str:
    return f"must be {_noun(match['kind'])}, not {_noun(match['other'])}"


def _limit(match: re.Match[str]) -> str:
    return f"must be {_noun(match['kind'])} {_OPERATORS[match['op']]} {_number(match['limit'])}"


def _length(match: re.Match[str]) -> str:
    kind, limit = match["kind"].split(" | ")[0], match["limit"]
    unit = _UNITS.get(kind, "values")
    operator = match["op"] or (">=" if match["least"] else "==")
    text = f"must be {_noun(match['kind'])} {_OPERATORS[operator]} {limit} "
    text += unit[:-1] if limit == "1" and unit.endswith("s") else unit
    return text + (f", not {match['count']}" if match["count"] else "")


_KIND = r"Expected `(?P<kind>[^`]+)`"
_COUNT = r"(?P<least>at least )?length (?:(?P<op>>=|<=) )?(?P<limit>\d+)(?:, got (?P<count>\d+))?"

_RULES: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (rf"{_KIND}, got `(?P<other>[^`]+)`", _wrong_kind),
    (rf"{_KIND} (?P<op>>=|<=|>|<) (?P<limit>\S+)", _limit),
    (rf"{_KIND} of {_COUNT}", _length),
    (rf"{_KIND} matching regex (?P<pattern>.+)", lambda match: f"must match {match['pattern']}"),
    (rf"{_KIND} that's a multiple of (?P<step>\S+)", lambda match: f"must be a multiple of {_number(match['step'])}"),
    (r"Object missing required field `(?P<key>[^`]+)`", lambda match: f"lacks {match['key']!r}"),
    (r"Object contains unknown field `(?P<key>[^`]+)`", lambda match: f"has no key {match['key']!r}"),
    (r"(?:Integer value|Number) out of range", lambda _: "is out of range"),
    (r"Invalid (?:enum )?value (?P<value>.+)", lambda match: f"cannot be {match['value']}"),
]


def _translate(message: str) -> str:
    for pattern, write in _RULES:
        if match := re.fullmatch(pattern, message, re.DOTALL):
            return write(match)
    return f"is not valid: {message.replace('`', '')}"
