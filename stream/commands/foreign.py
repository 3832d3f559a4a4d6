"""Commands from outside ``stream``: those of ``export``, which may not be imported here, and of anybody's packages.

A package adds one by an entry point of the group ``posestream.commands``: a function as Typer takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from stream.errors import PosestreamError

GROUP = "posestream.commands"

Command = Callable[..., Any]


def commands() -> Iterator[tuple[str, Command]]:
    """Name and function of each, sorted; one that cannot be loaded says why when it is called, and troubles nobody."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield entry.name, _loaded(entry)


def _loaded(entry: EntryPoint) -> Command:
    try:
        command: Command = entry.load()
    except Exception as error:  # noqa: BLE001 - whatever a foreign package does wrong, the other commands still work
        return _excuse(entry, error)
    return command


def _excuse(entry: EntryPoint, error: Exception) -> Command:
    package = entry.dist.name if entry.dist is not None else "an unknown package"
    why = " ".join(f"{type(error).__name__}: {error}".split())

    def broken() -> None:
        raise PosestreamError(
            f"command {entry.name!r} of {package} ({entry.value}) cannot be loaded: {why}; mend or remove that package"
        )

    broken.__doc__ = f"Cannot be loaded: {why}"
    return broken
