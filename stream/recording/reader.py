"""Reading of the messages of MCAP files, up to the place where one is cut off or damaged."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from lz4.frame import LZ4FrameDecompressor
from mcap.exceptions import McapError, UnsupportedCompressionError
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Header, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary
from mcap.writer import MCAP0_MAGIC
from zstandard import ZstdDecompressor, ZstdError

from stream.capture.regular_file import check_readable
from stream.errors import SourceError
from stream.recording.writer import METADATA

_log = logging.getLogger(__name__)

_MAX_RECORD_BYTES = 1 << 28
_SMALL_BYTES = 1 << 20
DAMAGE = (McapError, ZstdError, ValueError, struct.error, RuntimeError, EOFError, KeyError, MemoryError, OverflowError)
"""What MCAP's reader raises at bytes that are not MCAP; LZ4 raises ``RuntimeError``."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message of a file. ``encoding`` is that of the message, ``schema`` the name of its schema; times in ns."""

    topic: str
    encoding: str
    schema: str
    payload: bytes
    log_ns: int
    publish_ns: int
    sequence: int


def check_file(path: Path) -> None:
    """Raise :class:`SourceError` for a file that cannot be read, or is no MCAP file."""
    check_readable(path)
    with path.open("rb") as file:
        head = file.read(len(MCAP0_MAGIC))
    if not MCAP0_MAGIC.startswith(head):
        raise SourceError(f"{str(path)!r} is no MCAP file; give one that recordsink has written")


def read_messages(path: Path, *, quiet: bool = False) -> Iterator[Recorded]:
    """Yield the messages of a file in their order, up to its end or to damage.

    A warning says where a file is cut off or damaged, unless ``quiet``.
    """
    schemas: dict[int, str] = {}
    channels: dict[int, Channel] = {}
    count = whole_bytes = 0
    with path.open("rb") as file:
        whole = _Whole(file)
        try:
            for record in _records(whole):
                whole_bytes = whole.read_bytes
                if isinstance(record, Schema):
                    schemas[record.id] = record.name
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, Message):
                    channel = channels[record.channel_id]
                    count += 1
                    yield _describe(record, channel, schemas.get(channel.schema_id, ""))
        except DAMAGE:
            if not quiet:
                what = "is cut off" if whole.is_at_end else "is damaged"
                size = path.stat().st_size
                _log.warning(
                    "%s %s at byte %d of %d: %d messages before are read", path, what, whole_bytes, size, count
                )


def read_session(path: Path) -> str:
    """The session that a file was recorded in; empty where it does not say."""
    with suppress(OSError, *DAMAGE), path.open("rb") as file:
        for record in _records(_Whole(file), emit_chunks=True):
            if isinstance(record, Metadata) and record.name == METADATA:
                return record.metadata.get("session", "")
            if not isinstance(record, Header | Metadata):
                return ""
    return ""


def read_counts(path: Path) -> dict[str, int] | None:
    """How many messages each topic has, by the index at the end of the file; None for a file without one."""
    summary: Summary | None = None
    with suppress(OSError, *DAMAGE), path.open("rb") as file:
        summary = make_reader(file).get_summary()
    if summary is None or summary.statistics is None or not summary.channels:
        return None
    counts = summary.statistics.channel_message_counts
    return {channel.topic: counts.get(number, 0) for number, channel in summary.channels.items()}


def _records(whole: _Whole, *, emit_chunks: bool = False) -> Iterator[McapRecord]:
    """The records of a file; those of a chunk in its place, unless ``emit_chunks``."""
    reader = StreamReader(
        cast(Any, whole), emit_chunks=True, validate_crcs=not emit_chunks, record_size_limit=_MAX_RECORD_BYTES
    )
    for record in reader.records:
        if isinstance(record, Chunk) and not emit_chunks:
            yield from breakup_chunk(_decompress(record), validate_crc=True)
        else:
            yield record


def _decompress(chunk: Chunk) -> Chunk:
    """The same chunk without compression. Raises ``ValueError`` for more bytes than it says, or than are allowed."""
    size, data = chunk.uncompressed_size, chunk.data
    if size > _MAX_RECORD_BYTES:
        raise ValueError(f"a chunk of {size} bytes")
    if chunk.compression == "zstd":
        with ZstdDecompressor().stream_reader(data) as stream:
            data = stream.read(size + 1)
    elif chunk.compression == "lz4":
        data = LZ4FrameDecompressor().decompress(data, max_length=size + 1)
    elif chunk.compression:
        raise UnsupportedCompressionError(chunk.compression)
    if len(data) != size:
        raise ValueError(f"a chunk of {len(data)} bytes, not {size}")
    return replace(chunk, compression="", data=data)


def _describe(record: Message, channel: Channel, schema: str) -> Recorded:
    return Recorded(
        channel.topic,
        channel.message_encoding,
        schema,
        record.data,
        record.log_time,
        record.publish_time,
        record.sequence,
    )


class _Whole:
    """A file that yields all bytes that are asked for, or none: MCAP's reader would take a part for the whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read_bytes = 0
        self.is_at_end = False

    def read(self, count: int) -> bytes:
        # A length that is damaged must not cost its memory.
        is_there = count <= _SMALL_BYTES or count <= os.fstat(self._file.fileno()).st_size - self.read_bytes
        data = self._file.read(count) if is_there else b""
        if len(data) < count:
            self.is_at_end = True
            return b""
        self.read_bytes += count
        return data
