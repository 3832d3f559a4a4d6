"""Poses as TRC, the format of markers of OpenSim and Pose2Sim: one file per person, the joints as its markers.

Coordinates are continuous pixels of the picture (``Units`` px, y downwards), and Z is 0, as in the ``_px.trc`` of
Sports2D. A row has NaN for joints without a score, and in frames between the person's first and last in which the
person was not found; a blank would do as well, but OpenSim refuses a row that ends in one. ``Frame#`` is the frame's
``seq``, so that a gap stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import BinaryIO

from engines.formats.output_files import replace_file
from stream.output.json_lines import JsonLines, make_error
from stream.output.locations import finish_each
from stream.output.results import PersonRecord, Record

_COLUMNS = (
    *("DataRate", "CameraRate", "NumFrames", "NumMarkers"),
    *("Units", "OrigDataRate", "OrigDataStartFrame", "OrigNumFrames"),
)


@dataclass
class _Track:
    """The lines of a file in which a person is first and last, and the person's joints."""

    first: int
    joints: Sequence[str]
    first_seq: int
    last: int = field(default=0)

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def write_trc(lines: JsonLines, name: Callable[[int], Path]) -> list[Path]:
    """Write a file for each person in ``lines``; ``name`` gives it by the person's id.

    Raises :class:`TransportError` where one cannot be written. Returns the paths.
    """
    tracks, rate = _find_tracks(lines.records())
    paths = {number: name(number) for number in tracks}

    def write(number: int) -> None:
        path = paths[number]
        try:
            replace_file(path, lambda file: _write(file, path.name, lines, number, tracks[number], rate))
        except OSError as error:
            raise make_error(path, error) from None

    finish_each(tracks, write)
    return list(paths.values())


def _find_tracks(records: Iterator[Record]) -> tuple[dict[int, _Track], float]:
    """Find all people by id, and the frame rate."""
    tracks: dict[int, _Track] = {}
    times: list[tuple[int, int]] = []
    for index, record in enumerate(records):
        times.append((record.frame_seq, record.pts_ns))
        for person in record.people:
            track = tracks.setdefault(person.id, _Track(index, record.joint_names, record.frame_seq))
            track.last = index
    return tracks, _find_rate(times)


def _find_rate(times: Sequence[tuple[int, int]]) -> float:
    """The frames per second at the median, of (seq, ns); 1 for a single frame.

    >>> _find_rate([(0, 0), (1, 40_000_000), (4, 160_000_000)])
    25.0
    """
    steps = [(after - before) / (later - seq) for (seq, before), (later, after) in pairwise(times)]
    period_ns = median(steps) if steps else 0
    return float(f"{1e9 / period_ns:.6g}") if period_ns > 0 else 1.0


def _write(file: BinaryIO, name: str, lines: JsonLines, number: int, track: _Track, rate: float) -> None:
    count, joints = track.count, track.joints
    values = (f"{rate:g}", f"{rate:g}", count, len(joints), "px", f"{rate:g}", track.first_seq, count)
    header = [
        f"PathFileType\t4\t(X/Y/Z)\t{_printable(name)}",
        "\t".join(_COLUMNS),
        "\t".join(map(str, values)),
        "Frame#\tTime\t" + "\t\t\t".join(joints) + "\t\t",
        "\t\t" + "\t".join(f"X{marker}\tY{marker}\tZ{marker}" for marker in range(1, len(joints) + 1)),
    ]
    file.write(("\n".join(header) + "\n").encode())
    for record in lines.records(track.first, track.last + 1):
        person = next((one for one in record.people if one.id == number), None)
        cells = [str(record.frame_seq), repr(record.pts_ns / 1e9), *_cells(person, len(joints))]
        file.write(("\t".join(cells) + "\n").encode())


def _cells(person: PersonRecord | None, count: int) -> Iterator[str]:
    """X, Y and Z of each joint; NaN where it was not found."""
    for x, y, score in person.keypoints if person else [(0.0, 0.0, 0.0)] * count:
        yield from (repr(x), repr(y), "0") if score > 0 else ("NaN",) * 3


def _printable(name: str) -> str:
    """A header field ends at a tab or a line break."""
    return "".join(letter if letter.isprintable() else "_" for letter in name)
