"""The command ``posestream``: an error becomes one line on stderr and an exit code.

Exit codes: 0 done; 1 something is wrong with the line, a file, a camera, a network; 2 the command was typed wrongly;
130 interrupted with Ctrl-C, unless that is how the command ends, as ``serve`` does.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, TypeGuard

import typer
from typer import TyperException

from stream.cli import (
    bridge,
    camera,
    cluster,
    compare,
    demo,
    deploy,
    doctor,
    evaluate,
    inspect,
    keygen,
    launch,
    metrics,
    models,
    plugins,
    pull,
    relay,
    replay,
    run,
    serve,
    subscribe,
    top,
    trace,
    validate,
    view,
)
from stream.cli.registration import add_command, add_listing, split_common_options
from stream.errors import PosestreamError, describe_error, find_element_note, format_traceback
from stream.logs import logging_to_stderr, redacting_stderr

FAILED, USAGE, INTERRUPTED = 1, 2, 130

_STREAMS = (("stdin", os.O_RDONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY))
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_LIMITS: dict[int | None, str] = {
    errno.EMFILE: "the limit of open files of a process is too low for this; raise it, as with 'ulimit -n 1024'",
    errno.ENFILE: "the system has too many open files; end other programs",
    errno.ENOMEM: "no memory is left; end other programs, or give this one more",
}
"""What the machine lacks, and what to do."""

_LINES, _LOOK, _NETWORKS = "Run lines", "Look", "Networks and keys"
_COMMANDS = (
    (demo.demo, _LINES),
    (launch.launch, _LINES),
    (run.run, _LINES),
    (validate.validate, _LINES),
    (serve.serve, _LINES),
    (deploy.deploy, _LINES),
    (inspect.inspect, _LOOK),
    (subscribe.subscribe, _LOOK),
    (view.view, _LOOK),
    (bridge.bridge, _LOOK),
    (relay.relay, _LOOK),
    (replay.replay, _LOOK),
    (top.top, _LOOK),
    (metrics.metrics, _LOOK),
    (trace.trace, _LOOK),
    (doctor.doctor, _LOOK),
    (models.models, _NETWORKS),
    (pull.pull, _NETWORKS),
    (compare.compare, _NETWORKS),
    (keygen.keygen, _NETWORKS),
)


def make_app(command: str | None) -> typer.Typer:
    """The command line, on which ``command`` can be run; all of them where it is None.

    The others have their names and help texts alone: Typer takes 2 ms to read the parameters of a command, and
    ``posestream --help`` shows none of them.
    """
    app = typer.Typer(
        name="posestream",
        help="Real-time temporal human pose: live video in, keypoints out. Begin with 'posestream demo'.",
        epilog="'posestream COMMAND --help' shows examples. -v, -q, --debug and --offline may stand anywhere.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    commands = [(function.__name__, function, panel) for function, panel in _COMMANDS]
    commands += [(name, loaded, plugins.PANELS.get(name, _NETWORKS)) for name, loaded in plugins.load_commands()]
    for name, function, panel in commands:
        if command in (None, name):
            add_command(app, function, name, panel)
        else:
            add_listing(app, function.__doc__ or "", name, panel)
    if command in (None, "camera"):
        app.add_typer(camera.app, name="camera", rich_help_panel=_LINES)
    else:
        add_listing(app, camera.HELP, "camera", _LINES)
    if command in (None, "cluster"):
        app.add_typer(cluster.app, name="cluster", rich_help_panel=_LINES)
    else:
        add_listing(app, cluster.HELP, "cluster", _LINES)
    if command in (None, "eval"):  # the module is not called "eval", which is a builtin
        app.add_typer(evaluate.app, name="eval", rich_help_panel=_NETWORKS)
    else:
        add_listing(app, evaluate.HELP, "eval", _NETWORKS)
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"posestream {version('posestream')}")
        raise typer.Exit


def _options(  # the values of the last four are read by split_common_options, wherever they stand
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
    offline: Annotated[
        bool, typer.Option("--offline", help="Download no network; also with POSESTREAM_OFFLINE=1.")
    ] = False,
) -> None:
    """Options that every command has."""


def main() -> None:
    """Run the installed command ``posestream``."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as posestream.__main__ leaves it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _open_closed_streams()
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() would import pathlib for every command
    except FileNotFoundError:  # no part could start there
        sys.exit("posestream: the working directory was removed; go to another one and run the command again")
    sys.exit(execute(sys.argv[1:]))


