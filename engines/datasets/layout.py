"""How a data set must lie on disk, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from engines.errors import EngineError

WHERE = "docs/how-to/datasets.md says how it must lie on disk"


def annotation_files(folder: Path, pattern: str = "*.json") -> list[Path]:
    """The annotation files of a split, sorted. Raises :class:`EngineError` where there are none."""
    files = sorted(folder.glob(pattern))
    if not files:
        raise EngineError(
            f"{folder}: {'it holds no ' + pattern if folder.is_dir() else 'there is no such folder'}; {WHERE}"
        )
    return files


def present(path: Path, root: Path, names: Sequence[str], pictures: Mapping[int, Any]) -> None:
    """Raise :class:`EngineError` for the first of the pictures ``names``, called by numbers, that is not there."""
    check_present(path, root, names, {name for name in names if _number(path, name) in pictures})


def check_present(path: Path, root: Path, names: Sequence[str], there: Container[str]) -> None:
    """Raise :class:`EngineError` naming the first of ``names`` that is not ``there``, the file that wants it, and the
    root under which it must lie."""
    missing = [name for name in names if name not in there]
    if missing:
        raise EngineError(
            f"{path}: picture {missing[0]!r} is not under {root} "
            f"({len(missing)} of its {len(names)} are missing); {WHERE}"
        )


def _number(path: Path, name: str) -> int:
    stem = Path(name).stem
    if not stem.isdigit():
        raise EngineError(f"{path}: picture {name!r} is not called by a number, as those of a sequence must be")
    return int(stem)
