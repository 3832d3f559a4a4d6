"""Poses as a long table, a row for each joint: CSV, and Parquet by pyarrow.

Coordinates are continuous pixels of four decimals, as in JSON lines. A frame without people has no row.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from typing import BinaryIO, NamedTuple

from engines.errors import install_hint
from stream.errors import PropertyError
from stream.output.results import Record

ROWS_PER_GROUP = 100_000
"""Rows of a Parquet file that are in memory at a time: about 3,000 frames with two people of 17 joints."""


class Row(NamedTuple):
    """One joint of one person in one frame; ``time_s`` is the frame's ``pts_ns`` in seconds, ``x`` and ``y`` are px."""

    camera: str
    file: str
    seq: int
    time_s: float
    id: int
    joint: str
    x: float
    y: float
    score: float


def make_rows(record: Record) -> Iterator[Row]:
    """Yield the rows of a frame."""
    head = record.camera, record.file, record.frame_seq, record.pts_ns / 1e9
    for person in record.people:
        for joint, point in zip(record.joint_names, person.keypoints, strict=True):
            yield Row(*head, person.id, joint, *point)


def csv_text(record: Record, *, has_header: bool = False) -> str:
    """The lines of a frame in a CSV file, after the header if ``has_header``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if has_header:
        writer.writerow(Row._fields)
    writer.writerows(make_rows(record))
    return text.getvalue()


def write_csv(records: Iterable[Record], file: BinaryIO) -> None:
    """Write a table with a header, in UTF-8."""
    file.write((",".join(Row._fields) + "\n").encode())
    for record in records:
        file.write(csv_text(record).encode())


def write_parquet(records: Iterable[Record], file: BinaryIO) -> None:
    """Write a Parquet file, one row group after the other."""
    import pyarrow
    from pyarrow import parquet

    name = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    types = {str: name, int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(field, types[kind]) for field, kind in _TYPES.items()])
    rows = (row for record in records for row in make_rows(record))
    with parquet.ParquetWriter(file, schema) as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            columns = dict(zip(Row._fields, zip(*group, strict=True), strict=True))
            writer.write_table(pyarrow.table(columns, schema=schema))


_TYPES = {"camera": str, "file": str, "seq": int, "time_s": float, "id": int, "joint": str} | dict.fromkeys(
    ("x", "y", "score"), float
)


def check_parquet() -> None:
    """Raise :class:`PropertyError` if pyarrow is not installed, before a line runs."""
    if find_spec("pyarrow") is None:
        raise PropertyError(f"jsonsink: format=parquet needs pyarrow; {install_hint('parquet')}, or use format=csv")
