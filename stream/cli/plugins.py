"""Commands from other packages: those of ``export`` and ``engines``, and those that you install.

A package adds a command with an entry point in the group ``posestream.commands``, which names a function as Typer
takes it. The checks that ``posestream doctor`` runs on request are entry points in the group ``posestream.checks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from stream.errors import PosestreamError

GROUP = "posestream.commands"
CHECKS = "posestream.checks"

PANELS = {"estimate": "Run lines"}
"""The panel of ``posestream --help`` in which a command stands, where it is not the last."""

Command = Callable[..., Any]


def load_commands() -> Iterator[tuple[str, Command]]:
    """Name and function of each command, sorted; one that cannot be loaded raises when it is called, not before."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        yield entry.name, _load(entry)


def load_check(name: str) -> Command:
    """What ``posestream doctor --<name>`` runs. Raises :class:`PosestreamError` where no package has it."""
    entries = [entry for entry in entry_points(group=CHECKS) if entry.name == name]
    if not entries:
        raise PosestreamError(
            f"doctor --{name}: no installed package has this check (no entry point {name!r} in {CHECKS!r}); "
            "install posestream again: pip install --force-reinstall --no-deps posestream"
        )
    return _load(entries[0])


def _load(entry: EntryPoint) -> Command:
    try:
        command: Command = entry.load()
    except Exception as error:  # noqa: BLE001 - whatever another package does wrong, the other commands still work
        return _broken_command(entry, error)
    return command


def _broken_command(entry: EntryPoint, error: Exception) -> Command:
    """A command that raises why the real one cannot be loaded."""
    package = entry.dist.name if entry.dist is not None else "an unknown package"
    reason = " ".join(f"{type(error).__name__}: {error}".split())

    def broken() -> None:
        raise PosestreamError(
            f"command {entry.name!r} of {package} ({entry.value}) cannot be loaded: {reason}; "
            "repair or remove that package"
        )

    broken.__doc__ = f"Cannot be loaded: {reason}"
    return broken
