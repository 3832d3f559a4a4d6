"""Annotation files of data sets: reading JSON, and errors that name the missing file or picture."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.formats import json
from engines.formats.files import FormatError, decode_text, read_bytes
from engines.formats.mismatch import describe_mismatch

WHERE = "docs/how-to/datasets.md describes the layout on disk"
Number = Annotated[float, Meta(ge=-1e7, le=1e7)]
"""A number in a file of annotations or results, such as a coordinate in px; never NaN."""
Id = int | str
MAX_BYTES = 1024**3
"""The largest file of annotations or results that is read; COCO's largest of keypoints has a quarter of that."""


def read_json(path: Path) -> Any:
    """The content of a JSON file of annotations or results. Raises :class:`EngineError` if it is missing or damaged."""
    try:
        return json.read_json(path, limit=MAX_BYTES)
    except FormatError as error:
        raise EngineError(error.within(str(path))) from error


def check_fields(path: Path, content: Any, kind: Any) -> None:
    """Raise :class:`EngineError` naming the first value of ``content``, read from ``path``, that does not fit."""
    try:
        msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise EngineError(f"{path}: {describe_mismatch(error)}") from None


def read_text(path: Path) -> str:
    """The content of a text file of annotations. Raises :class:`EngineError` if it is missing or no text."""
    try:
        return decode_text(read_bytes(path, MAX_BYTES))
    except FormatError as error:
        raise EngineError(error.within(str(path))) from error


def list_annotation_files(folder: Path, pattern: str = "*.json") -> list[Path]:
    """The annotation files of a split, sorted. Raises :class:`EngineError` if there are none."""
    files = sorted(folder.glob(pattern))
    if not files:
        problem = f"there is no {pattern} in it" if folder.is_dir() else "there is no such folder"
        raise EngineError(f"{folder}: {problem}; {WHERE}")
    return files


def check_numbered_pictures(path: Path, root: Path, names: Sequence[str], pictures: Mapping[int, Any]) -> None:
    """:func:`check_pictures` for a sequence, whose pictures are named by their numbers."""
    check_pictures(path, root, names, {name for name in names if _number(path, name) in pictures})


def check_pictures(path: Path, root: Path, names: Sequence[str], present: Container[str]) -> None:
    """Raise :class:`EngineError` naming the first of ``names`` that is not ``present``, the annotation file ``path``
    that refers to it, and the ``root`` where it must be."""
    missing = [name for name in names if name not in present]
    if missing:
        raise EngineError(
            f"{path}: picture {missing[0]!r} is not under {root} "
            f"({len(missing)} of its {len(names)} are missing); {WHERE}"
        )


def _number(path: Path, name: str) -> int:
    stem = Path(name).stem
    if not stem.isdigit():
        raise EngineError(f"{path}: the name of picture {name!r} is not a number, as it must be in a sequence")
    return int(stem)
