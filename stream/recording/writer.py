"""One file of a recording, in which everything that was written is whole after ``kill -9``.

The messages of a frame are one chunk of MCAP, which reaches the system in one write before the frame counts as
recorded. A power failure may cost what the system had not stored yet.
"""

from __future__ import annotations

import errno
import io
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mcap.writer import CompressionType, Writer

from stream.errors import TransportError
from stream.output.locations import check_present, check_target, choose_opener, make_folder_of, write_error
from stream.protocol import schema
from stream.recording.channels import Channel

OWNER = "recordsink"
METADATA = "posestream"
"""The name of the record of metadata that begins a file, with the keys ``session`` and ``protocol``."""

_UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Entry:
    """A message for a channel. ``log_ns`` is the capture of its frame, ``publish_ns`` when it was written."""

    channel: Channel
    payload: bytes
    log_ns: int
    publish_ns: int
    sequence: int


class RecordingFile:
    """An open file, that of this ``number`` in its series. Raises :class:`TransportError`, after a write that failed on
    every further one."""

    def __init__(self, path: Path, session: str, number: int = 1) -> None:
        self.path = path
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._error: TransportError | None = None
        self.is_empty = True
        make_folder_of(path, OWNER)
        check_target(path, OWNER)
        try:
            self._output = _Output(path, number)
        except OSError as error:
            raise write_error(OWNER, path, error) from None
        # A chunk ends with the frame, and not earlier.
        self._writer: Any = Writer(cast(Any, self._output), chunk_size=_UNLIMITED, compression=CompressionType.NONE)
        try:
            self._begin(session)
        except BaseException:
            self._output.close()
            raise

    def _begin(self, session: str) -> None:
        self._writer.start()
        version = ".".join(map(str, schema.VERSION))
        self._writer.add_metadata(METADATA, {"session": session, "protocol": version})
        self._flush()

    @property
    def size(self) -> int:
        """Its bytes on the disk."""
        return self._output.size

    @property
    def is_closed(self) -> bool:
        """True once nothing more can be written."""
        return self._output.is_closed

    def has(self, topic: str) -> bool:
        """True if something was written on ``topic``."""
        return topic in self._channels

    def write(self, entries: list[Entry]) -> None:
        """Write messages: all of them are in the file when this returns, and none if it raises."""
        if self._error is not None:
            raise self._error
        for entry in entries:
            self._writer.add_message(
                self._channel(entry.channel),
                log_time=entry.log_ns,
                data=entry.payload,
                publish_time=entry.publish_ns,
                sequence=entry.sequence % 2**32,
            )
        self._flush()
        self.is_empty = False

    def close(self) -> None:
        """Write the index and the end; remove a file without messages. Idempotent."""
        if self._output.is_closed:
            return
        try:
            if self._error is not None:
                raise self._error
            if self.is_empty:
                self.path.unlink(missing_ok=True)
                return
            self._output.check_present()
            self._writer.finish()
            self._flush()
        finally:
            self._output.close()

    def _channel(self, channel: Channel) -> int:
        if channel.topic not in self._channels:
            if channel.schema not in self._schemas:
                self._schemas[channel.schema] = self._writer.register_schema(
                    channel.schema, channel.schema_encoding, channel.schema_data()
                )
            self._channels[channel.topic] = self._writer.register_channel(
                channel.topic, channel.encoding, self._schemas[channel.schema]
            )
        return self._channels[channel.topic]

    def _flush(self) -> None:
        try:
            self._writer.flush()
        except OSError as error:
            self._error = write_error(OWNER, self.path, error)
            raise self._error from None


class _Output:
    """What MCAP's writer writes to: the file gets everything in one piece at a flush, or nothing of it."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._file = io.FileIO(path, "wb", opener=choose_opener(number))
        self._waiting = bytearray()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def tell(self) -> int:
        return self.size + len(self._waiting)

    def flush(self) -> None:
        waiting, self._waiting = memoryview(self._waiting), bytearray()
        try:
            self._write_all(waiting)
        except OSError:
            with suppress(OSError):  # what was written of it would be damage within the file
                os.ftruncate(self._file.fileno(), self.size)
            raise
        self.size += len(waiting)

    def _write_all(self, data: memoryview) -> None:
        while data:
            written = self._file.write(data)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[written:]

    def check_present(self) -> None:
        check_present(self._file, self._path, OWNER)

    @property
    def is_closed(self) -> bool:
        return self._file.closed

    def close(self) -> None:
        self._file.close()
