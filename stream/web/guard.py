"""Stands before the page: names it answers to, pages that may talk to it, the token, and the headers of answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import MutableMapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.web.access import COOKIE_PREFIX, Access

_LOG = logging.getLogger(__name__)

_OPEN_PATHS = ("/healthz", "/page.css", "/login")
_MAX_LOGIN_BYTES = 4096
_WRONG_TOKEN_S = 1.0
_MAX_WAITING = 32
"""The most wrong tokens that wait for their answer. While there are so many, right ones are refused too, or many
connections would be a way around the wait."""

_MAX_COOKIES = 16
"""The most cookies of a request that are looked at, the newest of a browser."""

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
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = await self._refuse(scope, headers)
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

    async def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request that may not pass; None for others."""
        host = headers.get("host", "")
        if not self._access.is_host(_hostname(host)):
            return _answer(421, "this page is not called that; open it as http://127.0.0.1, or give it a --token-file")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return _answer(403, "pages of other sites may not read this")
        if not self._access.token or scope["path"] in _OPEN_PATHS:
            return None
        status = await self._check_headers(scope, headers)
        if status == _TOO_MANY:
            return _refuse_all()
        if status == _UNKNOWN and scope["path"] == "/" and scope["type"] == "http":
            return HTMLResponse(self._login_page, _UNKNOWN)
        if status == _UNKNOWN:
            return _answer(status, "give the token: as 'Authorization: Bearer TOKEN', or log in at /", _BEARER)
        return None

    async def _check_headers(self, scope: Scope, headers: Headers) -> HTTPStatus:
        kind, _, token = headers.get("authorization", "").partition(" ")
        tokens = [token.strip()] if kind.lower() == "bearer" else []
        cookies = _read_cookies(headers)[-_MAX_COOKIES:]
        if not tokens and not cookies:
            return _UNKNOWN
        is_right = any(map(self._access.is_token, tokens)) or (
            any(name == self._access.cookie and self._access.is_pass(value) for name, value in cookies)
        )
        return await self._check(is_right, "token" if tokens else "or old cookie", scope)

    async def _check(self, is_right: bool, what: str, scope: Scope) -> HTTPStatus:
        """The status for who has given a token: a wrong one takes a second, and is logged, but not what it is."""
        if self._waiting >= _MAX_WAITING:
            return _TOO_MANY
        if is_right:
            return HTTPStatus.OK
        self._waiting += 1
        try:
            _LOG.warning(
                "a wrong %s from %s", what, scope["client"][0] if scope.get("client") else "an unknown address"
            )
            await asyncio.sleep(_WRONG_TOKEN_S)
        finally:
            self._waiting -= 1
        return _UNKNOWN

    async def _log_in(self, request: Request) -> Response:
        """Exchange the token for a cookie; a wrong one takes a second."""
        if request.method != "POST":
            return RedirectResponse("/", 303)
        form = parse_qs((await _read(request))[:_MAX_LOGIN_BYTES].decode("latin-1"))
        is_right = self._access.is_token(form.get("token", [""])[0].strip())
        status = await self._check(is_right, "token", request.scope)
        if status == _TOO_MANY:
            return _refuse_all()
        if status == _UNKNOWN:
            page = self._login_page.replace("<!-- trouble -->", "<p>That is not the token.</p>")
            return HTMLResponse(page, _UNKNOWN)
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


_UNKNOWN, _TOO_MANY = HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS
_BEARER = {"WWW-Authenticate": "Bearer"}


def _refuse_all() -> Response:
    why = f"{_MAX_WAITING} wrong tokens are being refused, so none is looked at; try again in a second"
    return _answer(_TOO_MANY, why, {"Retry-After": "1"})


def _read_cookies(headers: Headers) -> list[tuple[str, str]]:
    """The cookies of pages of posestream, this one or others: which token a cookie is made from is in its name too."""
    try:
        found = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return []
    return [(name, cookie.value) for name, cookie in found.items() if name.startswith(COOKIE_PREFIX)]


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
