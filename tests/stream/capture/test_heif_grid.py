"""A photo as phones store it: tiles, a layout, and how to turn the whole."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.capture.heif_grid import read_grid
from stream.capture.picture_file import read_pictures
from stream.errors import SourceError
from tests.stream.capture.turned import STORED, Pixels, is_upright, quadrants

TILE = 64
GRID_ID = 7


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


def encode_tile(pixels: Pixels) -> tuple[bytes, bytes]:
    """The codec's configuration and the data of one tile."""
    data = bytes(cv2.imencode(".avif", pixels)[1])
    config, content = data.index(b"av1C"), data.index(b"mdat")
    return data[config - 4 :][: int.from_bytes(data[config - 4 : config])], data[content + 4 :]


def make_grid(pixels: Pixels, turns: bytes = b"", rows: int = 2, columns: int = 2) -> bytes:
    """An AVIF of ``rows`` x ``columns`` tiles that hold ``pixels``; ``turns`` are boxes that apply to the whole."""
    height, width = pixels.shape[:2]
    canvas = cv2.copyMakeBorder(
        pixels, 0, rows * TILE - height, 0, columns * TILE - width, cv2.BORDER_REPLICATE
    )  # the last tiles are larger than what is shown
    tiles = [
        encode_tile(np.ascontiguousarray(canvas[TILE * row :, TILE * column :][:TILE, :TILE]))
        for row in range(rows)
        for column in range(columns)
    ]
    ids = range(1, len(tiles) + 1)
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    properties = [
        tiles[0][0],
        full(b"ispe", struct.pack(">II", TILE, TILE)),
        full(b"ispe", struct.pack(">II", width, height)),
    ]
    count = len(properties) + (turns.count(b"irot") + turns.count(b"imir"))
    whole = bytes(range(3, count + 1))

    def meta(data_at: int) -> bytes:
        locations = [struct.pack(">HHHHII", GRID_ID, 1, 0, 1, 0, len(layout))]
        for item, (_, data) in zip(ids, tiles, strict=True):
            locations.append(struct.pack(">HHHHII", item, 0, 0, 1, data_at, len(data)))
            data_at += len(data)
        entries = [full(b"infe", struct.pack(">HH4s", item, 0, b"av01"), b"\0") for item in ids]
        entries.append(full(b"infe", struct.pack(">HH4s", GRID_ID, 0, b"grid"), b"\0"))
        entries = [entry[:8] + b"\2" + entry[9:] for entry in entries]
        return full(
            b"meta",
            full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            full(b"pitm", struct.pack(">H", GRID_ID)),
            box(b"iloc", b"\1\0\0\0\x44\0", struct.pack(">H", len(locations)), *locations),
            full(b"iinf", struct.pack(">H", len(entries)), *entries),
            full(b"iref", box(b"dimg", struct.pack(f">HH{len(tiles)}H", GRID_ID, len(tiles), *ids))),
            box(
                b"iprp",
                box(b"ipco", *properties, turns),
                full(
                    b"ipma",
                    struct.pack(">I", len(entries)),
                    *(struct.pack(">HBBB", item, 2, 0x81, 2) for item in ids),
                    struct.pack(">HB", GRID_ID, len(whole)) + whole,
                ),
            ),
            box(b"idat", layout),
        )

    head = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")
    return head + meta(len(head) + len(meta(0)) + 8) + box(b"mdat", *(data for _, data in tiles))


TURNS = {
    1: b"",
    2: box(b"imir", b"\1"),
    3: box(b"irot", b"\2"),
    4: box(b"imir", b"\0"),
    5: box(b"irot", b"\1") + box(b"imir", b"\0"),
    6: box(b"irot", b"\3"),
    7: box(b"irot", b"\3") + box(b"imir", b"\0"),
    8: box(b"irot", b"\1"),
}
"""What libavif writes for each EXIF orientation."""


@pytest.mark.parametrize("orientation", TURNS)
def test_tiles_become_one_upright_picture(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(make_grid(np.ascontiguousarray(STORED[orientation](quadrants(120, 90))), TURNS[orientation]))
    (shot,) = read_pictures(path, 1)
    slot = np.empty(shot.picture.shape, np.uint8)
    shot.picture.copy_to(slot)
    assert is_upright(slot, 120, 90)


def test_tiles_are_placed_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    path.write_bytes(make_grid(quadrants(190, 100), columns=3))
    grid = read_grid(path)
    assert grid is not None
    assert (grid.tiles, grid.columns, grid.size) == ((1, 2, 3, 4, 5, 6), 3, (190, 100))


def test_a_picture_that_is_not_tiled_has_no_grid(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.avif"), quadrants())
    assert read_grid(tmp_path / "a.avif") is None


@pytest.mark.parametrize("damage", ["cut", "tiles", "layout"])
def test_tiles_that_cannot_be_put_together_are_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    data = make_grid(quadrants(120, 90))
    if damage == "cut":
        data = data[: len(data) * 2 // 3]
    elif damage == "tiles":
        data = data.replace(b"dimg" + struct.pack(">HH", GRID_ID, 4), b"dimg" + struct.pack(">HH", GRID_ID, 3))
    else:
        data = data.replace(struct.pack(">BBBB", 0, 0, 1, 1), struct.pack(">BBBB", 0, 0, 200, 200))
    (tmp_path / "a.heic").write_bytes(data)
    with pytest.raises(SourceError, match=r"a.heic' .*; copy") as caught:
        list(read_pictures(tmp_path / "a.heic", 1))
    assert "\n" not in str(caught.value)


def test_a_photo_of_a_phone_is_read_whole(shared: Path) -> None:
    (shot,) = read_pictures(shared / "cases" / "stills" / "xiaomi.heic", 1)
    assert shot.picture.shape == (1944, 2592, 3)
