"""Reads the fenced blocks of Markdown pages, and what the comment above each says about running it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (not run|run beside): ([^\n]+?) -->\n\Z")
_LINE = re.compile(r"""posestream (?:launch|validate) (['"])(.+?)\1""")
_MODEL = re.compile(r"model=(\S+)")


@dataclass(frozen=True)
class Block:
    """One fenced block: ``order`` is ``not run``, ``run beside`` or empty, ``told`` what stands after it."""

    page: str
    number: int
    language: str
    text: str
    order: str
    told: str

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"


def blocks(root: Path, pages: list[str]) -> Iterator[Block]:
    """All fenced blocks of these pages, with the number of the line each begins at."""
    for page in pages:
        text = (root / page).read_text("utf-8")
        for fence in _FENCE.finditer(text):
            before = text[: fence.start()]
            order, told = match.groups() if (match := _COMMENT.search(before)) else ("", "")
            yield Block(page, before.count("\n") + 1, fence[1], fence[2], order, told)


def launch_strings(text: str) -> list[str]:
    """Every line that a page launches or validates, those with gaps (``…``) left out.

    An export that the page itself makes is on no machine yet: ``hrnet-small`` stands in for it.
    """
    made = exported_names(text)
    lines = (line for _, line in _LINE.findall(text) if "…" not in line)
    return [_MODEL.sub(lambda told: "model=hrnet-small" if told[1] in made else told[0], line) for line in lines]


def exported_names(text: str) -> set[str]:
    """The folders that the page's own ``posestream export`` makes: named, or by network and precision.

    >>> sorted(exported_names("posestream export a --out b\\nposestream export c --precision fp16"))
    ['b', 'c-fp16']
    """
    commands = [line.split() for line in text.splitlines() if line.startswith("posestream export ")]
    return {_exported_name(words) for words in commands}


def _exported_name(words: list[str]) -> str:
    if "--out" in words:
        return words[words.index("--out") + 1]
    return f"{words[2]}-{words[words.index('--precision') + 1] if '--precision' in words else 'fp32'}"
