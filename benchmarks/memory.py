"""The memory that a training step takes, beside the estimate by which a recipe is refused.

    python -m benchmarks.memory --write
    python -m benchmarks.memory --only fami-posetrack17      # a part; with --write these rows are replaced

Recipes with their networks in full width, on crops of 96x128 px (pictures of 320x192), few at a time, so that each
takes a minute. *Measured* is how much the largest resident size of a process grows in two steps of the trainer. glibc
returns what is freed at once (MALLOC_MMAP_THRESHOLD_); by default it keeps tensors of such small crops, up to a third
more. Those of a real training are larger than what it keeps.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.reporting import RESULTS, describe_machine, make_parser, write_results

RECIPES: dict[str, int] = {
    "fami-small-synthetic": 32,
    "hrnet-w32-coco": 12,
    "hrnet-w48-coco": 8,
    "fami-posetrack17": 4,
    "tdmi-posetrack17": 4,
    "imapose-posetrack18": 4,
    "dcpose-posetrack17": 4,
    "fasrnet-posetrack17": 4,
    "inspose-small-synthetic": 8,
    "inspose-r50-coco": 2,
    "tdmi-st-hieve": 4,
    "posewarper-posetrack17": 2,
}
"""The batch of each."""
CROP, PICTURE = (96, 128), (320, 192)
MIB = 2**20


def main() -> int:
    """Measure, each recipe in a process of its own, and write with ``--write``."""
    parser = make_parser(__doc__)
    chosen = list(RECIPES)
    parser.add_argument("--only", nargs="*", choices=chosen, default=chosen, metavar="RECIPE")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options.run, RECIPES[options.run])))
        return 0
    written = RESULTS / "memory.json"
    found = {row["recipe"]: row for row in (json.loads(written.read_text()) if written.exists() else [])}
    for name in options.only:
        command = [sys.executable, "-m", "benchmarks.memory", "--run", name]
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
        output = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
        found[name] = json.loads(output)
        print(found[name], flush=True)
        if options.write:
            rows = [found[name] for name in chosen if name in found]
            write_results("memory", rows, table(rows))
    print(table([found[name] for name in chosen if name in found]))
    return 0


def measure(name: str, batch: int) -> dict[str, Any]:
    """The estimated and the measured bytes of one recipe."""
    import torch
    from msgspec.structs import replace

    from engines.spec import network
    from engines.training.memory_check import step_bytes
    from engines.training.recipe import read_recipe
    from engines.training.tasks import find_spec, make_task
    from engines.training.trainer import Trainer

    torch.set_num_threads(1)
    recipe = read_recipe(Path("configs/training") / f"{name}.yaml")
    recipe = replace(recipe, batch=batch, epochs=1)
    spec = find_spec(recipe)
    spec = replace(spec, input_size=PICTURE if spec.takes == "picture" else CROP)
    fixed, each = step_bytes(recipe, spec, network.build(name, spec))
    before = _resident()
    task = make_task(recipe, spec)
    model = network.build(name, spec)
    samples = _Black(task, 2 * batch)
    largest: list[int] = []  # after each step, since saving the weights at the end takes a copy of them
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, model, samples, Path(folder), objective=task.make_objective(model))
        trainer.run(lambda *_: largest.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    return {"recipe": name, "batch": batch, "estimated": fixed + batch * each, "measured": largest[-1] - before}


class _Black:
    """Samples of a task's examples."""

    def __init__(self, task: Any, count: int) -> None:
        self.task, self.count = task, count

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Any, augmentation: Any, rng: Any) -> Any:  # noqa: ARG002
        """As many examples as there are ``indices``."""
        return self.task.make_example(len(indices))


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    lines = [
        f"`python -m benchmarks.memory --write`, on {describe_machine()}.",
        "",
        "| recipe | batch | estimated, MiB | measured, MiB | estimated / measured |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        estimated, measured = row["estimated"], row["measured"]
        lines.append(
            f"| {row['recipe']} | {row['batch']} | {estimated / MIB:.0f} | {measured / MIB:.0f} | "
            f"{estimated / measured:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
