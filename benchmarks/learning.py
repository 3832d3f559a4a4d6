"""What the papers' networks learn: eight drawn windows, a frozen random backbone, with and without each loss term.

    python -m benchmarks.learning --write
    python -m benchmarks.learning --only imapose imapose-paper      # a part; with --write these rows are replaced

Networks in micro size (an HRNet of width 12, three frames, crops of 32x64, the six joints of the legs), trained by Adam
with the heatmap loss alone and with all terms.

*Error*: the heatmap loss at the end, as a share of that of empty heatmaps. *Gradients*: the norm of the term's,
without its weight, against the heatmap loss's, medians over the training. *Aligned*: what is left of the difference
of a shifted neighbour from the key frame when its alignment is trained. *Spread*: the standard deviation of IMAPose's
kernels over people, as a share of their size. ``engines.testing.check_learns`` requires bounds of these.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch

from benchmarks.reporting import RESULTS, describe_machine, make_parser, write_results
from engines.models.dcpose import DCPose
from engines.models.fami import FAMIPose
from engines.models.fasrnet import FaSRnet
from engines.models.hrnet import HRNetConfig
from engines.models.imapose import IMAPose
from engines.models.posewarper import PoseWarper
from engines.models.tdmi import TDMI
from engines.testing.learning import Learning, draw_windows, measure_learning
from engines.training.recipe import MutualInformation

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1, joints=6)
THREE = (-1, 0, 1)
SIZE = (32, 64)
STATED = MutualInformation(estimate="stated")

NETWORKS: dict[str, tuple[str, Any, MutualInformation | None]] = {
    "fami": ("FAMI-Pose", lambda: FAMIPose(MICRO, THREE), None),
    "fami-stated": ("FAMI-Pose, terms as stated", lambda: FAMIPose(MICRO, THREE), STATED),
    "tdmi": ("TDMI", lambda: TDMI(MICRO, THREE), None),
    "tdmi-stated": ("TDMI, terms as stated", lambda: TDMI(MICRO, THREE), STATED),
    "tdmi-st": ("TDMI-ST", lambda: TDMI(MICRO, THREE, spatiotemporal=True), None),
    "imapose": ("IMAPose", lambda: IMAPose(MICRO, 1, dilations=(1, 3)), None),
    "imapose-paper": ("IMAPose from N(0, 0.001)", lambda: IMAPose(MICRO, 1, dilations=(1, 3), std=0.001), None),
    "fasrnet": ("FaSRnet", lambda: FaSRnet(MICRO), None),
    "fasrnet-paper": ("FaSRnet from N(0, 0.001)", lambda: FaSRnet(MICRO, initial="gaussian"), None),
    "dcpose": ("DCPose", lambda: DCPose(MICRO, channels=16), None),
    "posewarper": ("PoseWarper", lambda: PoseWarper(MICRO, channels=16, blocks=2), None),
}
HEADER = ("network", "error alone, %", "with terms, %", "gradients", "lowest term", "aligned", "spread", "no gradient")


def main() -> int:
    """Train the networks, print the table, and write it with ``--write``."""
    parser = make_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NETWORK")
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args()
    torch.set_num_threads(1)
    written = RESULTS / "learning.json"
    found = {row["network"]: row for row in (json.loads(written.read_text()) if written.exists() else [])}
    for name in options.only:
        found[name] = measure(name, options.steps)
        print(found[name], flush=True)
    rows = [found[name] for name in NETWORKS if name in found]
    text = table(rows, options)
    print(text)
    if options.write:
        write_results("learning", rows, text)
    return 0


def measure(name: str, steps: int) -> dict[str, Any]:
    """One network's row."""
    _, make, information = NETWORKS[name]
    torch.manual_seed(0)
    found = measure_learning(make(), None, information, size=SIZE, steps=steps)
    term = next(iter(found.lowest), None)
    return {
        "network": name,
        "start": found.start,
        "alone": found.plain,
        "with_terms": found.error if term else None,
        "gradients": found.norms[term] / found.norms["heatmap"] if term else None,
        "lowest": found.lowest[term] if term else None,
        "aligned": found.misaligned and found.misaligned[1],
        "spread": kernel_spread(found),
        "dead": found.dead,
        "rises": found.rises,
    }


def kernel_spread(found: Learning) -> float | None:
    """The standard deviation of IMAPose's kernels over people, as a share of their root mean square."""
    model = found.model
    if not isinstance(model, IMAPose):
        return None
    with torch.no_grad():
        kernels = model.kernels(model.window_features(draw_windows(model.frames, SIZE, MICRO.joints).crops))
    return float(kernels.var(0).mean().sqrt() / kernels.square().mean().sqrt())


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """The rows in Markdown."""
    lines = [
        f"`python -m benchmarks.learning --write`, {options.steps} steps on {describe_machine()}.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + "---|" * len(HEADER),
    ]
    for row in rows:
        cells = [
            NETWORKS[row["network"]][0],
            f"{100 * row['alone'] / row['start']:.2f}",
            _cell(row["with_terms"] and 100 * row["with_terms"] / row["start"], ".2f"),
            _cell(row["gradients"], ".2g"),
            _cell(row["lowest"], ".2g"),
            _cell(row["aligned"] and 100 * row["aligned"], ".0f") + (" %" if row["aligned"] else ""),
            _cell(row["spread"], ".2f"),
            ", ".join(row["dead"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    sys.exit(main())
