"""The result files of ``jsonsink``, each written at once from the frames that were collected as JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import msgspec

from engines.formats.output_files import replace_file
from stream.output.json_lines import JsonLines, make_error
from stream.output.results import Record, coco_results, find_image_ids, posetrack_lists
from stream.output.tables import write_csv, write_parquet
from stream.output.trc import write_trc
from stream.protocol.json import json_line, round_floats


@dataclass(frozen=True)
class Document:
    """A format that is written at the end. ``write`` makes the files and returns their paths.

    ``has_one_camera`` is True where a file has no room for the name of a camera, ``location`` is an example of its
    property.
    """

    write: Callable[[JsonLines], list[Path]]
    location: str
    has_one_camera: bool = True


def _write_one(write: Callable[[JsonLines, BinaryIO], object], lines: JsonLines) -> list[Path]:
    """Write a document of one file. Raises :class:`TransportError` where it cannot be written."""
    try:
        replace_file(lines.target, partial(write, lines))
    except OSError as error:
        raise make_error(lines.target, error) from None
    return [lines.target]


def _write_coco(lines: JsonLines, file: BinaryIO) -> None:
    """Write a list with one result per line."""
    file.write(b"[")
    separator = b"\n"
    image_id = find_image_ids(lines.records())
    for result in (result for record in lines.records() for result in coco_results(record, image_id(record))):
        file.write(separator + json_line(result).rstrip())
        separator = b",\n"
    file.write(b"\n]\n")


def _write_posetrack(lines: JsonLines, file: BinaryIO) -> None:
    before = b"{"
    for key, entries in posetrack_lists(lines.records):
        file.write(before + f'"{key}":['.encode())
        for number, entry in enumerate(entries):
            file.write(b"," * bool(number) + msgspec.json.encode(round_floats(entry)))
        before = b"],"
    file.write(b"]}\n")


def _write_table(write: Callable[[Iterable[Record], BinaryIO], None], lines: JsonLines, file: BinaryIO) -> None:
    write(lines.records(), file)


def _write_people(lines: JsonLines) -> list[Path]:
    return write_trc(lines, lambda number: Path(str(lines.target).replace("{id}", str(number))))


DOCUMENTS: Mapping[str, Document] = {
    "coco": Document(partial(_write_one, _write_coco), "FILE.json"),
    "posetrack": Document(partial(_write_one, _write_posetrack), "FILE.json"),
    "csv": Document(partial(_write_one, partial(_write_table, write_csv)), "FILE.csv", has_one_camera=False),
    "parquet": Document(
        partial(_write_one, partial(_write_table, write_parquet)), "FILE.parquet", has_one_camera=False
    ),
    "trc": Document(_write_people, "FILE_{id}.trc"),
}
