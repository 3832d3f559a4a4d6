"""From what a user typed to a pipeline: a launch string, a YAML file, or the name of a line that ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stream.errors import LaunchError

if TYPE_CHECKING:
    from stream.pipeline.pipeline import Pipeline

_YAML = (".yaml", ".yml")


def pipeline_of(words: Sequence[str]) -> Pipeline:
    """The line that ``words`` spell: one YAML file, or a launch string, quoted or not."""
    text = " ".join(words)
    return from_yaml(text) if text.endswith(_YAML) and "!" not in text else from_launch(text)


def from_launch(text: str) -> Pipeline:
    """A launch string's line."""
    from stream.pipeline.launch import parse_launch

    return parse_launch(text)


def from_yaml(name: str) -> Pipeline:
    """A YAML file's line; ``name`` may be that of one in ``configs/pipelines``."""
    from stream.pipeline.launch import load_yaml

    return load_yaml(_found(name))


def shipped() -> tuple[str, ...]:
    """The names of the lines that ship."""
    return tuple(sorted(path.stem for path in _home().glob("*.yaml")))


def _found(name: str) -> Path:
    given = Path(name)
    ours = _home() / f"{given.stem}.yaml"
    if given.exists() or len(given.parts) > 1:
        return _checked(given)
    if ours.exists():
        return ours
    raise LaunchError(f"no file {name!r}, and no line of that name ships; there are: {', '.join(shipped()) or 'none'}")


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise LaunchError(f"no file '{path}'; give the path of a YAML file that holds 'line:'")
    return path


def _home() -> Path:
    import configs

    return configs.folder() / "pipelines"
