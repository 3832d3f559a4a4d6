"""What passes between a publisher and a relay beside the messages of the protocol.

A publisher sends a relay the messages that it would send a subscriber, each with a third part that says who published
it: an :class:`Origin`. The relay answers with a :class:`Verdict` where it does not pass a camera on, or does so again,
and with a :class:`Receipt` when all cameras of a publisher have ended.
``docs/reference/protocol.md`` specifies both.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from engines.formats.files import FormatError
from engines.formats.msgpack import decode_msgpack
from stream.errors import WireError
from stream.protocol.schema import Session, Text, Unsigned

_MAX_BYTES = 64 * 1024

_encoder = msgspec.msgpack.Encoder()


class Origin(Struct, frozen=True, kw_only=True):
    """Who published a message: the ``session`` of its run, and what to call it in messages to people.

    Of two publishers with the same camera, a relay takes the one with the higher ``placement``.
    """

    session: Session
    placement: Annotated[Unsigned, Meta(description="higher numbers replace lower ones")] = 0
    name: Annotated[Text, Meta(description="for people: its host and process")] = ""

    def __str__(self) -> str:
        name = self.name or f"of session {self.session}"
        return f"{name} (placement {self.placement})" if self.placement else name


class Verdict(Struct, frozen=True, kw_only=True, tag_field="kind", tag="verdict"):
    """A relay does not pass on ``camera`` of the publisher with ``session``, for a ``reason``; if empty, it does.

    ``is_final`` if that will not change: a newer placement has replaced this one.
    """

    session: Session
    camera: Text
    reason: Annotated[str, Meta(max_length=4096)] = ""
    is_final: bool = False


class Receipt(Struct, frozen=True, kw_only=True, tag_field="kind", tag="receipt"):
    """A relay knows by a heartbeat that the publisher with ``session`` has sent ``of`` messages, with the ends of all
    cameras, and has not passed on ``missing`` of these: they were lost before, refused, too many a second, or sent to a
    relay that was there before it."""

    session: Session
    of: Unsigned
    missing: Unsigned


Answer = Verdict | Receipt


_origins = msgspec.msgpack.Decoder(Origin)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def encode(content: Origin | Answer) -> bytes:
    """The bytes of what :func:`decode_origin` and :func:`decode_answer` read."""
    return _encoder.encode(content)


def decode_origin(content: bytes | memoryview) -> Origin:
    """Raises :class:`WireError` for bytes that are no origin, or whose name cannot be printed."""
    try:
        found = decode_msgpack(_origins, content, _MAX_BYTES)
    except FormatError as error:
        raise WireError(f"not the origin of a message: {error}") from None
    if not found.name.isprintable():
        raise WireError("not the origin of a message: its name has characters that cannot be printed")
    return found


def decode_answer(content: bytes | memoryview) -> Answer:
    """Raises :class:`WireError` for bytes that are no answer."""
    try:
        return decode_msgpack(_answers, content, _MAX_BYTES)
    except FormatError as error:
        raise WireError(f"not an answer of a relay: {error}") from None
