from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream.capture.decoded_picture import Shot
from stream.capture.picture_file import nominal_fps, read_pictures
from stream.capture.picture_suffixes import is_picture
from stream.capture.stills import count_pictures, is_still
from stream.errors import SourceError
from stream.testing.videos import numbered_picture, read_number
from tests.stream.capture.turned import Pixels, encode, encode_tiff, exif, is_upright

STILL_NS = 40_000_000
DURATIONS_MS = [100, 40, 40, 200, 40, 40]


def pixels_of(shot: Shot) -> Pixels:
    slot = np.empty(shot.picture.shape, np.uint8)
    shot.picture.copy_to(slot)
    return slot


def read(path: Path) -> list[tuple[int | None, int, int]]:
    """The number, the time and the duration in milliseconds of every picture."""
    shots = read_pictures(path, STILL_NS)
    return [(read_number(pixels_of(shot)), shot.begin_ns // 10**6, shot.duration_ns // 10**6) for shot in shots]


def write_animation(path: Path, durations_ms: list[int] = DURATIONS_MS) -> Path:
    animation = cv2.Animation()
    animation.frames = [numbered_picture(number) for number in range(len(durations_ms))]
    animation.durations = durations_ms
    assert cv2.imwriteanimation(str(path), animation)
    return path


# -- several pictures in a file ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".webp", ".png", ".avif"])
def test_every_frame_of_an_animation_is_read_with_its_duration(tmp_path: Path, suffix: str) -> None:
    path = write_animation(tmp_path / f"фото %d{suffix}")
    begins_ms = [0, 100, 140, 180, 380, 420]
    assert read(path) == [(n, begins_ms[n], DURATIONS_MS[n]) for n in range(6)]
    assert (count_pictures(path), is_picture(path), is_still(path)) == (6, True, False)


@pytest.mark.parametrize("name", ["a.jpg", "a %d.jpg", "a.webp", "a.png"])
@pytest.mark.parametrize("kind", [".webp", ".png", ".avif", ".gif"])
def test_an_animation_is_known_by_its_content_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    path = write_animation(tmp_path / f"x{kind}", [100, 40, 200]).rename(tmp_path / name)
    assert [(begin, duration) for _, begin, duration in read(path)] == [(0, 100), (100, 40), (140, 200)]
    assert (count_pictures(path), is_still(path)) == (3, False)


def test_pages_of_a_tiff_are_known_by_its_content(tmp_path: Path) -> None:
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), [numbered_picture(number) for number in range(3)])
    path = (tmp_path / "a.tif").rename(tmp_path / "a.jpg")
    assert read(path) == [(0, 0, 40), (1, 40, 40), (2, 80, 40)]
    assert nominal_fps(path, 25.0) == 25.0


def test_a_heic_and_a_lying_avif_may_be_called_jpg(shared: Path, tmp_path: Path) -> None:
    for name in ("xiaomi.heic", "o6.avif"):
        source, path = shared / "cases/stills" / name, tmp_path / f"{name}.jpg"
        path.write_bytes(source.read_bytes())
        (expected,), (found,) = read_pictures(source, STILL_NS), read_pictures(path, STILL_NS)
        assert np.array_equal(pixels_of(found), pixels_of(expected))


