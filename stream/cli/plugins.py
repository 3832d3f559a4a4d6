"""Commands from outside ``stream``: those of ``export``, which may not be imported here, and of anybody's packages.

A package adds one by an entry point of the group ``posestream.commands``: a function as Typer takes it. What
``posestream doctor`` runs on request is found in the same way, in the group ``posestream.checks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from stream.errors import PosestreamError

GROUP = "posestream.commands"
CHECKS = "posestream.checks"

Command = Callable[..., Any]


def commands() -> Iterator[tuple[str, Command]]:
    """Name and function of each, sorted; one that cannot be loaded says why when it is called, and troubles nobody."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield entry.name, _loaded(entry)


def check(name: str) -> Command:
    """What ``posestream doctor --<name>`` runs. Raises :class:`PosestreamError` where no package brings it."""
    found = [entry for entry in entry_points(group=CHECKS) if entry.name == name]
    if not found:
        raise PosestreamError(
            f"doctor --{name}: no installed package brings it (no entry point {name!r} in {CHECKS!r}); "
            "install posestream again: pip install --force-reinstall --no-deps posestream"
        )
    return _loaded(found[0])


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
