"""What stages say about themselves on the bus, as in GStreamer: errors, warnings, eos, qos, statistics, states.

Every notice is frozen, small and typed, travels as one msgpack map and says which part it comes from. Nothing depends
on a single notice being heard: what matters is said again in the :class:`Stats` that are a part's heartbeat.

>>> decode(encode(Qos(part="detect", camera="hall", reason="leaky", dropped=3)))
Qos(part='detect', camera='hall', reason='leaky', dropped=3)
>>> decode(b"anything else") is None
True
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from stream.credentials import redacted

State = Literal["NULL", "READY", "PAUSED", "PLAYING"]
"""As in GStreamer. NULL: nothing is held. READY: the elements are opened. PAUSED: the part is linked and sources hold
their frames. PLAYING: frames flow."""

STATES: tuple[State, ...] = ("NULL", "READY", "PAUSED", "PLAYING")

DropReason = Literal["leaky", "no credit", "late", "failed", "stale", "malformed"]
"""Why items were dropped: a newer one came while it waited in a leaky queue; a live source had as many frames in flight
as it may; it was older than the lateness allowed; an element raised an exception; its pixels were overwritten by a
source that was restarted; its bytes were no message."""

Name = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=16_000)]
Count = Annotated[int, Meta(ge=0)]


class Notice(Struct, frozen=True, kw_only=True, tag_field="notice", forbid_unknown_fields=True):
    """What all notices have: the name of the ``part`` that speaks."""

    part: Name = ""


class Error(Notice, frozen=True, kw_only=True, tag="error"):
    """Something went wrong in ``element``; with ``camera`` and ``seq`` where one item was the occasion.

    ``fatal`` when the part ends because of it; ``mendable`` when starting it again cannot help, since the user must
    mend something first.
    """

    element: Name = ""
    text: Text
    camera: Name = ""
    seq: Annotated[int, Meta(ge=-1)] = -1
    fatal: bool = False
    mendable: bool = False


class Warning_(Notice, frozen=True, kw_only=True, tag="warning"):  # noqa: N801 - Warning is a builtin
    """Something is not as it should be, and the line goes on; ``logger`` is who said it."""

    text: Text
    logger: Name = ""


class Eos(Notice, frozen=True, kw_only=True, tag="eos"):
    """The stream of ``camera`` has ended in this part, and everything made of it is delivered."""

    camera: Name


class Qos(Notice, frozen=True, kw_only=True, tag="qos"):
    """``dropped`` items of ``camera`` were dropped since the last such notice."""

    camera: Name
    reason: DropReason
    dropped: Annotated[int, Meta(ge=1)]


class StateChanged(Notice, frozen=True, kw_only=True, tag="state"):
    """The part went from one state to another."""

    old: State
    new: State


class Stats(Notice, frozen=True, kw_only=True, tag="stats"):
    """The heartbeat of a part, twice a second, with what it measured since it started or, where a *rate* or a
    percentile, over the last few seconds.

    ``fps`` counts items finished by this part's elements. ``process_ms`` is the time they took for an item, ``age_ms``
    the time since the frame was captured at which it left the part; p50 and p95 of each. ``waiting`` items are in the
    inbox, ``unfinished`` ones are taken in and not done downstream. ``idle_ms`` is how long ago the loop last turned:
    a part that hangs in an element is seen by it. ``finished`` when every stream has ended and is delivered.
    ``account`` is what its elements say of how they are doing.
    """

    state: State = "NULL"
    pid: Count = 0
    incarnation: Count = 0
    fps: float = 0.0
    process_p50_ms: float = 0.0
    process_p95_ms: float = 0.0
    age_p50_ms: float = 0.0
    age_p95_ms: float = 0.0
    items: Count = 0
    waiting: Count = 0
    unfinished: Count = 0
    dropped: Count = 0
    errors: Count = 0
    resent: Count = 0
    malformed: Count = 0
    rss_bytes: Count = 0
    idle_ms: float = 0.0
    finished: bool = False
    account: Text = ""


class Restarted(Notice, frozen=True, kw_only=True, tag="restarted"):
    """The supervisor found a part ended, silent or hung, and starts it again after ``delay_ms``; ``why`` says which."""

    why: Text
    count: Annotated[int, Meta(ge=1)]
    delay_ms: Count = 0


class Target(Notice, frozen=True, kw_only=True, tag="target"):
    """What the supervisor wants of every part, said again and again: the state to be in.

    ``ending`` asks sources to end their streams, so that all that is in flight is still delivered.
    """

    state: State
    ending: bool = False


AnyNotice = Error | Warning_ | Eos | Qos | StateChanged | Stats | Restarted | Target

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyNotice] = msgspec.msgpack.Decoder(AnyNotice)

MAX_NOTICE_BYTES = 64 * 1024


def encode(notice: AnyNotice) -> bytes:
    """One msgpack map; every text in it is first made printable and free of credentials."""
    return _encoder.encode(_cleaned(notice))


def decode(data: bytes | memoryview) -> AnyNotice | None:
    """The notice, or None where these bytes are none of this version; never raises."""
    if len(data) > MAX_NOTICE_BYTES:
        return None
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        return None


def _cleaned(notice: AnyNotice) -> AnyNotice:
    match notice:
        case Error(text=text) | Warning_(text=text):
            return msgspec.structs.replace(notice, text=printable(text))
        case Stats(account=account) if account:
            return msgspec.structs.replace(notice, account=printable(account))
        case Restarted(why=why):
            return msgspec.structs.replace(notice, why=printable(why))
    return notice


def printable(text: str, max_chars: int = 4000) -> str:
    """``text`` free of credentials and of what could steer a terminal, and no longer than ``max_chars``.

    Line breaks and tabs stay; of what is too long the end is kept, where the reason stands in a traceback.
    """
    safe = "".join(
        letter if letter in "\n\t" or _is_harmless(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    safe = redacted(safe)
    return safe if len(safe) <= max_chars else "…" + safe[1 - max_chars :]


def _is_harmless(letter: str) -> bool:
    return letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co")
