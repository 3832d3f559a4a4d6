"""A recording as it was written: all files of a series in order, without what a restart repeated."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engines.formats.files import FormatError
from engines.formats.msgpack import decode_msgpack
from stream.errors import SourceError, VersionError
from stream.output.locations import find_numbered
from stream.protocol import schema, topics
from stream.recording.channels import MSGPACK, video_topic
from stream.recording.reader import Recorded, check_file, read_counts, read_messages, read_session

_log = logging.getLogger(__name__)

_POSES, _SKELETON, _VIDEO = topics.poses_topic(""), topics.skeleton_topic(""), video_topic("")


class Head(msgspec.Struct, frozen=True):
    """What identifies a message of the protocol and its frame; keys that a kind lacks have their defaults."""

    version: tuple[int, int]
    kind: str
    session: str
    camera: str = ""
    seq: int = 0
    frame_seq: int = -1
    pts_ns: int = 0
    wall_ns: int = 0
    size: tuple[int, int] = (0, 0)
    file: str = ""


_decoder = msgspec.msgpack.Decoder(Head)


@dataclass(frozen=True, slots=True)
class RecordedMessage:
    """A message of the protocol, and when it was written (ns since 1970 UTC)."""

    head: Head
    topic: str
    payload: bytes
    publish_ns: int


class Recording:
    """The files at ``path``: that one and those numbered beside it, if they are of the same run.

    Raises :class:`SourceError` for a file that is missing or no MCAP.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files, self._left_out = self._find_files()
        self._warned: set[Path] = set()

    def records(self) -> Iterator[Recorded]:
        """Yield all messages of all files. What is cut off, and what is of another run, is warned of once."""
        if self._left_out and not self._warned:
            _log.warning(
                "%s: files of another run are left out: %s", self.path, ", ".join(file.name for file in self._left_out)
            )
        for file in self.files:
            yield from read_messages(file, quiet=file in self._warned)
            self._warned.add(file)

    def messages(self) -> Iterator[RecordedMessage]:
        """Yield the messages of the protocol, each once.

        Raises :class:`SourceError` if there are none, :class:`VersionError` for those of another major version.
        """
        last: dict[tuple[str, str], int] = {}
        skeletons: dict[str, bytes] = {}
        for recorded in self.records():
            if not is_message(recorded):
                continue
            head = self.read_head(recorded)
            if head.kind == "skeleton":
                is_new = skeletons.get(recorded.topic) != recorded.payload
                skeletons[recorded.topic] = recorded.payload
            else:
                source = head.session, head.camera
                is_new = head.seq > last.get(source, -1)
                last[source] = max(head.seq, last.get(source, -1))
            if is_new:
                yield RecordedMessage(head, recorded.topic, recorded.payload, recorded.publish_ns)
        if not last:
            raise SourceError(f"{self.path} has no keypoints: no message of a topic poses/…; give a file of recordsink")

    def read_head(self, recorded: Recorded) -> Head:
        """Decode what identifies a message of the protocol.

        Raises :class:`SourceError`, :class:`VersionError` for one of another major version.
        """
        try:
            head = decode_msgpack(_decoder, recorded.payload, schema.MAX_MESSAGE_BYTES)
        except FormatError as error:
            raise SourceError(
                f"{self.path} has a message on {recorded.topic} that is none of the keypoint protocol: {error}; "
                "give a file of recordsink"
            ) from None
        if head.version[0] != schema.VERSION[0]:
            theirs, ours = ".".join(map(str, head.version)), ".".join(map(str, schema.VERSION))
            raise VersionError(
                f"{self.path} was recorded with protocol {theirs}, and this posestream reads {ours}; "
                "upgrade the older one"
            )
        return head

    def find_first(self) -> dict[str, int]:
        """The first ``seq`` of each topic in the first file, where that is not 0: the files before were removed."""
        found: dict[str, int] = {}
        for recorded in read_messages(self.files[0], quiet=True):
            if is_message(recorded) and recorded.topic.startswith(_POSES) and recorded.topic not in found:
                found[recorded.topic] = self.read_head(recorded).seq
        return {topic: seq for topic, seq in found.items() if seq}

    def count_frames(self) -> tuple[dict[str, int], bool]:
        """How many pictures of each camera there are (none where there are only keypoints), and whether that is sure:
        of files that are cut off, and so without an index, the cameras are known and not the numbers."""
        counts: Counter[str] = Counter()
        is_sure = True
        for file in self.files:
            found = read_counts(file)
            if found is None:
                is_sure = False
                found = Counter(recorded.topic for recorded in read_messages(file, quiet=True))
            for topic, count in found.items():
                if topic.startswith(_VIDEO):
                    counts[topic.removeprefix(_VIDEO)] += count
                elif topic.startswith(_POSES):
                    counts[topic.removeprefix(_POSES)] += 0
        return dict(sorted(counts.items())), is_sure

    def _find_files(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """The files of the run that wrote the first one, and those of others."""
        found = list(find_numbered(self.path).values()) or [self.path]
        # A part that is killed while it makes a file leaves an empty one.
        files = [file for file in found if file.exists() and file.stat().st_size] or found[:1]
        for file in files:
            check_file(file)
        sessions = {file: read_session(file) for file in files}
        wanted = sessions[files[0]], ""
        left_out = tuple(file for file in files if wanted[0] and sessions[file] not in wanted)
        return tuple(file for file in files if file not in left_out), left_out


def is_message(recorded: Recorded) -> bool:
    """True for a message of the keypoint protocol."""
    return recorded.encoding == MSGPACK and recorded.topic.startswith((_POSES, _SKELETON))
