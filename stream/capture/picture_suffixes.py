"""Which files are pictures, by their names alone: every process of a line asks, and only a few need OpenCV."""

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
