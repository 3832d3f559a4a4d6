"""Messages of msgpack, of bounded size."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from engines.formats.files import FormatError
from engines.formats.mismatch import describe_mismatch

T = TypeVar("T")


def decode_msgpack(decoder: msgspec.msgpack.Decoder[T], content: bytes | memoryview, limit: int) -> T:
    """The message in ``content``, of at most ``limit`` bytes. Raises :class:`FormatError`, and nothing else."""
    if len(content) > limit:
        raise FormatError(f"it has {len(content):,} bytes; {limit:,} are allowed")
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise FormatError(describe_mismatch(error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError, MemoryError) as error:
        raise FormatError(str(error)) from error
