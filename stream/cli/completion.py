"""Completion in the shell: names of elements, lines, networks and skeletons, read from files without heavy imports.

``posestream --install-completion`` installs it. Each function here returns the words that may complete the one
being typed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

_ROOT = Path(__file__).resolve().parents[2]


def complete_elements(incomplete: str) -> list[str]:
    """Names of the elements that ship."""
    return _matching(_stems("stream/elements", "*.py"), incomplete)


def complete_lines(incomplete: str) -> list[str]:
    """Names of the lines that ship, and YAML files here."""
    names = _stems("configs/pipelines", "*.yaml")
    return _matching([*names, *map(str, Path().glob("*.yaml"))], incomplete)


def complete_models(incomplete: str) -> list[str]:
    """Names of networks: those that ship and those of the catalogue."""
    shipped = [path.name for path in (_ROOT / "engines/hub/weights").iterdir() if path.is_dir()]
    return _matching([*shipped, *_stems("configs/models", "*.yaml")], incomplete)


def complete_skeletons(incomplete: str) -> list[str]:
    """Names of skeletons."""
    from engines.skeletons import SKELETONS

    return _matching(SKELETONS, incomplete)


def complete_launch_words(context: typer.Context, incomplete: str) -> list[str]:
    """What may come next in a launch string that is not quoted: an element behind '!', a model behind 'model='."""
    words = [str(word) for word in context.params.get("line") or ()]
    # Bash takes '=' for a word of its own, so that only what follows it is completed; other shells give all of it.
    before, equals, value = incomplete.rpartition("=")
    if words[-2:] == ["model", "="] or (words[-1:] == ["model"] and before == "" and equals):
        return complete_models(value)
    if before == "model":
        return [f"model={name}" for name in complete_models(value)]
    return complete_elements(incomplete) if not words or words[-1] == "!" else []


def _stems(folder: str, pattern: str) -> list[str]:
    return [path.stem for path in (_ROOT / folder).glob(pattern) if not path.stem.startswith("_")]


def _matching(names: Iterable[str], start: str) -> list[str]:
    return sorted(name for name in names if name.startswith(start))
