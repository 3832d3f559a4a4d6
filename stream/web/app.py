"""The addresses of the page: its files, its socket, its state and its health."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from stream.site.site import Site
from stream.web.access import Access
from stream.web.control import make_routes
from stream.web.guard import Guard
from stream.web.hub import Hub

_FILES = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/draw.js": ("draw.js", "text/javascript"),
    "/health.js": ("health.js", "text/javascript"),
    "/site.js": ("site.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


def make_app(hub: Hub, access: Access, state: Callable[[], str], site: Site | None = None) -> ASGIApp:
    """The application: the page at ``/``, its WebSocket at ``/frames``, ``/api/state`` and ``/healthz``; with a
    ``site``, also ``/readyz`` and ``/api/cameras``."""

    async def answer_state(_request: Request) -> Response:
        return Response(state(), media_type="application/json")

    async def answer_health(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    routes = [
        *(Route(path, _serve_file(name, kind)) for path, (name, kind) in _FILES.items()),
        WebSocketRoute("/frames", hub.serve),
        Route("/api/state", answer_state),
        Route("/healthz", answer_health),
        *(make_routes(site) if site is not None else ()),
    ]
    return Guard(Starlette(routes=routes), access, read_file("login.html").decode())


def read_file(name: str) -> bytes:
    """A file of the page, out of the package."""
    return (resources.files("stream.web") / "static" / name).read_bytes()


def _serve_file(name: str, kind: str) -> Callable[[Request], Response]:
    content = read_file(name)
    return lambda _request: Response(content, media_type=kind)
