"""JSON of bounded size and depth, with the line where it is no JSON, or the path of a value that does not fit.

>>> decode_json(b'{"epochs":\\n NaN}')
Traceback (most recent call last):
...
engines.formats.files.FormatError: it is no JSON: invalid character
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar, overload

import msgspec

from engines.formats.files import BOM, FormatError, line_of, read_bytes
from engines.formats.mismatch import describe_mismatch
from engines.url import decode_url

T = TypeVar("T")

NOT_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder of msgspec raises: bytes that are not UTF-8, and lists in lists, have errors of Python's own."""

MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_JSON_CONTAINERS = 10_000_000
"""Lists and maps in a file: they take up to 30 times the memory of their text."""


@overload
def read_json(path: Path, *, limit: int = ...) -> Any: ...
@overload
def read_json(path: Path, kind: type[T], *, limit: int = ...) -> T: ...
def read_json(path: Path, kind: Any = Any, *, limit: int = MAX_JSON_BYTES) -> Any:
    """The content of a JSON file as a ``kind``. Raises :class:`FormatError`, with the line where it is no JSON."""
    return decode_json(read_bytes(path, limit), kind)


@overload
def decode_json(content: bytes) -> Any: ...
@overload
def decode_json(content: bytes, kind: type[T]) -> T: ...
def decode_json(content: bytes, kind: Any = Any) -> Any:
    """What JSON ``content`` holds, as a ``kind``. Raises :class:`FormatError`."""
    text = content.removeprefix(BOM)
    if not text.strip():
        raise FormatError("it is empty")
    if text.count(b"[") + text.count(b"{") > MAX_JSON_CONTAINERS:
        raise FormatError(f"it has more than {MAX_JSON_CONTAINERS:,} lists and maps")
    try:
        return msgspec.json.decode(text, type=kind, dec_hook=decode_url)
    except msgspec.ValidationError as error:
        raise FormatError(describe_mismatch(error)) from error
    except msgspec.DecodeError as error:
        raise _translate_json(text, str(error)) from error
    except RecursionError as error:
        raise FormatError("it is nested too deep") from error
    except UnicodeDecodeError as error:
        raise FormatError("it is not UTF-8 text") from error


_BYTE = re.compile(r" \(byte (\d+)\)$")


def _translate_json(text: bytes, message: str) -> FormatError:
    """``JSON is malformed: invalid character (byte 17)`` with a line in place of the byte."""
    found = _BYTE.search(message)
    offset = int(found[1]) if found else len(text.rstrip())
    why = _BYTE.sub("", message).replace("JSON is malformed", "it is no JSON")
    if text[offset : offset + 3] in (b"NaN", b"Inf", b"-In"):
        why = "NaN and Infinity are no numbers in JSON"
    why = "it ends too early" if "truncated" in why else why
    return FormatError(why, *line_of(text, offset))
