"""What the commands of a site have in common: its line, and its folder of cameras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream.cli.completion import complete_lines

if TYPE_CHECKING:
    from stream.site.folder import CameraFolder
    from stream.site.template import Template

LineArgument = Annotated[
    str,
    typer.Argument(
        help="The line of every camera: a YAML file, or one that ships, such as rtsp.",
        show_default=False,
        autocompletion=complete_lines,
    ),
]
Cameras = Annotated[
    Path | None, typer.Option("--cameras", help="The folder of cameras; without it NAME.d beside NAME.yaml.")
]


def open_template(line: str) -> Template:
    """The template of a site."""
    from stream.cli.line_argument import find_line, load_line
    from stream.site.template import Template

    return Template(load_line(line), str(find_line(line)))


def open_folder(line: str, cameras: Path | None, *, is_new: bool = False, is_on_one_host: bool = False) -> CameraFolder:
    """The folder of cameras of a site: beside its file, or in the working directory for a line that ships.

    Raises :class:`LaunchError` where there is no such line, since a folder would be made for it, and where ``cameras``
    names a folder that is not there, unless it may be a new one. A site that asks for a cluster can have more cameras
    than one host, unless it ``is_on_one_host``.
    """
    from stream.cli.line_argument import find_line
    from stream.cluster.settings import count_most_cameras
    from stream.errors import LaunchError
    from stream.site.folder import CameraFolder

    file = find_line(line)
    if cameras is not None and not is_new and not cameras.exists():
        raise LaunchError(f"--cameras {cameras} is not there; 'posestream camera add' and 'posestream serve' make it")
    given = Path(line)
    folder = cameras if cameras is not None else given.with_name(f"{given.stem}.d")
    return CameraFolder(folder) if is_on_one_host else CameraFolder(folder, count_most_cameras(file))
