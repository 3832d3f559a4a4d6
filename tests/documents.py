"""Reads the fenced blocks of Markdown pages, and the comment above each that says how to run it."""

from __future__ import annotations

import ast
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
    """A fenced block. ``mode`` is ``not run``, ``run beside`` or empty; ``note`` is the reason or the command."""

    page: str
    line: int
    language: str
    text: str
    mode: str
    note: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(root: Path, pages: list[str]) -> Iterator[Block]:
    """All fenced blocks of these pages."""
    for page in pages:
        text = (root / page).read_text("utf-8")
        for fence in _FENCE.finditer(text):
            before = text[: fence.start()]
            mode, note = match.groups() if (match := _COMMENT.search(before)) else ("", "")
            yield Block(page, before.count("\n") + 1, fence[1], fence[2], mode, note)


def extract_imports(code: str) -> str:
    """The import statements of a program, nested ones included.

    >>> extract_imports("import a\\nprint(a.b)\\nif a:\\n    from c import d")
    'import a\\nfrom c import d'
    """
    nodes = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom))
    return "\n".join(map(ast.unparse, nodes))


def find_launch_strings(text: str) -> list[str]:
    """Every line that a page launches or validates, except those with gaps (``…``).

    Exports that the page itself makes do not exist yet; ``hrnet-small`` replaces them. No single-stage network ships:
    lines with one that the page exports are left out.
    """
    exported = find_exported_names(text)
    lines = [line for _, line in _LINE.findall(text) if "…" not in line]
    lines = [line for line in lines if not any(f"posedetect model={name}" in line for name in exported)]
    return [_MODEL.sub(lambda model: "model=hrnet-small" if model[1] in exported else model[0], line) for line in lines]


def find_exported_names(text: str) -> set[str]:
    """The folders that the page's own ``posestream export`` commands write.

    >>> sorted(find_exported_names("posestream export a --out b\\nposestream export c --precision fp16"))
    ['b', 'c-fp16']
    """
    commands = [line.split() for line in text.splitlines() if line.startswith("posestream export ")]
    return {_exported_name(words) for words in commands}


def _exported_name(words: list[str]) -> str:
    if "--out" in words:
        return words[words.index("--out") + 1]
    return f"{words[2]}-{words[words.index('--precision') + 1] if '--precision' in words else 'fp32'}"
