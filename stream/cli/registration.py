"""Registers commands with Typer: help texts that wrap at any width, and the options that every command has."""

from __future__ import annotations

import functools
import inspect
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import typer

from engines.spec.cache import is_offline

_DEBUG, _VERBOSE, _QUIET, _OFFLINE = "--debug", "--verbose", "--quiet", "--offline"
_SHORT = {"-v": _VERBOSE, "-vv": _VERBOSE * 2, "-q": _QUIET}


@dataclass(frozen=True)
class CommonOptions:
    """The options that may stand anywhere: ``verbosity`` is -1 after ``-q``, 1 after ``-v``, 2 after ``-vv``."""

    verbosity: int = 0
    debug: bool = False
    offline: bool = False

    @property
    def level(self) -> int:
        """The level from which records are logged."""
        return {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(self.verbosity, logging.DEBUG)


def split_common_options(arguments: Sequence[str]) -> tuple[list[str], CommonOptions]:
    """The arguments without the common options, and those; what follows ``--`` is left alone.

    >>> split_common_options(["launch", "-v", "testsrc ! fakesink", "--offline"])
    (['launch', 'testsrc ! fakesink'], CommonOptions(verbosity=1, debug=False, offline=True))
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    given = [_SHORT.get(word, word) for word in arguments[:end]]
    verbosity = sum(word.count(_VERBOSE) for word in given if word in (_VERBOSE, _VERBOSE * 2))
    is_debug = _DEBUG in given or os.environ.get("POSESTREAM_DEBUG", "") not in ("", "0")
    common = {_VERBOSE, _VERBOSE * 2, _QUIET, _DEBUG, _OFFLINE}
    rest = [word for word, full in zip(arguments, given, strict=False) if full not in common]
    options = CommonOptions(-1 if _QUIET in given else verbosity, is_debug, _OFFLINE in given or is_offline())
    return [*rest, *arguments[end:]], options


def add_command(app: typer.Typer, function: Callable[..., Any], name: str = "", panel: str = "") -> None:
    """Add ``function`` as a command, which refuses numbers that are not finite; its docstring is the help text."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> Any:
        for option, value in options.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise typer.BadParameter(f"{value} is not a finite number", param_hint=repr(_spell(function, option)))
        return function(*arguments, **options)

    text = help_text(function.__doc__ or "")
    app.command(name or function.__name__, help=text, rich_help_panel=panel or None)(command)


def _spell(function: Callable[..., Any], option: str) -> str:
    """An option as it is typed."""
    declared = getattr(get_type_hints(function, include_extras=True)[option], "__metadata__", ())
    for one in declared:
        for spelling in (getattr(one, "default", None), *(getattr(one, "param_decls", None) or ())):
            if isinstance(spelling, str) and spelling.startswith("-"):
                return spelling
    return f"--{option.replace('_', '-')}"


def add_listing(app: typer.Typer, docstring: str, name: str, panel: str) -> None:
    """Add a command that is listed with its help text and cannot be run."""

    def listing() -> None: ...

    app.command(name, help=help_text(docstring), rich_help_panel=panel)(listing)


def help_text(docstring: str) -> str:
    """A docstring as Typer prints it best: each paragraph on one line, so that it wraps at the terminal's width;
    the examples together; and brackets that are no markup.

    >>> print(help_text("Run it\\nnow.\\n\\nExamples:\\n\\n    posestream demo\\n\\n    posestream [x]"))
    Run it now.
    <BLANKLINE>
    Examples:
      posestream demo
      posestream \\[x]
    """
    prose, _, examples = inspect.cleandoc(docstring).partition("\n\nExample")
    paragraphs = [" ".join(paragraph.split()) for paragraph in prose.split("\n\n")]
    if examples:
        heading, *commands = [line.strip() for line in examples.splitlines() if line.strip()]
        paragraphs.append("\n  ".join([f"Example{heading}", *commands]))
    return "\n\n".join(paragraphs).replace("[", "\\[")
