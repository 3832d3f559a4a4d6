"""The cameras of a site over HTTP: list, add, remove, pause. ``/api/openapi.json`` describes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from engines.formats.files import FormatError
from engines.formats.json import decode_json
from engines.redaction import mask_credentials
from stream.errors import PosestreamError
from stream.site.folder import CameraExistsError, UnknownCameraError
from stream.site.site import CameraReport, Site
from stream.site.template import Value, spell
from stream.web.openapi import OPENAPI
from stream.web.packet import describe_camera

_MAX_BODY_BYTES = 64 * 1024

Handler = Callable[[Request], Awaitable[Response]]


class _NewCamera(msgspec.Struct, forbid_unknown_fields=True):
    """What is posted: the name of a camera, and the properties of its source."""

    name: str
    properties: dict[str, Value] = {}


def make_routes(site: Site) -> list[Route]:
    """The addresses below ``/api/cameras``, ``/api/openapi.json`` and ``/readyz``."""

    async def list_cameras(_request: Request) -> Response:
        return JSONResponse([describe_camera(report) for report in site.reports])

    async def add(request: Request) -> Response:
        given = _decode(await _read(request))
        properties = spell(given.properties)
        mask_credentials("\n".join(properties.values()))
        await run_in_threadpool(site.add, given.name, properties)
        return JSONResponse({"name": given.name}, HTTPStatus.CREATED)

    async def remove(request: Request) -> Response:
        name = request.path_params["name"]
        await run_in_threadpool(site.remove, name)
        return JSONResponse({"name": name})

    def pause(is_paused: bool) -> Handler:
        async def handle(request: Request) -> Response:
            name = request.path_params["name"]
            await run_in_threadpool(site.pause, name, is_paused)
            return JSONResponse({"name": name})

        return handle

    async def describe(_request: Request) -> Response:
        return JSONResponse(OPENAPI)

    async def answer_ready(_request: Request) -> Response:
        failed = [_explain(report) for report in site.reports if report.state == "failed"]
        status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
        return PlainTextResponse("\n".join(failed or ["ok"]) + "\n", status)

    return [
        Route("/api/cameras", _guarded(list_cameras)),
        Route("/api/cameras", _guarded(add), methods=["POST"]),
        Route("/api/cameras/{name}", _guarded(remove), methods=["DELETE"]),
        Route("/api/cameras/{name}/pause", _guarded(pause(True)), methods=["POST"]),
        Route("/api/cameras/{name}/resume", _guarded(pause(False)), methods=["POST"]),
        Route("/api/openapi.json", describe),
        Route("/readyz", answer_ready),
    ]


def _explain(report: CameraReport) -> str:
    return str(PosestreamError(f"{report.name}: {report.why}"))


def _guarded(handler: Handler) -> Handler:
    """``handler``, whose errors become an answer of one line: ``{"error": …}``."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except UnknownCameraError as error:
            return _refuse(HTTPStatus.NOT_FOUND, error)
        except CameraExistsError as error:
            return _refuse(HTTPStatus.CONFLICT, error)
        except PosestreamError as error:
            return _refuse(HTTPStatus.BAD_REQUEST, error)

    return guarded


def _refuse(status: HTTPStatus, error: Exception) -> Response:
    return JSONResponse({"error": str(PosestreamError(str(error)))}, status)


def _decode(body: bytes) -> _NewCamera:
    try:
        return decode_json(body, _NewCamera)
    except FormatError as error:
        raise PosestreamError(error.within("the body")) from None


async def _read(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise PosestreamError(f"the body has more than {_MAX_BODY_BYTES} bytes")
    return body
