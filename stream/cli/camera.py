"""``posestream camera``: lists, adds, removes and pauses the cameras of a site, and loads its line again."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.pairs import split_pairs
from stream.cli.registration import add_command, help_text
from stream.cli.site_argument import Cameras, LineArgument, open_folder, open_template

HELP = """List, add, remove and pause the cameras of a site, and load its line again.

    It changes the folder of cameras, which 'posestream serve' follows within a second, and reads when it is started.

    Examples:

        posestream camera add site.yaml hall 'url=rtsp://me:${PASSWORD}@192.168.1.64/stream1'

        posestream camera pause site.yaml hall

        posestream camera list site.yaml

        posestream camera reload site.yaml
    """

app = typer.Typer(no_args_is_help=True, help=help_text(HELP), rich_markup_mode="rich", pretty_exceptions_enable=False)

_Name = Annotated[str, typer.Argument(help="The name of the camera.", show_default=False)]


def add(
    line: LineArgument,
    name: _Name,
    properties: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROPERTY=VALUE", help="Properties of its source.", show_default=False),
    ] = None,
    cameras: Cameras = None,
) -> None:
    """Add a camera, if its line can run.

    Example:

        posestream camera add site.yaml hall 'url=rtsp://me:${PASSWORD}@192.168.1.64/stream1' transport=udp
    """
    from engines.hub.fetching import fetch_missing
    from stream.logs import is_quiet

    template = open_template(line)
    given = split_pairs(properties or (), "PROPERTY=VALUE", "'PROPERTY=VALUE'")
    fetch_missing(template.networks, quiet=is_quiet())
    folder = open_folder(line, cameras, is_new=True)
    folder.add(name, given, lambda: template.build(name, given, "ipc:///nowhere/poses.sock"))


def remove(line: LineArgument, name: _Name, cameras: Cameras = None) -> None:
    """Remove a camera; what is in flight is still delivered.

    Example:

        posestream camera remove site.yaml hall
    """
    open_folder(line, cameras).remove(name)


def pause(
    line: LineArgument,
    name: _Name,
    resume: Annotated[bool, typer.Option("--resume", help="Start it again.")] = False,
    cameras: Cameras = None,
) -> None:
    """End the line of a camera and keep the camera; or start it again.

    Example:

        posestream camera pause site.yaml hall --resume
    """
    open_folder(line, cameras).pause(name, not resume)


def list_cameras(line: LineArgument, cameras: Cameras = None) -> None:
    """List the cameras, one a line: name, properties without passwords, and whether it is paused.

    Example:

        posestream camera list site.yaml
    """
    from engines.redaction import redact
    from stream.logs import print_notice

    folder = open_folder(line, cameras)
    known = folder.read()
    if not known:
        print_notice(f"no cameras in {folder.path}; 'posestream camera add' adds one")
    for name, settings in known.items():
        words = [f"{key}={redact(value)}" for key, value in settings.properties]
        words += ["(paused)"] if settings.paused else []
        print("  ".join([name, settings.fault or " ".join(words)]).rstrip())


def reload(
    line: LineArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say it only.")] = False,
    cameras: Cameras = None,
) -> None:
    """Let a running site run its line as the file has it now, after saying what that does.

    Cameras whose lines are the same as before go on; the others are drained and started again. A line that one of the
    cameras could not run is refused, and nothing is changed.

    Example:

        posestream camera reload site.yaml --dry-run
    """
    from engines.hub.fetching import fetch_missing
    from stream.errors import TransportError
    from stream.logs import is_quiet
    from stream.pipeline.launch import parse_yaml
    from stream.site.reload import plan_reload
    from stream.site.template import Template

    template, folder = open_template(line), open_folder(line, cameras)
    if not folder.has_site():
        raise TransportError(
            f"no site runs with the cameras in {folder.path}; 'posestream serve' reads the line anyway"
        )
    plan = plan_reload(Template(parse_yaml(folder.read_line()), template.name), template, folder.read())
    print(plan)
    if plan.changes and not dry_run:
        fetch_missing(template.networks, quiet=is_quiet())
        folder.write_line(template.text)


for _command, _name in ((add, "add"), (remove, "remove"), (pause, "pause"), (list_cameras, "list"), (reload, "reload")):
    add_command(app, _command, _name)
