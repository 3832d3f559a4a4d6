"""Addresses of live sources: which element opens one, and what is wrong with one before it is opened."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from engines.redaction import HIDDEN
from engines.url import Url
from stream.capture.picture_suffixes import is_picture
from stream.errors import PosestreamError, SourceError

HTTP = ("http", "https")


def choose_element(url: Url) -> str:
    """The name of the element that opens an address: ``snapshotsrc`` for a picture on a web server, else ``rtspsrc``.

    >>> choose_element(Url("http://me:secret@10.0.0.7/cgi/snapshot.jpg?channel=1")), choose_element(Url("rtsp://h/x.jpg"))
    ('snapshotsrc', 'rtspsrc')
    """
    parts = urlsplit(str(url))
    return "snapshotsrc" if parts.scheme.lower() in HTTP and is_picture(Path(parts.path)) else "rtspsrc"


def check_address(url: Url, schemes: Collection[str], remedy: str) -> SplitResult:
    """Return the components of the revealed address.

    Raises :class:`SourceError` where it is none with one of the ``schemes`` and a host; ``remedy`` says what to write.
    """
    shown = f"{str(url)!r}"
    if HIDDEN in url.reveal(expand=False):
        raise SourceError(f"{shown} was written without its password; put the address of the camera there")
    try:
        parts = _split(url.reveal())
    except PosestreamError as error:
        raise SourceError(str(error)) from None
    if parts is None or parts.scheme.lower() not in schemes:
        raise SourceError(f"{shown} is not a live address; {remedy}")
    if not parts.hostname:
        raise SourceError(f"{shown} has no host; write {parts.scheme}://HOST/PATH")
    return parts


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if the port is not a number
    except ValueError:
        return None
    return parts
