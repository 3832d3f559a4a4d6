"""What passes between a publisher and a relay beside the messages of the protocol.

A publisher sends a relay the messages that it would send a subscriber, each with a third part that says who published
it: an :class:`Origin`. The relay answers with a :class:`Verdict` where it does not pass a camera on, or does so again.
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
        return f"{self.name or self.session} (placement {self.placement})" if self.placement else self.name


class Verdict(Struct, frozen=True, kw_only=True):
    """A relay does not pass on ``camera`` of the publisher with ``session``, for a ``reason``; if empty, it does.

    ``is_final`` if that will not change: a newer placement has replaced this one.
    """

    session: Session
    camera: Text
    reason: Annotated[str, Meta(max_length=4096)] = ""
    is_final: bool = False


_origins = msgspec.msgpack.Decoder(Origin)
_verdicts = msgspec.msgpack.Decoder(Verdict)


def encode(content: Origin | Verdict) -> bytes:
    """The bytes of what :func:`decode_origin` and :func:`decode_verdict` read."""
    return _encoder.encode(content)


def decode_origin(content: bytes | memoryview) -> Origin:
    """Raises :class:`WireError` for bytes that are no origin."""
    try:
        return decode_msgpack(_origins, content, _MAX_BYTES)
    except FormatError as error:
        raise WireError(f"not the origin of a message: {error}") from None


def decode_verdict(content: bytes | memoryview) -> Verdict:
    """Raises :class:`WireError` for bytes that are no verdict."""
    try:
        return decode_msgpack(_verdicts, content, _MAX_BYTES)
    except FormatError as error:
        raise WireError(f"not a verdict of a relay: {error}") from None