def _open_closed_streams() -> None:
    """Open those of stdin, stdout and stderr that are closed, as in ``posestream … <&-``, before a file gets their
    number: a part of the line would be given that file.

    What is written to a stdout that was closed fails, as it should; a closed stderr is wanted.
    """
    for number, (name, flags) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, flags)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))


def execute(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` spell and return its exit code; an error is one line on stderr."""
    words, common = split_common_options(arguments)
    with (
        redacting_stderr(" ".join(arguments)),
        logging_to_stderr(common.level, prefix="posestream: "),
        _offline(is_wanted=common.offline),
    ):
        try:
            code = make_app(_find_command(words))(words, prog_name="posestream", standalone_mode=False)
            sys.stdout.flush()
        except KeyboardInterrupt:
            return INTERRUPTED
        except (BrokenPipeError, SystemExit):  # Typer turns a broken pipe into the second
            return _drop_output()
        except OSError as error:
            code = _report(error, is_debug=common.debug)
            if _is_of_output(error):
                _drop_output()
        except Exception as error:  # noqa: BLE001 - the last place where an error can become one line
            return _report(error, is_debug=common.debug)
    return code if isinstance(code, int) else 0


@contextmanager
def _offline(*, is_wanted: bool) -> Iterator[None]:
    """Forbid downloads, in this process and in those that it starts."""
    # Not above: stream.cli, whose import takes posestream's packages from one folder, comes first.
    from engines.spec.cache import OFFLINE_VARIABLE

    before = os.environ.get(OFFLINE_VARIABLE)
    if is_wanted:
        os.environ[OFFLINE_VARIABLE] = "1"
    try:
        yield
    finally:
        if is_wanted:
            os.environ.pop(OFFLINE_VARIABLE)
            os.environ |= {} if before is None else {OFFLINE_VARIABLE: before}


def _find_command(words: Sequence[str]) -> str | None:
    """The command that ``words`` name, empty where they name none; None for the shell's completion, which needs all."""
    if "_POSESTREAM_COMPLETE" in os.environ:
        return None
    return next((word for word in words if not word.startswith("-")), "")


def _report(error: Exception, *, is_debug: bool) -> int:
    """Print ``error`` and return the exit code. An exception of a user's element comes with its traceback."""
    if find_element_note(error):
        print(format_traceback(error), end="", file=sys.stderr)
    elif is_debug:
        print("".join(traceback.format_exception(error)), end="", file=sys.stderr)
    if line := _describe(error):
        print(f"posestream: {line}", file=sys.stderr)
    return USAGE if isinstance(error, TyperException) and error.exit_code == USAGE else FAILED


def _describe(error: Exception) -> str:
    """One line that says what is wrong; empty where help was shown instead, because no command was named."""
    if isinstance(error, TyperException):
        message = error.format_message().rstrip(".")
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "posestream"
        return f"{message}; see '{command} --help'" if message else ""
    if _is_of_output(error):
        return f"cannot write to stdout: {error.strerror}; redirect it to where there is room"
    if limit := _LIMITS.get(_find_errno(error)):  # whose remedy helps, where that of the message would not
        what, *_ = describe_error(error).split("; ")
        return f"{' '.join(what.split())}; {limit}"
    if isinstance(error, PosestreamError) or find_element_note(error):
        return " ".join(describe_error(error).split())
    return f"{describe_error(error)} (a fault of posestream; add --debug for the traceback, and please report it)"


def _find_errno(error: BaseException | None) -> int | None:
    """The errno of the system's error that ``error`` is, or that caused it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    return error.errno if error is not None else None


def _is_of_output(error: Exception) -> TypeGuard[OSError]:
    """True where stdout cannot take what is printed: its disk is full, or it is closed."""
    return isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM


def _drop_output() -> int:
    """``posestream … | head``: the reader of stdout has gone, which is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    main()
