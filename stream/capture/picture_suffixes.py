"""Which files are pictures, by names and first bytes: every process of a line asks, and only a few need OpenCV."""

from __future__ import annotations

from pathlib import Path

HEIF_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".hif"})
"""Pictures that FFmpeg reads: OpenCV leaves those of AVIF lying that are to be rotated, and has no HEIC."""

PICTURE_SUFFIXES = HEIF_SUFFIXES | {
    *(".bmp", ".dib", ".exr", ".hdr", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}


def is_picture(path: Path) -> bool:
    """True if the suffix is that of a picture, which may be animated."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def find_format(path: Path) -> str:
    """Return the suffix of the picture's format as its first bytes say, in lower case; else, that of its name.

    Phones and web sites give out HEIC, AVIF and WebP whose names end in ``.jpg``. Raises ``OSError``.
    """
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp" and head[8:] in _BRANDS:
        return _BRANDS[head[8:]]
    return next((suffix for begin, suffix in _HEADS.items() if head.startswith(begin)), path.suffix.lower())


_HEADS = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
}
_BRANDS = {b"avif": ".avif", b"avis": ".avif"} | dict.fromkeys(
    (b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"), ".heic"
)
"""Major brands of ISO/IEC 23008-12 and of AVIF."""
