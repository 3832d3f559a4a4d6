"""``posestream view``: shows running lines in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engines.errors import install_hint
from stream.cli.subscribe import Cameras, ClientKey, ServerKey
from stream.errors import TransportError
from stream.logs import print_notice

if TYPE_CHECKING:
    from stream.web.access import Access
    from stream.web.server import PageServer

_LIBRARIES = ("starlette", "uvicorn", "websockets")


def view(
    address: Annotated[
        list[str] | None,
        typer.Argument(
            help="Where keypointsinks publish; tcp://127.0.0.1:5570 unless you name others.", show_default=False
        ),
    ] = None,
    listen: Annotated[str, typer.Option("--listen", help="HOST:PORT to serve the page on.")] = "127.0.0.1:8080",
    camera: Cameras = None,
    run_dir: Annotated[
        list[Path] | None,
        typer.Option("--run-dir", help="A line whose health is shown; may be repeated. All your lines without it."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file with the token that browsers must give.")
    ] = None,
    cert: Annotated[Path | None, typer.Option("--cert", help="Certificate for https (PEM).")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="Its key (PEM).")] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="The publisher's prefix of topics.")] = "",
    server_key: ServerKey = None,
    client_key: ClientKey = None,
) -> None:
    """Show what lines publish in a browser, until Ctrl-C: every camera live with skeletons, and the lines' health.

    Pictures come from keypointsink pictures=true; without it, skeletons are shown alone. It is a process of its own
    beside the lines, which may come and go, and asks for pictures only while it is open in a browser. The page is for
    this machine alone; beyond it, browsers need a token, and the page a certificate.

    Examples:

        posestream view

        posestream view tcp://127.0.0.1:5570 tcp://127.0.0.1:5571 --listen 127.0.0.1:9000

        posestream view --listen 0.0.0.0:8443 --token-file token --cert cert.pem --key key.pem
    """
    from stream.runtime.signals import handle_signals

    page_server, make_access = load_page_server()
    from stream.web.feed import Address

    access = make_access(listen, token_file, cert, key)
    addresses = [
        Address(one, tuple(camera or ()), prefix, server_key, client_key) for one in address or ["tcp://127.0.0.1:5570"]
    ]
    with page_server(addresses, access, run_dir or ()) as server:
        print_notice(f"the page is on {server.address}")
        with handle_signals() as received:
            server.run(lambda: bool(received))


def load_page_server() -> tuple[type[PageServer], Callable[[str, Path | None, Path | None, Path | None], Access]]:
    """Import the page. Raises :class:`TransportError` where its libraries are not installed."""
    try:
        from stream.web.access import make_access
        from stream.web.server import PageServer
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _LIBRARIES:
            raise
        raise TransportError(f"the page needs {error.name}; {install_hint('web')}") from None
    return PageServer, make_access
