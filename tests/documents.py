"""Reads the fenced blocks of Markdown pages, and what the comment above each says about running it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (not run|run beside): ([^\n]+?) -->\n\Z")
_LINE = re.compile(r"posestream (?:launch|validate) '([^']+)'")


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
    """Every line that a page launches or validates, those with gaps (``…``) left out."""
    return [line for line in _LINE.findall(text) if "…" not in line]
