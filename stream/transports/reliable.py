"""The protocol of one hop, without any socket: what to say to what was heard.

A sender (:class:`Sending`) keeps every item until the receiver (:class:`Receiving`) says it is done with it. Four notes
pass between them, each a msgpack array in the first part of a message:

    sender → receiver   data   epoch, session, serial, camera, seq      followed by the item's buffers
                        ping   epoch, session, next serial               a few times a second while anything is open
    receiver → sender   hello  epoch, session, in step?, notes of done   answers every ping, and data out of step
                        done   session, keys

The *epoch* is drawn by the receiver when it starts, the *session* by the sender whenever it begins again with its
oldest open item; data carries both and a serial number, so the receiver knows a restart (of either side) and a gap (a
broken connection loses what was under way) for what they are, and the sender knows that notes of done went missing.
Every one of them has the same cure: a new session. What then comes twice is known by its key.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from stream.errors import TransportError
from stream.messages import EOS_SEQ, Key
from stream.transports.base import MAX_BUFFER_BYTES, MAX_BUFFERS, Buffers, Delivery, Leaky, LinkStatistics
from stream.transports.queue import Waiting

Parts = Sequence[bytes | memoryview]

MAX_SENDERS = 1024
"""Senders an inbox remembers; the one heard first goes for another."""

MAX_CAMERAS = 4096
"""Cameras an inbox remembers; items of more than these are refused as malformed."""

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
    """The sender asks to be told where they stand; ``epoch`` is empty until it knows one."""

    epoch: MaybeToken
    session: Token
    next_serial: Count


class Hello(Struct, array_like=True, tag="hop1.hello", forbid_unknown_fields=True):
    """Where they stand; ``acks`` counts the notes of done sent in this session."""

    epoch: Token
    session: Token
    in_step: bool
    acks: Count


class Done(Struct, array_like=True, tag="hop1.done", forbid_unknown_fields=True):
    """Nobody needs these items any more."""

    session: Token
    keys: Annotated[list[tuple[Camera, Seq]], Meta(max_length=MAX_NOTE_BYTES)]


_encode = msgspec.msgpack.Encoder().encode
_heard_by_receiver = msgspec.msgpack.Decoder(Data | Ping)
_heard_by_sender = msgspec.msgpack.Decoder(Hello | Done)


_Note = TypeVar("_Note")


def _token() -> bytes:
    return secrets.token_bytes(8)


def _note(decoder: msgspec.msgpack.Decoder[_Note], parts: Parts) -> _Note | None:
    """The note in the first part, or None when it is not one."""
    if not parts or len(parts[0]) > MAX_NOTE_BYTES or len(parts) > 1 + MAX_BUFFERS:
        return None
    try:
        return decoder.decode(parts[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@dataclass(slots=True)
class _Kept:
    buffers: Buffers
    written: bool = False


class Sending:
    """The sender's half of a hop. ``link`` names it in error messages."""

    def __init__(self, link: str) -> None:
        self.link = link
        self._epoch = b""
        self._session = _token()
        self._serial = 0
        self._acks = 0
        self._kept: dict[Key, _Kept] = {}
        self._unsent: deque[Key] = deque()
        self._last: dict[str, int] = {}
        self._done: list[Key] = []
        self._items = self._resent = self._malformed = 0

    @property
    def is_waiting(self) -> bool:
        """True while the receiver has something to tell us."""
        return bool(self._kept) or not self._epoch

    @property
    def has_news(self) -> bool:
        """True when :meth:`take_done` has something to give."""
        return bool(self._done)

    def take(self, key: Key, buffers: Buffers) -> None:
        """Keep an item until it is done. Raises :class:`TransportError` when it can never be delivered."""
        self._check(key, buffers)
        camera, seq = key
        self._last[camera] = seq
        self._kept[key] = _Kept(buffers)
        self._unsent.append(key)
        self._items += 1

    def _check(self, key: Key, buffers: Buffers) -> None:
        camera, seq = key
        last = self._last.get(camera, -1)
        if not last < seq <= EOS_SEQ:
            raise TransportError(
                f"{self.link}: item {seq} of camera {camera!r} comes after item {last}; "
                "make one item of a frame and keep them in order"
            )
        if len(buffers) > MAX_BUFFERS or any(_size(one) > MAX_BUFFER_BYTES for one in buffers):
            raise TransportError(
                f"{self.link}: item {seq} of camera {camera!r} has {len(buffers)} buffers of up to "
                f"{max(map(_size, buffers)):,} bytes; a link carries {MAX_BUFFERS} of {MAX_BUFFER_BYTES:,}"
            )

    def next_data(self) -> Parts | None:
        """The next item to write, or None; tell :meth:`written` when it went out."""
        while self._epoch and self._unsent:
            camera, seq = key = self._unsent[0]
            if kept := self._kept.get(key):
                return [_encode(Data(self._epoch, self._session, self._serial, camera, seq)), *kept.buffers]
            self._unsent.popleft()  # it was done before it could be sent again
        return None

    def written(self) -> None:
        """The item that :meth:`next_data` gave went out."""
        kept = self._kept[self._unsent.popleft()]
        self._resent += kept.written
        kept.written = True
        self._serial += 1

    def ping(self) -> Parts:
        """A greeting that will be answered."""
        return [_encode(Ping(self._epoch, self._session, self._serial))]

    def arrived(self, parts: Parts) -> None:
        """Take a note of the receiver's."""
        match _note(_heard_by_sender, parts):
            case Hello() as hello:
                self._hello(hello)
            case Done() as done:
                self._is_done(done)
            case None:
                self._malformed += 1

    def _hello(self, hello: Hello) -> None:
        if hello.epoch != self._epoch:
            self._epoch = hello.epoch
            self._begin_again()
        elif hello.session == self._session and not (hello.in_step and hello.acks == self._acks):
            self._begin_again()

    def _begin_again(self) -> None:
        self._session = _token()
        self._serial = self._acks = 0
        self._unsent = deque(self._kept)

    def _is_done(self, done: Done) -> None:
        self._acks += done.session == self._session
        for key in done.keys:
            self._kept.pop(key, None)
            self._done.append(key)

    def take_done(self) -> list[Key]:
        """Keys the receiver is done with, since the last call; also such as an earlier life of this sender sent."""
        done, self._done = self._done, []
        return done

    def statistics(self) -> LinkStatistics:
        """What was counted so far."""
        return LinkStatistics(
            items=self._items,
            waiting=len(self._unsent),
            unacknowledged=len(self._kept),
            resent=self._resent,
            malformed=self._malformed,
        )


