"""``posestream serve``: runs a line for each of many cameras, with a page to watch and change them."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from stream.cli.site_argument import Cameras, LineArgument, open_folder, open_template
from stream.cli.view import load_page_server
from stream.errors import PartError
from stream.logs import is_quiet, print_notice


def serve(
    line: LineArgument,
    cameras: Cameras = None,
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT to serve the page on.")] = "127.0.0.1:8080",
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="A file with the token that browsers must give; else one is made."),
    ] = None,
    cert: Annotated[Path | None, typer.Option("--cert", help="Certificate for https (PEM).")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its key (PEM).")] = None,
) -> None:
    """Run a copy of a line for each camera of a site, until Ctrl-C, with a page to watch, add and remove cameras.

    The cameras are files in a folder, NAME.d beside NAME.yaml, which the page, its REST interface, 'posestream camera'
    and you may change while it runs: only the cameras that changed are started or drained. Browsers must give the
    token, since who changes cameras decides what runs here.

    Examples:

        posestream serve site.yaml

        posestream serve rtsp --cameras /etc/posestream/cameras --listen 127.0.0.1:9000
    """
    from engines.hub.fetching import fetch_missing
    from stream.runtime.signals import handle_signals

    page_server, make_access = load_page_server()
    from stream.site.site import Site

    template, folder = open_template(line), open_folder(line, cameras, is_new=True, is_on_one_host=True)
    token = token_file or _make_token(folder.path / "token")
    access = make_access(listen, token, cert, key)
    fetch_missing(template.networks, quiet=is_quiet())
    site = Site(template, folder, on_stderr=_print)
    with handle_signals() as received:
        try:
            with page_server([], access, site=site) as server:
                print_notice(f"the page is on {server.address}, its token in {token}")
                server.run(lambda: bool(received))
        finally:
            site.close(lambda: len(received) > 1)
    if site.killed:
        raise PartError(f"lines were killed before they had ended: {', '.join(site.killed)}")


def _make_token(file: Path) -> Path:
    """The file with the token, which is made if it is missing."""
    from stream.runtime.private_files import create

    if not file.exists():
        create(file, f"{secrets.token_hex(32)}\n")
    return file


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
