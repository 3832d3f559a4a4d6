"""Print the figures of ``docs/explanation/structure.md`` for a checkout: ``python -m scripts.structure [FOLDER]``.

Everything is counted on the source itself; nothing is imported and nothing is run.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("posestream", "stream", "engines", "export")
BLOCK_LINES = 6

WORDS = (
    "whoever", "whomever", "nobody", "somebody", "told", "lest", "flesh and blood", "uncast", "mourn", "buried",
    "complaint", "is_beyond_help", "kept alive", "speaks", "books without pixels",
)  # fmt: skip
"""Words of the old dialect; ``tests/test_language.py`` holds the source and the documents to none of them."""

_PATTERN = re.compile(r"(?<![a-z])(" + "|".join(WORDS) + r")(?![a-z])", re.IGNORECASE)


def modules(root: Path) -> dict[str, Path]:
    """Every module by its dotted name."""
    files = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return {_dotted(path.relative_to(root)): path for path in files}


def find_imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that one imports anywhere in its text, imports for type checking included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(full & known.keys() or {node.module})
    return (found & known.keys()) - {name}


def count_in_cycles(graph: dict[str, set[str]]) -> int:
    """Modules that import themselves by way of others."""
    return sum(name in _reachable(name, graph) for name in graph)


def function_lengths(path: Path) -> Iterator[int]:
    """Lines of every function's body, its docstring left out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def count_repeated_blocks(paths: list[Path]) -> int:
    """Distinct runs of six consecutive lines of code that stand in more than one place; blank lines do not count."""
    places: Counter[tuple[str, ...]] = Counter()
    for path in paths:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        code = [line for line in lines if line and not line.startswith(("#", "import ", "from "))]
        places.update({tuple(code[start : start + BLOCK_LINES]) for start in range(len(code) - BLOCK_LINES + 1)})
    return sum(count > 1 for count in places.values())


def find_words(path: Path) -> Iterator[tuple[int, str]]:
    """Every word of the old dialect in a file, with the number of its line."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        yield from ((number, word.lower()) for word in _PATTERN.findall(line))


def measure(root: Path) -> dict[str, str]:
    """Every figure of the table by its title."""
    known = modules(root)
    graph = {name: find_imports(name, path, known) for name, path in known.items()}
    importers = Counter(imported for imports in graph.values() for imported in imports)
    paths = list(known.values())
    lengths = sorted(length for path in paths for length in function_lengths(path))
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    flat = {package: len(list((root / package).glob("*.py"))) for package in ("stream", "engines", "export")}
    return {
        "modules flat in stream / engines / export": " / ".join(map(str, flat.values())),
        "modules": str(len(known)),
        "modules in import cycles, deferred imports included": str(count_in_cycles(graph)),
        "modules with one importer": str(sum(importers[name] == 1 for name in known)),
        "lines of source": str(_count_lines(paths)),
        "lines of tests": str(_count_lines(sorted((root / "tests").rglob("*.py")))),
        "body of a function, lines: median / p90": f"{statistics.median(lengths):g} / {lengths[-len(lengths) // 10]}",
        "repeated blocks of six lines": str(count_repeated_blocks(paths)),
        "words of the old dialect in source and documents": str(
            sum(len(list(find_words(path))) for path in (*paths, *pages))
        ),
    }


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting.extend(graph.get(name, ()))
    return seen


def _count_lines(paths: list[Path]) -> int:
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)


if __name__ == "__main__":
    for title, figure in measure(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        print(f"{title}: {figure}")
