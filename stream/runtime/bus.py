"""The notices that parts post on the bus, as in GStreamer: errors, warnings, eos, qos, statistics, states.

Every notice is frozen, small and typed, travels as one msgpack map and names its part. Nothing depends on a single
notice: what matters is repeated in :class:`Stats`, the heartbeat of a part.

>>> decode(encode(Eos(part="detect", camera="hall")))
Eos(part='detect', camera='hall')
>>> decode(b"anything else") is None
True
"""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from engines.formats.files import FormatError
from engines.formats.msgpack import decode_msgpack
from engines.redaction import redact

State = Literal["NULL", "READY", "PAUSED", "PLAYING"]
"""As in GStreamer. NULL: nothing is open. READY: the elements are open. PAUSED: the part is linked, and sources hold
their frames. PLAYING: frames flow."""

STATES: tuple[State, ...] = ("NULL", "READY", "PAUSED", "PLAYING")

DropReason = Literal["leaky", "no credit", "late", "failed", "stale", "malformed"]
"""Why items were dropped: a newer one came while it waited in a leaky queue; a live source had as many frames in flight
as it may; it was older than the lateness allowed; an element raised an exception; its pixels were overwritten by a
source that was restarted, or are gone; its bytes were no valid message."""

LOSSES: tuple[DropReason, ...] = ("failed", "stale", "malformed")
"""Reasons for drops that no one asked for; a file line with one of them fails."""

Name = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=16_000)]
Count = Annotated[int, Meta(ge=0)]


class Notice(Struct, frozen=True, kw_only=True, tag_field="notice", forbid_unknown_fields=True):
    """What all notices have: the name of the ``part`` they come from."""

    part: Name = ""


class Error(Notice, frozen=True, kw_only=True, tag="error"):
    """An error in ``element``; with ``camera`` and ``seq`` if it concerns one item.

    ``fatal`` when it ends the part; ``needs_user`` when a restart cannot help, since the user must correct something.
    """

    element: Name = ""
    text: Text
    camera: Name = ""
    seq: Annotated[int, Meta(ge=-1)] = -1
    fatal: bool = False
    needs_user: bool = False


class Warning_(Notice, frozen=True, kw_only=True, tag="warning"):  # noqa: N801 - Warning is a builtin
    """A warning; the line goes on. ``logger`` is the name of the logger it was sent to."""

    text: Text
    logger: Name = ""


class Eos(Notice, frozen=True, kw_only=True, tag="eos"):
    """The stream of ``camera`` has ended in this part, and everything made of it is delivered."""

    camera: Name


class Qos(Notice, frozen=True, kw_only=True, tag="qos"):
    """``dropped`` items of ``camera`` were dropped since the last such notice, and ``total`` since the line started.

    A part that was restarted repeats its totals, since the last notice of its former process may not have been sent.
    """

    camera: Name
    reason: DropReason
    dropped: Annotated[int, Meta(ge=0)]
    total: Annotated[int, Meta(ge=0)] = 0


class StateChanged(Notice, frozen=True, kw_only=True, tag="state"):
    """The part went from one state to another."""

    old: State
    new: State


class Stats(Notice, frozen=True, kw_only=True, tag="stats"):
    """The heartbeat of a part, twice a second. Counts are since it started; rates and percentiles, over 5 s.

    ``fps`` is the rate of items that have left its elements. ``process_ms`` is the time the elements took for an item,
    ``age_ms`` the age of its frame when it left them; p50 and p95 of each. ``waiting`` items are in the inbox;
    ``unfinished`` ones are taken in and not yet done with downstream. ``idle_ms`` is how long ago the loop last turned,
    which shows a part that hangs in an element; one whose element has reported progress in a step that takes long is
    ``in_long_step`` until the loop turns. ``rss_bytes`` is the memory of the process, an equal share of it where parts
    share one. ``finished`` when every stream has ended and is delivered. ``status`` joins what the elements report on
    themselves.
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
    in_long_step: bool = False
    finished: bool = False
    status: Text = ""


class Restarted(Notice, frozen=True, kw_only=True, tag="restarted"):
    """A part has ended, or was killed; the supervisor restarts it after ``delay_ms``. ``why`` holds the last error."""

    why: Text
    count: Annotated[int, Meta(ge=1)]
    delay_ms: Count = 0


class Target(Notice, frozen=True, kw_only=True, tag="target"):
    """The state that the supervisor wants every part to be in; published again and again.

    ``ending`` asks sources to end their streams; what is in flight is still delivered.
    """

    state: State
    ending: bool = False


AnyNotice = Error | Warning_ | Eos | Qos | StateChanged | Stats | Restarted | Target

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyNotice] = msgspec.msgpack.Decoder(AnyNotice)

MAX_NOTICE_BYTES = 64 * 1024


def encode(notice: AnyNotice) -> bytes:
    """One msgpack map; every text in it is sanitized first."""
    return _encoder.encode(_sanitize_texts(notice))


def decode(data: bytes | memoryview) -> AnyNotice | None:
    """The notice, or None where these bytes are no notice of this version; never raises."""
    try:
        return decode_msgpack(_decoder, data, MAX_NOTICE_BYTES)
    except FormatError:
        return None


def _sanitize_texts(notice: AnyNotice) -> AnyNotice:
    given = {name: getattr(notice, name) for name in notice.__struct_fields__}
    texts = {name: sanitize(value) for name, value in given.items() if isinstance(value, str)}
    changed = {name: text for name, text in texts.items() if text != given[name]}
    return msgspec.structs.replace(notice, **changed) if changed else notice


def sanitize(text: str, max_chars: int = 4000) -> str:
    """``text`` without credentials or terminal control characters, cut to its last ``max_chars`` characters.

    Line breaks and tabs stay. The end is kept, since that is where a traceback has its error.
    """
    safe = "".join(
        letter if letter in "\n\t" or _is_harmless(letter) else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    safe = redact(safe)
    return safe if len(safe) <= max_chars else "…" + safe[1 - max_chars :]


def _is_harmless(letter: str) -> bool:
    return letter in "\n\t" or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co")
