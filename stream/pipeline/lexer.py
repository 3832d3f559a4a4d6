"""Splits a launch string into words, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stream.errors import LaunchError

Kind = Literal["word", "link", "end"]

_TOKEN = re.compile(
    r"""(?P<blank>[^\S\n]+|\\\n)|(?P<newline>\n)|(?P<link>!)|(?P<end>;)|(?P<word>(?:[^\s!;'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+)""",
    re.S,
)
_PIECE = re.compile(r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.)|(?P<bare>[^'"\\]+)""", re.S)


@dataclass(frozen=True)
class Word:
    """A word, a ``!`` (link) or the end of a line; ``quoted`` where any of it was in quotes."""

    kind: Kind
    text: str
    place: str
    quoted: bool = False


def split_words(text: str) -> Iterator[Word]:
    """Split a launch string; the last word is always an ``end``. Raises :class:`LaunchError` for an open quote."""
    yield from _join_lines(list(_tokens(text)))
    yield Word("end", "", _place(text, len(text)))


def _tokens(text: str) -> Iterator[Word]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        place = _place(text, at)
        if match is None:
            raise LaunchError(f"{place}: {_describe_unfinished(text[at])}")
        kind = match.lastgroup
        if kind == "word":
            yield Word("word", _unquote(match.group()), place, quoted=match.group()[-1] in "'\"")
        elif kind == "link":
            yield Word("link", "!", place)
        elif kind in ("end", "newline"):
            yield Word("end", match.group(), place)
        at = match.end()


def _join_lines(tokens: list[Word]) -> Iterator[Word]:
    """Drop line breaks beside a ``!``, which do not end a line."""
    for index, token in enumerate(tokens):
        before = next((other for other in reversed(tokens[:index]) if other.text != "\n"), None)
        after = next((other for other in tokens[index:] if other.text != "\n"), None)
        is_continued = any(neighbour is not None and neighbour.kind == "link" for neighbour in (before, after))
        if token.text != "\n" or token.kind != "end" or not is_continued:
            yield token


def _unquote(word: str) -> str:
    def plain(match: re.Match[str]) -> str:
        if match["double"] is not None:
            return re.sub(r"\\(.)", r"\1", match["double"], flags=re.S)
        return next(part for part in (match["single"], match["escaped"], match["bare"]) if part is not None)

    return _PIECE.sub(plain, word)


def _place(text: str, at: int) -> str:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return f"line {line}, column {column}" if "\n" in text.strip() else f"column {column}"


def _describe_unfinished(char: str) -> str:
    if char in "'\"":
        return f"a quote {char} is opened here and not closed"
    return "a backslash at the end escapes nothing"
