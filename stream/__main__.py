"""The command ``posestream``: an error becomes one line on stderr and an exit code.

Exit codes: 0 done; 1 something is wrong with the line, a file, a camera, a network; 2 the command was typed wrongly;
130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import os
import signal
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
from stream.cli.registration import add_command, split_common_options
from stream.errors import PosestreamError, describe_error, find_element_note, format_traceback
from stream.logs import logging_to_stderr

FAILED, USAGE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="posestream",
    help="Real-time temporal human pose: live video in, keypoints out. Begin with 'posestream demo'.",
    epilog="'posestream COMMAND --help' shows examples. -v, -q and --debug may stand anywhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
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
    add_command(app, _command, panel=_panel)
# The module is not called "eval", which is a builtin.
app.add_typer(evaluate.app, name="eval", rich_help_panel=_NETWORKS)
for _name, _command in plugins.load_commands():
    add_command(app, _command, _name, plugins.PANELS.get(_name, _NETWORKS))


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"posestream {version('posestream')}")
        raise typer.Exit


@app.callback()
def options(  # the values of the last three are read by split_common_options, wherever they stand
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log more: -v progress of parts, -vv details for debugging.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Log errors only; show no progress and no summary.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error; also with POSESTREAM_DEBUG=1.")
    ] = False,
) -> None:
    """Options that every command has."""


def main() -> None:
    """Run the installed command ``posestream``."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as posestream.__main__ leaves it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` spell and return its exit code; an error is one line on stderr."""
    words, common = split_common_options(arguments)
    with logging_to_stderr(common.level, prefix="posestream: "):
        try:
            code = app(words, prog_name="posestream", standalone_mode=False)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return INTERRUPTED
        except (BrokenPipeError, SystemExit):  # Typer turns a broken pipe into the second
            return _drop_output()
        except Exception as error:  # noqa: BLE001 - the last place where an error can become one line
            return _report(error, is_debug=common.debug)
    return code if isinstance(code, int) else 0


def _report(error: Exception, *, is_debug: bool) -> int:
    """Print ``error`` and return the exit code. An exception of a user's element comes with its traceback."""
    if find_element_note(error):
        print(format_traceback(error), end="", file=sys.stderr)
    elif is_debug:
        traceback.print_exception(error)
    if line := _describe(error):
        print(f"posestream: {line}", file=sys.stderr)
    return USAGE if isinstance(error, TyperException) and error.exit_code == USAGE else FAILED


def _describe(error: Exception) -> str:
    """One line that says what is wrong; empty where help was shown instead, because no command was named."""
    if isinstance(error, TyperException):
        message = error.format_message().rstrip(".")
        return f"{message}; see 'posestream --help'" if message else ""
    if isinstance(error, PosestreamError) or find_element_note(error):
        return " ".join(describe_error(error).split())
    return f"{describe_error(error)} (a fault of posestream; add --debug for the traceback, and please report it)"


def _drop_output() -> int:
    """``posestream … | head``: the reader of stdout has gone, which is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    main()
