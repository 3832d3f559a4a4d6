"""The layout of a HEIC or AVIF picture that is stored as a grid of tiles, as phones do.

FFmpeg decodes each tile as a stream whose id is the tile's, but PyAV does not say where the tile belongs. So the boxes
that do are read here: ISO/IEC 14496-12, 8.11 (``iloc``, ``pitm``, ``iinf``, ``iprp``, ``iref``), and ISO/IEC 23008-12,
6.5.10, 6.5.12 (``irot``, ``imir``) and 6.6.2.3.2 (``grid``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stream.capture.decoded_picture import Pixels


@dataclass(frozen=True)
class Grid:
    """Ids of the tiles, row by row, the number of ``columns``, and ``size`` (width, height) px of the whole picture.

    ``turns`` make it upright: ``("irot", quarter turns anticlockwise)``, ``("imir", 0 upside down, 1 left to right)``.
    """

    tiles: tuple[int, ...]
    columns: int
    size: tuple[int, int]
    turns: tuple[tuple[str, int], ...]

    def join(self, tiles: dict[int, Pixels]) -> Pixels:
        """Put the tiles (h, w, 3), by id, together to the upright picture. Raises ``KeyError`` for a missing one."""
        rows = [self.tiles[start : start + self.columns] for start in range(0, len(self.tiles), self.columns)]
        whole = np.vstack([np.hstack([tiles[tile] for tile in row]) for row in rows])
        whole = whole[: self.size[1], : self.size[0]]
        for kind, value in self.turns:
            whole = np.rot90(whole, value) if kind == "irot" else np.flip(whole, value)
        return np.ascontiguousarray(whole)


def read_grid(path: Path) -> Grid | None:
    """Read the layout of the file's main picture; None if it is not a grid. Raises ``ValueError`` for a broken one."""
    data = path.read_bytes()
    meta = dict(_boxes(dict(_boxes(data)).get("meta", b"")[4:]))
    if "pitm" not in meta:
        return None
    _, main = _versioned(meta["pitm"])
    item = main.id()
    if _item_types(meta.get("iinf", b"")).get(item) != "grid":
        return None
    layout = _Bytes(_item_data(meta["iloc"], item, data, meta.get("idat", b"")))
    _, flags, rows, columns = (layout.uint(1) for _ in range(4))
    width, height = (layout.uint(4 if flags & 1 else 2) for _ in range(2))
    tiles = _references(meta["iref"], item)
    if len(tiles) != (rows + 1) * (columns + 1):
        raise ValueError(f"{len(tiles)} tiles for {rows + 1} rows of {columns + 1}")
    return Grid(tiles, columns + 1, (width, height), tuple(_turns(meta["iprp"], item)))


class _Bytes:
    """Reads big-endian numbers; ``wide`` says that ids have four bytes. Raises ``ValueError`` at the end."""

    def __init__(self, data: bytes, *, wide: bool = False) -> None:
        self.rest, self._wide = data, wide

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def id(self) -> int:
        return self.uint(4 if self._wide else 2)

    def take(self, size: int) -> bytes:
        if size > len(self.rest):
            raise ValueError("a box ends early")
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


def _boxes(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The type and the content of each box."""
    position = 0
    while position + 8 <= len(data):
        size, head = int.from_bytes(data[position : position + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[position + 8 : position + 16]), 16
        end = position + size if size else len(data)
        yield data[position + 4 : position + 8].decode("latin-1"), data[position + head : end]
        position = max(end, position + head)


def _versioned(data: bytes, wide_from: int = 1) -> tuple[int, _Bytes]:
    """The version and flags of a full box as one number, and its content, whose ids are wide from a version on."""
    return int.from_bytes(data[:4]), _Bytes(data[4:], wide=data[:1] >= bytes([wide_from]))


def _item_types(data: bytes) -> dict[int, str]:
    types = {}
    for kind, content in _boxes(data[6 if data[:1] == b"\0" else 8 :]):
        if kind == "infe" and content[0] >= 2:
            _, entry = _versioned(content, wide_from=3)
            item = entry.id()
            entry.take(2)
            types[item] = entry.take(4).decode("latin-1")
    return types


def _item_data(iloc: bytes, wanted: int, data: bytes, idat: bytes) -> bytes:
    version, box = iloc[0], _versioned(iloc, wide_from=2)[1]
    sizes = box.uint(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(box.id()):
        item = box.id()
        method = box.uint(2) & 15 if version else 0
        box.take(2)
        base, content = box.uint(base_size), b""
        for _ in range(box.uint(2)):
            box.take(index_size if version else 0)
            start, length = base + box.uint(offset_size), box.uint(length_size)
            content += (idat if method == 1 else data)[start : start + length]
        if item == wanted:
            return content
    raise ValueError("the grid has no content")


def _references(iref: bytes, item: int) -> tuple[int, ...]:
    for kind, content in _boxes(iref[4:]):
        box = _Bytes(content, wide=iref[:1] != b"\0")
        if kind == "dimg" and box.id() == item:
            return tuple(box.id() for _ in range(box.uint(2)))
    return ()


def _turns(iprp: bytes, wanted: int) -> Iterator[tuple[str, int]]:
    """The rotation and the mirroring of an item, in the order in which they are applied."""
    inside = dict(_boxes(iprp))
    properties = list(_boxes(inside["ipco"]))
    flags, box = _versioned(inside["ipma"])
    for _ in range(box.uint(4)):
        item = box.id()
        indices = [box.uint(2) & 0x7FFF if flags & 1 else box.uint(1) & 0x7F for _ in range(box.uint(1))]
        for kind, content in (properties[index - 1] for index in indices if item == wanted and index):
            if kind in ("irot", "imir"):
                yield kind, content[0] & (3 if kind == "irot" else 1)
