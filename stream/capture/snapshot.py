"""Single pictures that a camera serves over HTTP, asked for again and again."""

from __future__ import annotations

import hashlib
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from engines.redaction import redact
from engines.url import Url
from stream.capture.decoded_picture import ArrayPicture, Pixels, Shot
from stream.capture.reader import DisconnectedError
from stream.capture.stills import decode_still
from stream.errors import SourceError

MAX_BYTES = 64 << 20
_CHUNK_BYTES = 1 << 16
_NOT_MODIFIED, _REFUSED, _MISSING = 304, (401, 403, 407), (404, 410)
_VALIDATORS = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
"""Headers that identify a version of a picture, and those by which only another version is asked for."""


@dataclass
class LastPicture:
    """The last picture of a camera, also across connections: its digest, and what the server calls its version."""

    digest: bytes = b""
    tag: str = ""
    tag_header: str = ""

    def is_repeated(self, data: bytes) -> bool:
        """Whether ``data`` is this picture; else it becomes this picture."""
        digest = hashlib.blake2b(data).digest()
        is_same, self.digest = digest == self.digest, digest
        return is_same

    def note_version(self, headers: Any) -> None:
        """Remember what ``headers`` call this version."""
        self.tag_header = next((name for name in _VALIDATORS if headers.get(name)), "")
        self.tag = headers[self.tag_header] if self.tag_header else ""


@dataclass(frozen=True)
class _Answer:
    data: bytes
    kind: str


@dataclass(frozen=True)
class Request:
    """How pictures are asked for: every ``interval_s``, of which each may take ``timeout_s``; a camera that gives the
    same one for ``stall_s`` has frozen. ``verifies`` is False if any certificate is accepted."""

    url: Url
    interval_s: float
    timeout_s: float
    stall_s: float
    verifies: bool = True


class SnapshotFeed:
    """Asks for a picture at a rate, and gives those that differ from the one before."""

    def __init__(self, request: Request, last: LastPicture, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._request, self._last, self._now_ns = request, last, now_ns
        self._address, self._opener = _make_opener(request)
        self._next_s = self._changed_s = time.monotonic()

    def read(self) -> Shot:
        """Return the next picture that is new.

        Raises :class:`DisconnectedError`, also where the picture has not changed for a long time, and
        :class:`SourceError` if asking again is useless.
        """
        while True:
            self._wait()
            answer = self._fetch()
            captured_ns = self._now_ns()
            if answer is not None and not self._last.is_repeated(answer.data):
                self._changed_s = time.monotonic()
                return Shot(ArrayPicture(_decode(answer)), None, 0, captured_ns)
            unchanged_s = time.monotonic() - self._changed_s
            if unchanged_s > self._request.stall_s:
                raise DisconnectedError(f"its picture has not changed for {unchanged_s:.0f} s")

    def close(self) -> None:
        """Nothing stays open between two pictures."""

    def _wait(self) -> None:
        """Wait until the next picture is due; one that comes late does not make the following ones come sooner."""
        time.sleep(max(0.0, self._next_s - time.monotonic()))
        self._next_s = max(self._next_s, time.monotonic() - self._request.interval_s) + self._request.interval_s

    def _fetch(self) -> _Answer | None:
        """One answer; None if the server says that its picture is the last one."""
        request = urllib.request.Request(self._address, headers={"User-Agent": "posestream", "Accept": "image/*"})
        if self._last.tag:
            request.add_header(_VALIDATORS[self._last.tag_header], self._last.tag)
        until_s = time.monotonic() + self._request.timeout_s
        try:
            with self._opener.open(request, timeout=self._request.timeout_s) as response:
                kind = response.headers.get_content_type()
                self._check_kind(kind)
                data = self._read(response, until_s)
                self._last.note_version(response.headers)
                return _Answer(data, kind)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _NOT_MODIFIED:
                return None
            raise self._explain_status(error) from None  # urllib's errors may quote the address
        except ValueError:  # a kind of login that urllib lacks
            raise self._refusal("it asks for a login that is neither Basic nor Digest") from None
        except (OSError, HTTPException) as error:
            raise DisconnectedError(self._explain(error)) from None

    def _read(self, response: Any, until_s: float) -> bytes:
        data = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            data += chunk
            if len(data) > MAX_BYTES:
                raise SourceError(f"{self._shown} answers more than {MAX_BYTES >> 20} MiB, which is no picture")
            if time.monotonic() > until_s:
                raise TimeoutError
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and len(data) < int(length):
            raise DisconnectedError(f"its picture broke off after {len(data)} of {length} bytes")
        return bytes(data)

    @property
    def _shown(self) -> str:
        return f"{str(self._request.url)!r}"

    def _check_kind(self, kind: str) -> None:
        if kind.startswith(("multipart/", "video/", "application/vnd.apple.mpegurl")):
            raise SourceError(f"{self._shown} is a stream ({kind}), not a single picture; use rtspsrc for it")

    def _refusal(self, why: str) -> SourceError:
        return SourceError(
            f"{self._shown} refuses this user and password ({why}); check both in "
            f"url=http://USER:PASSWORD@HOST/PATH, with %40 for an @ in the password"
        )

    def _explain_status(self, error: urllib.error.HTTPError) -> Exception:
        status = f"{error.code} {error.reason}".strip()
        if error.code in _REFUSED:
            return self._refusal(status)
        if error.code in _MISSING:
            return DisconnectedError(f"the path does not exist ({status})", is_mistake=True)
        return DisconnectedError(f"it answers {status}")

    def _explain(self, error: OSError | HTTPException) -> str:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({reason.verify_message}); set tls_verify=false to accept it"
        if isinstance(reason, TimeoutError):
            return f"no answer for {self._request.timeout_s:.1f} s"
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return redact(" ".join(text.split()))


def _make_opener(request: Request) -> tuple[str, urllib.request.OpenerDirector]:
    """The address without user and password, and what opens it with them, if it is asked to: Basic or Digest."""
    parts = urlsplit(request.url.reveal())
    address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    context = ssl.create_default_context()
    if not request.verifies:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        passwords.add_password(None, address, unquote(parts.username), unquote(parts.password or ""))
    return address, urllib.request.build_opener(
        _RefusalCloser(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPBasicAuthHandler(passwords),
        urllib.request.HTTPDigestAuthHandler(passwords),
    )


class _RefusalCloser(urllib.request.BaseHandler):
    """Closes the connection of an answer that asks for a password, which the next handlers leave open."""

    handler_order = 100

    def http_error_401(self, _request: object, response: Any, *_: object) -> None:
        response.close()


def _decode(answer: _Answer) -> Pixels:
    pixels = decode_still(answer.data)
    if pixels is None:
        raise DisconnectedError(
            f"it answers {len(answer.data)} bytes of {answer.kind} that are no whole picture",
            is_mistake=not answer.kind.startswith("image/"),
        )
    return pixels