@dataclass(slots=True)
class _Sender:
    session: bytes
    expected: int = 0
    acks: int = 0


class Receiving:
    """The receiver's half of a hop, for any number of senders.

    What it wants to say is in :meth:`take_replies`, as (sender, parts).
    """

    def __init__(self, leaky: Leaky = "no", max_items: int = 1, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._epoch = _token()
        self._now_ns = now_ns
        self._senders: dict[bytes, _Sender] = {}
        self._last: dict[str, int] = {}
        self._open: dict[Key, bytes] = {}
        self._waiting = Waiting(leaky, max_items)
        self._replies: list[tuple[bytes, Parts]] = []
        self._dropped: list[Key] = []
        self._items = self._drops = self._duplicates = self._malformed = 0

    @property
    def has_items(self) -> bool:
        """True when :meth:`take` has something to give."""
        return bool(self._waiting)

    def has_enough(self, max_items: int) -> bool:
        """True when there is no need to hear more now; a leaky queue must hear all there is, to know what is late."""
        return 0 < max_items <= len(self._waiting) and self._waiting.leaky == "no"

    def arrived(self, sender: bytes, parts: Parts) -> None:
        """Take a message of a sender's; what is not one is counted and dropped."""
        match _note(_heard_by_receiver, parts):
            case Data() as data:
                self._data(sender, data, tuple(parts[1:]))
            case Ping() as ping:
                self._hello(sender, ping.session, self._in_step(sender, ping.epoch, ping.session, ping.next_serial))
            case None:
                self._malformed += 1

    def _data(self, sender: bytes, data: Data, buffers: tuple[bytes | memoryview, ...]) -> None:
        if data.camera not in self._last and len(self._last) >= MAX_CAMERAS:
            self._malformed += 1
        elif self._in_step(sender, data.epoch, data.session, data.serial):
            self._senders[sender].expected += 1
            self._item(sender, (data.camera, data.seq), buffers)
        else:
            self._hello(sender, data.session, in_step=False)

    def _in_step(self, sender: bytes, epoch: bytes, session: bytes, serial: int) -> bool:
        """True when nothing was lost between us; a session that begins is remembered."""
        if epoch != self._epoch:
            return False
        known = self._senders.get(sender)
        if known is None or known.session != session:
            known = self._begin(sender, session) if serial == 0 else None
        return known is not None and known.expected == serial

    def _begin(self, sender: bytes, session: bytes) -> _Sender:
        if sender not in self._senders and len(self._senders) >= MAX_SENDERS:
            del self._senders[next(iter(self._senders))]
        self._senders[sender] = _Sender(session)
        return self._senders[sender]

    def _hello(self, sender: bytes, session: bytes, in_step: bool) -> None:
        acks = self._senders[sender].acks if in_step else 0
        self._replies.append((sender, [_encode(Hello(self._epoch, session, in_step, acks))]))

    def _item(self, sender: bytes, key: Key, buffers: tuple[bytes | memoryview, ...]) -> None:
        camera, seq = key
        if seq > self._last.get(camera, -1):
            self._accept(sender, key, buffers)
            return
        self._duplicates += 1
        if key in self._open:
            self._open[key] = sender  # a restarted sender is the one who wants to hear of it
        else:
            self._acknowledge(sender, key)

    def _accept(self, sender: bytes, key: Key, buffers: tuple[bytes | memoryview, ...]) -> None:
        self._last[key[0]] = key[1]
        self._open[key] = sender
        self._items += 1
        if gone := self._waiting.put(Delivery(key, buffers, self._now_ns())):
            self._drops += 1
            self._dropped.append(gone)
            self.done(gone)

    def done(self, key: Key) -> None:
        """Nothing on this side needs the item any more; said twice, it is said once."""
        sender = self._open.pop(key, None)
        if sender is not None:
            self._acknowledge(sender, key)

    def _acknowledge(self, sender: bytes, key: Key) -> None:
        known = self._senders.get(sender)
        if known is not None:
            known.acks += 1
            self._replies.append((sender, [_encode(Done(known.session, [key]))]))

    def take(self, max_items: int) -> list[Delivery]:
        """The oldest items that wait."""
        return self._waiting.take(max_items)

    def take_replies(self) -> list[tuple[bytes, Parts]]:
        """What is to be said, and to whom, in order."""
        replies, self._replies = self._replies, []
        return replies

    def take_dropped(self) -> list[Key]:
        """What was dropped for being late, since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def statistics(self) -> LinkStatistics:
        """What was counted so far."""
        return LinkStatistics(
            items=self._items,
            waiting=len(self._waiting),
            unacknowledged=len(self._open),
            dropped=self._drops,
            duplicates=self._duplicates,
            malformed=self._malformed,
        )


def _size(buffer: bytes | memoryview) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)