@pytest.mark.parametrize("suffix", [".heic", ".avif", ".png"])
def test_a_jpeg_may_be_called_otherwise(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(cv2.imencode(".jpg", numbered_picture(7))[1].tobytes())
    assert read(path) == [(7, 0, 40)]


def test_a_long_animation_is_read_in_chunks(tmp_path: Path) -> None:
    path = write_animation(tmp_path / "a.webp", [20] * 35)
    assert read(path) == [(n, 20 * n, 20) for n in range(35)]


def test_every_page_of_a_tiff_is_read_and_shown_as_long_as_a_still(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    assert cv2.imwritemulti(str(path), [numbered_picture(number) for number in range(4)])
    assert read(path) == [(n, 40 * n, 40) for n in range(4)]
    assert not is_still(path)


@pytest.mark.parametrize("suffix", [".webp", ".png", ".avif", ".tiff", ".jpg", ".jfif"])
def test_a_file_with_one_picture_is_a_still(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(cv2.imencode(".jpg" if suffix == ".jfif" else suffix, numbered_picture(7))[1].tobytes())
    assert read(path) == [(7, 0, 40)]
    assert is_still(path)


@pytest.mark.parametrize("suffix", [".webp", ".png", ".avif"])
def test_a_truncated_animation_raises_in_one_line(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_animation(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(SourceError, match=rf"a{suffix}'.*; (copy|replace)") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "the decoder's own messages are suppressed"


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_a_tiff_that_lacks_pages_says_so_after_those_that_are_there(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.tif"
    assert cv2.imwritemulti(str(path), [numbered_picture(number) for number in range(6)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    shots: list[Shot] = []
    with pytest.raises(SourceError, match=r"a.tif'.* (is truncated after|cannot be decoded).*; copy it again"):
        shots.extend(read_pictures(path, STILL_NS))
    assert [read_number(pixels_of(shot)) for shot in shots] == list(range(len(shots)))
    assert 1 <= len(shots) < 6


def test_an_animation_has_the_rate_of_its_header_and_a_tiff_that_of_stills(tmp_path: Path) -> None:
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), [numbered_picture(0)] * 2)
    for suffix in (".png", ".avif", ".webp"):
        write_animation(tmp_path / f"a{suffix}", [50] * 4)
    rates = {suffix: nominal_fps(tmp_path / f"a{suffix}", 10) for suffix in (".tif", ".png", ".avif", ".webp")}
    assert rates == {".tif": 10, ".png": 20, ".avif": 20, ".webp": None}


def test_a_real_animation_is_read_whole(shared: Path) -> None:
    shots = list(read_pictures(shared / "cases" / "stills" / "anim.webp", STILL_NS))
    assert [shot.begin_ns // 10**6 for shot in shots] == [100 * number for number in range(8)]
    assert {shot.picture.shape for shot in shots} == {(576, 576, 3)}


# -- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif"])
def test_a_picture_is_upright_in_every_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(suffix, orientation))
    (shot,) = read_pictures(path, STILL_NS)
    assert is_upright(pixels_of(shot))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_needs_no_exif_to_be_upright(tmp_path: Path, orientation: int) -> None:
    """The properties of the item say it (irot and imir); here EXIF says that nothing is to be turned."""
    data = encode(".avif", orientation)
    assert data.count(exif(orientation)) == 1
    path = tmp_path / "a.avif"
    path.write_bytes(data.replace(exif(orientation), exif(1)))
    (shot,) = read_pictures(path, STILL_NS)
    assert is_upright(pixels_of(shot))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_upright_in_every_orientation(tmp_path: Path, orientation: int) -> None:
    (tmp_path / "a.tiff").write_bytes(encode_tiff(orientation))
    (shot,) = read_pictures(tmp_path / "a.tiff", STILL_NS)
    assert is_upright(pixels_of(shot))


def test_the_same_photo_as_avif_and_as_jpeg_is_the_same_picture(shared: Path) -> None:
    avif, jpeg = (
        pixels_of(next(read_pictures(shared / "cases" / "stills" / name, STILL_NS))) for name in ("o6.avif", "o6.jpg")
    )
    assert avif.shape == jpeg.shape
    assert np.abs(avif.astype(int) - jpeg).mean() < 10


# -- what follows a picture -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("tail", [bytes(200_000), b"\xff\xd8\xff\xe0" + bytes(100_000), b"ftypmp42" * 20_000])
def test_bytes_after_the_end_of_a_picture_are_ignored(tmp_path: Path, suffix: str, tail: bytes) -> None:
    path = tmp_path / f"MVIMG{suffix}"
    path.write_bytes(cv2.imencode(suffix, numbered_picture(7))[1].tobytes() + tail)
    assert read(path) == [(7, 0, 40)]


def test_a_truncated_jpeg_is_not_taken_for_whole_because_its_thumbnail_is(tmp_path: Path) -> None:
    whole = cv2.imencode(".jpg", numbered_picture(7))[1].tobytes()
    thumbnail = b"Exif\0\0" + exif(1) + cv2.imencode(".jpg", numbered_picture(7)[::8, ::8])[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2) + thumbnail
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:2] + segment + whole[2:])
    assert read(path) == [(7, 0, 40)]
    path.write_bytes(whole[:2] + segment + whole[2:-400])
    with pytest.raises(SourceError, match="is truncated: its end is missing"):
        read(path)


def test_a_real_motion_photo_is_read(shared: Path) -> None:
    (shot,) = read_pictures(shared / "cases" / "stills" / "MVIMG.jpg", STILL_NS)
    assert shot.picture.shape == (576, 576, 3)


@pytest.mark.parametrize("suffix", [".webp", ".png", ".avif", ".tif", ".jpg"])
def test_a_name_that_is_not_utf_8_can_be_read(tmp_path: Path, suffix: str) -> None:
    """OpenCV ends the process on such a name."""
    plain, pictures = tmp_path / f"a{suffix}", [numbered_picture(number) for number in range(2)]
    if suffix == ".jpg":
        assert cv2.imwrite(str(plain), pictures[0])
    elif suffix == ".tif":
        assert cv2.imwritemulti(str(plain), pictures)
    else:
        write_animation(plain, [40, 40])
    path = plain.rename(tmp_path / os.fsdecode(b"caf\xe9" + suffix.encode()))
    assert read(path) == [(n, 40 * n, 40) for n in range(1 if suffix == ".jpg" else 2)]
