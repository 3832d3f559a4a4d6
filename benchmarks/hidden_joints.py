"""What the networks that ship know of joints that one frame cannot know, on people they were not trained on.

    python -m benchmarks.hidden_joints --write

The sets are those of :mod:`benchmarks.temporal_people`: joints hidden for about 100 ms, and joints that leave a streak
longer than a forearm. ``fami-small`` sees the key frame with its neighbours, and, as the control, the key frame three
times: the same weights, without neighbours. *Gained* and *lost* are joints that are right beside the control's, and the
other way round: PCK@0.1 of the longer side of the box. Crops are those of the true boxes.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import engines
from benchmarks.reporting import describe_machine, make_parser, write_results
from benchmarks.temporal_people import FRAMES, SETS, TestSet, held_out_tracks, select_joints
from engines.training.synthetic_samples import Tracks

WEIGHTS: Final = Path(engines.__file__).parent / "hub" / "weights"
SIZE: Final = (96, 128)
NETWORKS: Final = (
    ("fami-small, key frame three times", "fami-small", (0, 0, 0)),
    ("fami-small", "fami-small", (-1, 0, 1)),
    ("hrnet-small", "hrnet-small", (0,)),
)
"""Name, export and the frames shown; the first is the control."""
ALPHA: Final = 0.1


def main() -> int:
    """Run the benchmark, and write with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--scenes", type=int, default=200, help="with passing obstacles")
    options = parser.parse_args()
    sets = {"hidden": replace(SETS["hidden"], scenes=options.scenes), "streaked": SETS["streaked"]}
    rows = [row for name, one in sets.items() for row in measure(name, one)]
    text = table(rows)
    print(text)
    if options.write:
        write_results("hidden_joints", rows, text)
    return 0


def measure(name: str, one: TestSet) -> list[dict[str, Any]]:
    """A row for every network."""
    tracks = held_out_tracks(name, SIZE, one)
    chosen = select_joints(tracks, one.conditions)
    near = {label: find(export, shown, tracks) for label, export, shown in NETWORKS}
    control = near[NETWORKS[0][0]]
    rows = []
    for label, right in near.items():
        unknown = chosen["unknown"]
        rows.append(
            {
                "set": name,
                "network": label,
                "joints": int(unknown.sum()),
                "right": int(right[unknown].sum()),
                "gained": int((right & ~control)[unknown].sum()),
                "lost": int((control & ~right)[unknown].sum()),
                "visible": float(right[chosen["visible"]].mean()),
                "hidden": float(right[chosen["hidden"]].mean()),
            }
        )
    return rows


def find(export: str, shown: tuple[int, ...], tracks: Tracks) -> NDArray[np.bool_]:
    """Which joints (S, 17) the exported network finds, given the frames ``shown`` relative to the key frame."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(WEIGHTS / export / "fused.onnx"), options)
    frames = [FRAMES // 2 + offset for offset in shown]
    near = []
    for start in range(0, len(tracks), 32):
        rows = slice(start, start + 32)
        (points,) = session.run(None, {"crops": np.ascontiguousarray(tracks.pictures[rows][:, frames])})
        distances = np.linalg.norm(points[..., :2] - tracks.joints[rows, FRAMES // 2, :, :2], axis=2)
        near.append(distances / tracks.sizes[rows, None] <= ALPHA)
    return np.concatenate(near)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        f"`python -m benchmarks.hidden_joints --write`, on {describe_machine()}.",
        "",
        "| set | network | joints | PCK@0.1, % | gained, lost | all visible joints, % | all hidden joints, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["set"], row["network"], row["joints"], f"{100 * row['right'] / row['joints']:.1f}"]
        cells += [f"{row['gained']}, {row['lost']}", f"{100 * row['visible']:.1f}", f"{100 * row['hidden']:.1f}"]
        lines += ["| " + " | ".join(map(str, cells)) + " |"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
