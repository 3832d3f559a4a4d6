"""The notes that the two sides of a hop exchange; :mod:`stream.transports.reliable` says when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from engines.formats.files import FormatError
from engines.formats.msgpack import decode_msgpack
from stream.messages import EOS_SEQ
from stream.transports.base import MAX_BUFFERS

Parts = Sequence[bytes | memoryview]

MAX_NOTE_BYTES = 64 * 1024

Token = Annotated[bytes, Meta(min_length=8, max_length=8)]
MaybeToken = Annotated[bytes, Meta(max_length=8)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Camera = Annotated[str, Meta(max_length=256)]
Seq = Annotated[int, Meta(ge=0, le=EOS_SEQ)]


class Data(Struct, array_like=True, tag="hop1.data", forbid_unknown_fields=True):
    """One item; its buffers follow."""

    epoch: Token
    session: Token
    serial: Count
    camera: Camera
    seq: Seq


class Ping(Struct, array_like=True, tag="hop1.ping", forbid_unknown_fields=True):
    """Requests a :class:`Hello`; ``epoch`` is empty before the first one."""

    epoch: MaybeToken
    session: Token
    next_serial: Count


class Hello(Struct, array_like=True, tag="hop1.hello", forbid_unknown_fields=True):
    """The state of the hop; ``acks`` counts the notes of done sent in this session."""

    epoch: Token
    session: Token
    in_step: bool
    acks: Count


class Done(Struct, array_like=True, tag="hop1.done", forbid_unknown_fields=True):
    """Acknowledges these items."""

    session: Token
    keys: Annotated[list[tuple[Camera, Seq]], Meta(max_length=MAX_NOTE_BYTES)]


encode = msgspec.msgpack.Encoder().encode
receiver_decoder = msgspec.msgpack.Decoder(Data | Ping)
sender_decoder = msgspec.msgpack.Decoder(Hello | Done)


_Note = TypeVar("_Note")


def decode(decoder: msgspec.msgpack.Decoder[_Note], parts: Parts) -> _Note | None:
    """Decode the note in the first part; None if it is malformed."""
    if not parts or len(parts) > 1 + MAX_BUFFERS:
        return None
    try:
        return decode_msgpack(decoder, parts[0], MAX_NOTE_BYTES)
    except FormatError:
        return None
