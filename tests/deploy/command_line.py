"""The commands of posestream as units and manifests write them."""

from __future__ import annotations

import functools
from typing import Any

import typer

from stream.__main__ import make_app


@functools.cache
def _command_line() -> Any:
    return typer.main.get_command(make_app(None))


def parse(words: list[str], group: str = "") -> tuple[str, dict[str, Any]]:
    """The command of posestream that ``words`` name, and its options. Raises :class:`typer.TyperException` for wrong
    ones."""
    commands = _command_line().commands
    command = (commands[group].commands if group else commands)[words[0]]
    with command.make_context(words[0], words[1:]) as context:
        return words[0], context.params
