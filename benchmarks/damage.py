"""Damaged files whose frames are lost without a word, of each kind that ``filesrc`` reads.

    python -m benchmarks.damage                     prints a table
    python -m benchmarks.damage --write             and writes benchmarks/results/damage.json and damage.md
    python -m benchmarks.damage --kinds gif,ts --show   lists the silent copies of these kinds

A clip of each kind is copied, and 1 to 4,096 bytes behind its first 1,024 are overwritten with zeros, overwritten with
random bytes, or removed. A copy is silent if it gives fewer frames than the whole clip, neither an error nor a warning.
"""

from __future__ import annotations

import logging
import random
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting import describe_machine, make_parser, write_results
from stream.capture.playlist import Playlist
from stream.errors import SourceError
from stream.testing.videos import numbered_picture, write_video

FRAMES, SIZE = 60, (128, 96)
COPIES = 100
HEAD_BYTES, MOST_BYTES = 1024, 4096

Pictures = Sequence[NDArray[np.uint8]]
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_M2TS = {"mpegts_m2ts_mode": "1"}


def write_animation(path: Path, pictures: Pictures) -> None:
    """Write an animated picture with OpenCV."""
    animation = cv2.Animation()
    animation.frames, animation.durations = list(pictures), [40] * len(pictures)
    assert cv2.imwriteanimation(str(path), animation)


def write_pages(path: Path, pictures: Pictures) -> None:
    """Write a TIFF with several pages."""
    assert cv2.imwritemulti(str(path), list(pictures))


def write_gif(path: Path, pictures: Pictures) -> None:
    """Write a GIF with FFmpeg."""
    write_video(path, pictures, codec="gif", pix_fmt="rgb8")


KINDS: dict[str, tuple[str, Callable[[Path, Pictures], object]]] = {
    "MP4": ("mp4", write_video),
    "MP4 in fragments": ("mp4", partial(write_video, options={"g": "10"}, format_options=_FRAGMENTS)),
    "MOV": ("mov", write_video),
    "Matroska": ("mkv", write_video),
    "WebM": ("webm", partial(write_video, codec="libvpx", options={"deadline": "realtime", "cpu-used": "8"})),
    "AVI": ("avi", partial(write_video, codec="mpeg4")),
    "FLV": ("flv", partial(write_video, codec="flv")),
    "WMV": ("wmv", partial(write_video, codec="wmv2")),
    "MPEG-TS": ("ts", write_video),
    "M2TS": ("m2ts", partial(write_video, format_options=_M2TS)),
    "MPEG-PS": ("mpg", partial(write_video, codec="mpeg2video")),
    "GIF": ("gif", write_gif),
    "animated PNG": ("png", write_animation),
    "animated WebP": ("webp", write_animation),
    "animated AVIF": ("avif", write_animation),
    "TIFF": ("tif", write_pages),
    "bare H.264": ("h264", write_video),
}


def draw_pictures() -> Pictures:
    """Numbers over noise, so that a clip has many times more bytes than are damaged."""
    noise, (width, height) = np.random.default_rng(0), SIZE
    pictures: list[NDArray[np.uint8]] = []
    for number in range(FRAMES):
        coarse = noise.integers(0, 256, (height // 4, width // 4, 3), np.uint8)
        picture = cv2.resize(coarse, SIZE, interpolation=cv2.INTER_NEAREST)
        picture[: height // 4] = cv2.resize(numbered_picture(number), SIZE)[: height // 4]
        pictures.append(picture.astype(np.uint8))
    return pictures


def damage(whole: bytes, dice: random.Random) -> tuple[bytes, str]:
    """A damaged copy, and what was done to it."""
    size = min(dice.randint(1, MOST_BYTES), len(whole) // 10)
    at = dice.randrange(HEAD_BYTES, len(whole) - size)
    kind = dice.choice(("zeros", "random bytes", "removal"))
    filling = {"zeros": bytes(size), "random bytes": dice.randbytes(size), "removal": b""}[kind]
    return whole[:at] + filling + whole[at + size :], f"{kind} of {size} bytes at {at}"


class _Warnings(logging.Handler):
    """Counts warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        self.count += 1


def read(path: Path, warnings: _Warnings) -> tuple[int, bool]:
    """How many frames a file gives, and whether an error or a warning says that it is damaged."""
    frames, before = 0, warnings.count
    try:
        for shot in Playlist((path,), 25, "error").shots():
            shot.picture.copy_to(np.empty(shot.picture.shape, np.uint8))
            frames += 1
    except SourceError:
        return frames, True
    return frames, warnings.count > before


def measure(kind: str, pictures: Pictures, folder: Path, *, shows: bool = False) -> dict[str, int]:
    """Damage copies of one kind, and count the outcomes."""
    suffix, write = KINDS[kind]
    path, dice, warnings = folder / f"clip.{suffix}", random.Random(kind), _Warnings()
    write(path, pictures)
    whole = path.read_bytes()
    logger = logging.getLogger("stream")
    logger.addHandler(warnings)
    logger.propagate = False
    want, is_reported = read(path, warnings)
    assert want == FRAMES, (kind, want)
    assert not is_reported, kind
    found = {"bytes": len(whole), "complete": 0, "reported": 0, "silent": 0}
    for _ in range(COPIES):
        copy, what = damage(whole, dice)
        path.write_bytes(copy)
        frames, is_reported = read(path, warnings)
        outcome = "reported" if is_reported else "complete" if frames >= want else "silent"
        found[outcome] += 1
        if shows and outcome == "silent":
            print(f"{kind}: {what}: {frames} frames")
    logger.removeHandler(warnings)
    return found


def describe(found: dict[str, dict[str, int]]) -> str:
    """A table of the outcomes of each kind."""
    intro = (
        f"{COPIES} copies of each kind, {FRAMES} frames of {SIZE[0]} x {SIZE[1]}, 1 to {MOST_BYTES:,} bytes damaged "
        f"behind the first {HEAD_BYTES:,}; {describe_machine()}."
    )
    lines = [
        intro,
        "",
        "| kind | bytes | all frames, no word | error or warning | frames lost silently |",
        "|---|---|---|---|---|",
        *(
            f"| {kind} | {row['bytes']:,} | {row['complete']} | {row['reported']} | {row['silent']} |"
            for kind, row in found.items()
        ),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure all kinds, and print or write the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--kinds", help="names or suffixes, separated by commas; all by default")
    parser.add_argument("--show", action="store_true", help="list the silent copies")
    options = parser.parse_args()
    wanted = set(options.kinds.split(",")) if options.kinds else None
    pictures = draw_pictures()
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (suffix, _) in KINDS.items():
            if wanted is None or wanted & {kind, suffix}:
                found[kind] = measure(kind, pictures, Path(folder), shows=options.show)
    print(describe(found))
    if options.write:
        write_results("damage", found, describe(found))


if __name__ == "__main__":
    main()
