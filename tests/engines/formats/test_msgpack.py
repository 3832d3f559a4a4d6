"""Messages from peers: whatever the bytes, a message or one error."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from engines.formats.files import FormatError
from engines.formats.msgpack import decode_msgpack

ANY: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()


class _Note(msgspec.Struct):
    a: int = 0


BAD = {
    "nothing": b"",
    "deep": b"\x91" * 100_000 + b"\x90",
    "a list of four thousand million": b"\xdd\xff\xff\xff\xff",
    "a map of four thousand million": b"\xdf\xff\xff\xff\xff",
    "no UTF-8": b"\xa1\xff",
    "a time out of range": b"\xc7\x0c\xff" + b"\xff" * 12,
    "unused code": b"\xc1",
    "too long": b"\x00" * 200_001,
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_bad_message_is_one_error(content: bytes) -> None:
    with pytest.raises(FormatError):
        decode_msgpack(ANY, content, 200_000)


def test_deep_fields_that_are_not_read_are_refused_too() -> None:
    with pytest.raises(FormatError):
        decode_msgpack(msgspec.msgpack.Decoder(_Note), b"\x81\xa1b" + b"\x91" * 100_000 + b"\x90", 200_000)


def test_random_bytes_raise_nothing_else() -> None:
    drawn = random.Random(5)
    for _ in range(2000):
        with suppress(FormatError):
            decode_msgpack(ANY, drawn.randbytes(drawn.randrange(40)), 64)
