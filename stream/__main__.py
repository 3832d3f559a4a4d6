"""The command ``posestream``: what went wrong becomes one line on stderr and an exit code.

Exit codes: 0 done; 1 something is wrong with the line, a file, a camera, a network; 2 the command was typed wrongly;
130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer import TyperException

from stream.cli import (
    compare,
    demo,
    doctor,
    evaluate,
    inspect,
    keygen,
    launch,
    models,
    plugins,
    pull,
    run,
    subscribe,
    top,
    validate,
)
from stream.errors import PosestreamError

FAULT, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="posestream",
    help="Real-time temporal human pose: live video in, keypoints out. Begin with 'posestream demo'.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LINES, _LOOK, _NETWORKS = "Run lines", "Look", "Networks and keys"
for _command, _panel in (
    (demo.demo, _LINES),
    (launch.launch, _LINES),
    (run.run, _LINES),
    (validate.validate, _LINES),
    (inspect.inspect, _LOOK),
    (subscribe.subscribe, _LOOK),
    (top.top, _LOOK),
    (doctor.doctor, _LOOK),
    (models.models, _NETWORKS),
    (pull.pull, _NETWORKS),
    (compare.compare, _NETWORKS),
    (keygen.keygen, _NETWORKS),
):
    app.command(rich_help_panel=_panel, no_args_is_help=False)(_command)
# A builtin is called so in Python, so the module is not.
app.add_typer(evaluate.app, name="eval", rich_help_panel=_NETWORKS)
for _name, _command in plugins.commands():
    app.command(_name, rich_help_panel=_NETWORKS)(_command)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"posestream {version('posestream')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show where an error came from; may stand anywhere, or POSESTREAM_DEBUG=1."),
    ] = False,
) -> None:
    """Options that every command has."""


def main() -> None:
    """What the installed command calls."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit code; a fault is one line on stderr."""
    words = [word for word in arguments if word != "--debug"]
    debug = len(words) < len(arguments) or os.environ.get("POSESTREAM_DEBUG", "") not in ("", "0")
    try:
        code = app(words, prog_name="posestream", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # typer makes the second of the first
        return _reader_left()
    except Exception as error:  # noqa: BLE001 - the last place that can turn a fault into a line for people
        if debug:
            traceback.print_exc()
        if line := _line(error):
            print(f"posestream: {line}", file=sys.stderr)
        return USAGE if _is_usage(error) else FAULT
    return code if isinstance(code, int) else 0


def _is_usage(error: Exception) -> bool:
    return isinstance(error, TyperException) and error.exit_code == USAGE


def _line(error: Exception) -> str:
    """One line that says what is wrong; none where help was shown instead, for no command was named."""
    if isinstance(error, TyperException):
        told = error.format_message().rstrip(".")
        return f"{told}; see 'posestream --help'" if told else ""
    text = " ".join(str(error).split())
    if isinstance(error, PosestreamError):
        return text
    return f"{type(error).__name__}: {text or 'no more is known'} (a fault of posestream; add --debug to see where)"


def _reader_left() -> int:
    """``posestream … | head``: whoever read stdout has gone, which is no fault."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    main()
