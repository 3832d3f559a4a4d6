"""The window against the single frame on real video, with the keypoints of a network for real people as reference.

    python -m benchmarks.real_window --shared DIR --write

Three clips of one person each: a goalkeeper of JHMDB (40 frames, 25 a second), squats (5 a second), yoga (30 a second).
The reference is TinyPose (256x192) in the same boxes, its joints with a score of 0.5 and more; JHMDB's own labels are
visibly wrong in this clip and serve for its boxes only. ``fami-small`` sees the key frame with its neighbours, and, as
the control, the key frame three times, which differs in nothing but the neighbours; ``hrnet-small`` is the single
frame. Errors are relative to the longer side of the box.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.real_people import CLIPS, Sample, box_around, clip_samples, estimate
from benchmarks.reporting import describe_machine, make_parser, write_results
from engines.inference.engine import Engine, load

REFERENCE: Final = "real/tinypose_256_192.onnx"
CERTAIN: Final = 0.5
NETWORKS: Final = (("hrnet-small", "hrnet-small", False), ("fami-small", "fami-small", False),
                   ("fami-small, key frame three times", "fami-small", True))  # fmt: skip


def main() -> int:
    """Run the benchmark, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/clips, data/annot, data/real")
    options = parser.parse_args()
    rows = measure(options.shared / "data", dict(load_clips(options.shared / "data")))
    text = table(rows)
    print(text)
    if options.write:
        write_results("real_window", rows, text)
    return 0


def load_clips(data: Path) -> Iterator[tuple[str, list[Sample]]]:
    """Every clip's frames with its one person."""
    yield "goalkeeper, 25 a second", list(jhmdb_samples(data / "annot/jhmdb_seq"))
    for clip, annotation in CLIPS.items():
        name = "squats, 5 a second" if "squats" in clip else "yoga, 30 a second"
        yield name, list(clip_samples(data / "clips" / f"{clip}.mp4", data / "annot/tfjs" / annotation))


def jhmdb_samples(folder: Path) -> Iterator[Sample]:
    """The frames of the JHMDB clip, with the boxes of its labels."""
    import scipy.io

    places = scipy.io.loadmat(str(folder / "joint_positions.mat"))["pos_img"].transpose(2, 1, 0)  # (F, 15, 2)
    clip = [np.asarray(cv2.imread(str(path)), np.uint8) for path in sorted((folder / "frames").glob("*.png"))]
    for number, joints in enumerate(places):
        yield Sample(clip, number, box_around(joints), np.zeros((17, 3)))


def measure(data: Path, clips: dict[str, list[Sample]]) -> list[dict[str, Any]]:
    """A row for every clip and network."""
    with load(str(data / REFERENCE), crop="exact") as engine:
        judged = {
            name: [replace(one, joints=_refer(engine, one)) for one in samples] for name, samples in clips.items()
        }
    rows = []
    for label, model, repeated in NETWORKS:
        with load(model, crop="exact") as engine:
            for name, samples in judged.items():
                shown = [repeat_key_frame(one) if repeated else one for one in samples]
                rows.append({"clip": name, "network": label, **compare(engine, shown)})
    return rows


def repeat_key_frame(sample: Sample) -> Sample:
    """The same person, with the key frame in place of its neighbours."""
    return replace(sample, clip=_Repeated(sample.clip[sample.number]))


def compare(engine: Engine, samples: Sequence[Sample]) -> dict[str, float]:
    """Errors of all joints that the reference is certain of."""
    found, wanted = (np.array(rows, np.float64) for rows in ([estimate(engine, one) for one in samples],
                                                             [one.joints for one in samples]))  # fmt: skip
    boxes = np.array([one.box for one in samples])
    errors = np.linalg.norm(found[..., :2] - wanted[..., :2], axis=2) / (boxes[:, 2:] - boxes[:, :2]).max(1)[:, None]
    errors = errors[wanted[..., 2] > 0]
    return {
        "joints": errors.size,
        "median": float(np.median(errors)),
        "pck@0.1": float((errors <= 0.1).mean()),
        "pck@0.05": float((errors <= 0.05).mean()),
    }


def _refer(engine: Engine, sample: Sample) -> NDArray[np.float64]:
    joints = np.asarray(estimate(engine, sample), np.float64)
    joints[:, 2] = joints[:, 2] >= CERTAIN
    return joints


class _Repeated(Sequence[NDArray[np.uint8]]):
    """A clip of one picture, at every number."""

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self._picture = picture

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, _: Any) -> Any:
        return self._picture


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        f"`python -m benchmarks.real_window --shared DIR --write`, on {describe_machine()}.",
        "",
        "| clip | joints | network | median error, of the box | PCK@0.1, % | PCK@0.05, % |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row["clip"]):
        cells = [row["clip"], row["joints"], row["network"], f"{row['median']:.4f}"]
        cells += [f"{100 * row[alpha]:.1f}" for alpha in ("pck@0.1", "pck@0.05")]
        lines += ["| " + " | ".join(map(str, cells)) + " |"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
