"""Stands before the page: names it answers to, pages that may talk to it, the token, and the headers of answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.web.access import Access

_LOG = logging.getLogger(__name__)

_OPEN_PATHS = ("/healthz", "/page.css", "/login")
_MAX_LOGIN_BYTES = 4096
_WRONG_TOKEN_S = 1.0
_YEAR_S = 365 * 24 * 3600

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'{socket}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, a browser would send the form of the token with Origin: null
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Of every answer. Scripts and styles come from files of this server alone, and no other page may frame it.

``{socket}`` is the address of its WebSocket: not every browser counts that as ``'self'``.
"""

_PLAIN_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,255}")


class Guard:
    """An ASGI application around another, which lets through what may pass. ``login_page`` is shown to the others."""

    def __init__(self, app: ASGIApp, access: Access, login_page: str) -> None:
        self._app, self._access, self._login_page = app, access, login_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refuse(scope, headers)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:  # before the handshake, this is an answer of 403
                await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        sending = _with_headers(send, _spell_socket(headers.get("host", "")))
        with contextlib.suppress(ClientDisconnect):  # no one is left to answer, and nothing is wrong here
            if refusal is None and scope["path"] == "/login" and self._access.token:
                refusal = await self._log_in(Request(scope, receive))
            await (self._app if refusal is None else refusal)(scope, receive, sending)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that may not pass; None for others."""
        host = headers.get("host", "")
        if not self._access.is_host(_hostname(host)):
            return _answer(421, "this page is not called that; open it as http://127.0.0.1, or give it a --token-file")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _answer(403, "pages of other sites may not read this")
        if self._access.token and scope["path"] not in _OPEN_PATHS and not self._is_known(headers):
            if scope["path"] == "/" and scope["type"] == "http":
                return HTMLResponse(self._login_page, 401)
            return _answer(401, "give the token: as 'Authorization: Bearer TOKEN', or log in at /", _BEARER)
        return None

    def _is_known(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._access.is_token(token.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._access.cookie)
        except CookieError:
            return False
        return cookie is not None and self._access.is_pass(cookie.value)

    async def _log_in(self, request: Request) -> Response:
        """Exchange the token for a cookie; a wrong one takes a second."""
        if request.method != "POST":
            return RedirectResponse("/", 303)
        form = parse_qs((await _read(request))[:_MAX_LOGIN_BYTES].decode("latin-1"))
        if not self._access.is_token(form.get("token", [""])[0].strip()):
            address = request.client.host if request.client else "an unknown address"
            _LOG.warning("a wrong token from %s", address)
            await asyncio.sleep(_WRONG_TOKEN_S)
            return HTMLResponse(self._login_page.replace("<!-- trouble -->", "<p>That is not the token.</p>"), 401)
        answer = RedirectResponse("/", 303)
        is_secure = self._access.scheme == "https"
        answer.set_cookie(
            self._access.cookie,
            self._access.pass_value,
            max_age=_YEAR_S,
            httponly=True,
            samesite="strict",
            secure=is_secure,
        )
        return answer


_BEARER = {"WWW-Authenticate": "Bearer"}


def _answer(status: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers)


async def _read(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_LOGIN_BYTES:
            break
    return body


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _spell_socket(host: str) -> str:
    """The source of the policy for the WebSocket, also behind a proxy; nothing for a host that could end the policy."""
    return f" ws://{host} wss://{host}" if _PLAIN_HOST.fullmatch(host) else ""


def _with_headers(send: Send, socket: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            _add_headers(message, socket)
        await send(message)

    return sending


def _add_headers(message: MutableMapping[str, Any], socket: str) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in HEADERS.items():
        headers[name] = value.replace("{socket}", socket)
