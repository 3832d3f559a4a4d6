from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.capture.stills import is_still, read_still
from stream.errors import SourceError
from stream.testing.videos import numbered_picture, read_number

PICTURE = numbered_picture(77)


def write_picture(path: Path, pixels: np.ndarray, *parameters: int) -> Path:
    assert cv2.imwrite(str(path), pixels, parameters)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp", ".ppm"])
def test_every_common_format_is_read_as_8_bit_bgr(tmp_path: Path, suffix: str) -> None:
    pixels = read_still(write_picture(tmp_path / f"a{suffix}", PICTURE))
    assert (pixels.shape, pixels.dtype, read_number(pixels)) == ((240, 320, 3), np.uint8, 77)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    pixels = read_still(write_picture(tmp_path / "a.png", PICTURE.astype(np.uint16) * 257))
    assert np.array_equal(pixels, PICTURE)


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = cv2.cvtColor(PICTURE, cv2.COLOR_BGR2GRAY)
    assert np.array_equal(read_still(write_picture(tmp_path / "a.png", grey)), np.dstack([grey] * 3))


def test_transparency_is_discarded(tmp_path: Path) -> None:
    alpha = np.full((240, 320, 1), 7, np.uint8)
    assert np.array_equal(read_still(write_picture(tmp_path / "a.png", np.dstack([PICTURE, alpha]))), PICTURE)


def test_a_cmyk_jpeg_has_the_colours_it_was_meant_to_have(tmp_path: Path) -> None:
    """A JPEG of four equal components, as Adobe programs write it: 255 - ink. Little ink is nearly white."""
    path = tmp_path / "cmyk.jpg"
    path.write_bytes(_flat_cmyk_jpeg())
    pixels = read_still(path)
    assert pixels.shape == (8, 8, 3)
    # The single block holds 128 + 1016 / 8 = 255 in each component, no ink at all; the DCT may round by a level or two.
    assert pixels.min() >= 252


def test_a_picture_with_an_exif_orientation_comes_upright(tmp_path: Path) -> None:
    lying = write_picture(
        tmp_path / "a.jpg", cv2.rotate(PICTURE, cv2.ROTATE_90_COUNTERCLOCKWISE), cv2.IMWRITE_JPEG_QUALITY, 95
    )
    _tag_orientation(lying, 6)  # "turn it clockwise to see it"
    assert read_number(read_still(lying)) == 77


def test_a_name_with_letters_of_any_script_can_be_read(tmp_path: Path) -> None:
    plain = write_picture(tmp_path / "a.png", PICTURE)
    assert read_number(read_still(plain.rename(tmp_path / "фото 照片.png"))) == 77


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp"])
def test_a_truncated_picture_raises(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_picture(tmp_path / f"a{suffix}", PICTURE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=rf"a{suffix}' (is truncated|is not a picture OpenCV can decode).*bytes\); "):
        read_still(path)
    assert capfd.readouterr().err == "", "the decoder's own messages are suppressed"


def test_an_empty_file_and_one_that_is_not_a_picture_raise(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"a.png' is empty \(0 bytes\); copy or download it again"):
        read_still(path)
    path.write_bytes(b"hello, world")
    with pytest.raises(SourceError, match=r"is not a picture OpenCV can decode \(12 bytes\); replace or remove it"):
        read_still(path)
    with pytest.raises(SourceError, match=r"b.png' cannot be read: No such file or directory; check the path"):
        read_still(tmp_path / "b.png")


def test_a_gif_is_a_video_and_a_jpeg_is_not() -> None:
    assert not is_still(Path("a.gif"))
    assert is_still(Path("a.JPEG"))


def _tag_orientation(path: Path, orientation: int) -> None:
    tiff = b"MM\x00*" + struct.pack(">I", 8) + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\x00\x00" + tiff
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])


def _flat_cmyk_jpeg() -> bytes:
    """One 8 x 8 block of four components, each with a DC coefficient of 1016 and nothing else, quantised by 1."""
    quantisation = b"\xff\xdb" + struct.pack(">HB", 67, 0) + b"\x01" * 64
    adobe = b"\xff\xee" + struct.pack(">H", 14) + b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)
    header = b"\xff\xc0" + struct.pack(">HBHHB", 20, 8, 8, 8, 4) + b"".join(bytes([i, 0x11, 0]) for i in range(1, 5))
    # One Huffman code each: '0' for a DC difference of 10 bits, '0' for "nothing more" (AC).
    tables = b"".join(
        b"\xff\xc4" + struct.pack(">HB", 20, kind) + b"\x01" + b"\x00" * 15 + bytes([symbol])
        for kind, symbol in ((0x00, 10), (0x10, 0))
    )
    scan = b"\xff\xda" + struct.pack(">HB", 14, 4) + b"".join(bytes([i, 0]) for i in range(1, 5)) + b"\x00\x3f\x00"
    bits = ("0" + format(1016, "010b") + "0") * 4
    body = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    return b"\xff\xd8" + adobe + quantisation + header + tables + scan + body + b"\xff\xd9"
