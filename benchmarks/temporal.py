"""Benefit of the window: the single frame against temporal networks on one frozen backbone, with one budget.

    python -m benchmarks.temporal --backbone runs/hrnet-small-synthetic/weights.safetensors
    python -m benchmarks.temporal --backbone … --only fami control --seeds 0 --steps 50      # a part, for a look
    python -m benchmarks.temporal --backbone … --write                                       # and writes the results

Every variant has the same frozen HRNet, gets the same windows of the same synthetic people in an order given by its
seed, and takes the same number of steps. All are evaluated on the same held-out people. Results are stored in --out, so
an interrupted run can be continued, and --write without new runs only prints the table.

``control`` is the baseline: FAMI-Pose with the key frame in place of its neighbours. It has the same parameters and
steps as ``fami`` and differs only in the neighbours. ``backbone`` is the single frame as trained before, ``single`` the
same trained further, without freezing, for as many steps, at its best learning rate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.reporting import make_parser, write_results

NETWORK = "hrnet-small-128x96"
KINDS = ("easy", "blurred", "occluded", "crossing")
MI = {"mutual_information": 0.1}


@dataclass(frozen=True)
class Variant:
    """``model`` in ``engines.models`` with its ``options``, over ``window``; ``shown`` instead of it where given."""

    label: str
    model: str = ""
    window: tuple[int, ...] = (0,)
    options: dict[str, Any] | None = None
    terms: dict[str, float] | None = None
    shown: tuple[int, ...] | None = None
    loss: str = "cross-entropy"
    aligns: bool = True
    rate: float | None = None


FAMI: dict[str, Any] = {"model": "fami.FAMIPose", "window": (-1, 0, 1), "options": {"frames": [-1, 0, 1]}}
TDMI: dict[str, Any] = {"model": "tdmi.TDMI", "window": (-1, 0, 1), "options": {"frames": [-1, 0, 1]}}

VARIANTS: dict[str, Variant] = {
    "backbone": Variant("HRNet, as it was trained"),
    "single": Variant("HRNet, trained on", "hrnet.HRNet", rate=1e-3),
    "control": Variant("FAMI-Pose shown the key frame three times", **FAMI, shown=(0, 0, 0)),
    "fami": Variant("FAMI-Pose with mutual information", **FAMI, terms=MI),
    "fami-no-mi": Variant("FAMI-Pose without mutual information", **FAMI),
    "fami-no-alignment": Variant("FAMI-Pose without alignment", **FAMI, aligns=False),
    "fami-causal": Variant("FAMI-Pose, past only, with MI", "fami.FAMIPose", (-1, 0), {"frames": [-1, 0]}, MI),
    "fami-five": Variant("FAMI-Pose, five frames, with MI", "fami.FAMIPose", (-2, -1, 0, 1, 2), terms=MI),
    "tdmi": Variant("TDMI with mutual information", **TDMI, terms=MI),
    "tdmi-no-mi": Variant("TDMI without mutual information", **TDMI),
    "imapose": Variant("IMAPose", "imapose.IMAPose", (-1, 0, 1), {"radius": 1}, loss="heatmap"),
    "imapose-human": Variant(
        "IMAPose, one kernel for all joints",
        "imapose.IMAPose",
        (-1, 0, 1),
        {"radius": 1, "motion": "human"},
        loss="heatmap",
    ),
    "dcpose": Variant("DCPose", "dcpose.DCPose", (-1, 0, 1), {"channels": 16}, loss="heatmap"),
}  # fmt: skip


def main() -> int:
    """Train what is missing, print the table, and write it with ``--write``."""
    options = _options()
    if options.run:
        _run(options.run[0], int(options.run[1]), options)
        return 0
    missing = [job for job in _jobs(options) if not _file(options.out, *job).is_file()]
    with ThreadPoolExecutor(options.workers) as pool:
        failed = sum(pool.map(lambda job: _spawn(job[0], job[1], options), missing))
    text = table(_rows(options.out), options)
    print(text)
    if options.write:
        write_results("temporal", _rows(options.out), text)
    return failed


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", type=Path, default=Path("runs/hrnet-small-synthetic/weights.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("runs/temporal"))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=250, help="that each takes")
    parser.add_argument("--batch", type=int, default=16, help="windows a step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="trainings side by side, a thread each")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def _jobs(options: argparse.Namespace) -> list[tuple[str, int]]:
    return [
        (name, seed)
        for seed in options.seeds
        for name in options.only
        if name != "backbone" or seed == options.seeds[0]
    ]


def _file(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-{seed}.json"


def _spawn(name: str, seed: int, options: argparse.Namespace) -> bool:
    """In a process of its own, with one thread: small networks gain little by two."""
    words = ["--backbone", options.backbone, "--out", options.out, "--steps", options.steps, "--rate", options.rate]
    words += ["--batch", options.batch]
    command = [sys.executable, "-m", "benchmarks.temporal", "--run", name, str(seed), *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(command, check=False, env=environment).returncode != 0


# -- one training ------------------------------------------------------------------------------------------------------


def _run(name: str, seed: int, options: argparse.Namespace) -> None:
    import time

    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    variant = VARIANTS[name]
    model, samples, validator, recipe = _make(variant, seed, options)
    start_s = time.monotonic()
    if variant.model:
        model = _train(model, samples, recipe)
    scores = _scores(model, validator, recipe)
    seconds = time.monotonic() - start_s
    row = {
        "variant": name,
        "seed": seed,
        "steps": options.steps,
        "batch": options.batch,
        "rate": options.rate,
        "seconds": round(seconds),
        "pck": scores,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    _file(options.out, name, seed).write_text(json.dumps(row) + "\n")
    print(
        f"{name}, seed {seed}: {seconds:.0f} s, mean PCK@0.1 {mean(s['visible@0.1'] for s in scores.values()):.4f}",
        flush=True,
    )


def _make(variant: Variant, seed: int, options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    """Make the network with its loaded backbone, the training samples, the validator and the recipe."""
    recipe = _recipe(variant, seed, options)
    samples, validator = _data(variant, seed, options, recipe.data)
    return _network(variant, options.backbone), samples, validator, recipe


def _network(variant: Variant, backbone: Path) -> Any:
    from engines.hub import catalogue, checkpoints
    from engines.spec import network
    from engines.spec.network import NetworkSpec

    _, base = catalogue.find_network(NETWORK)
    options = variant.options or ({"frames": list(variant.window)} if variant.model.startswith("fami") else {})
    spec = NetworkSpec(
        model=variant.model or base.model,
        hrnet=base.hrnet,
        input_size=base.input_size,
        window=variant.window,
        skeleton=base.skeleton,
        options=options,
    )
    model = network.build(NETWORK, spec)
    checkpoints.load_checkpoint(model, backbone, "ours", "" if spec.model == base.model else "hrnet")
    if not variant.aligns:
        model.align = lambda window: _skip_alignment(window, model.key)
    return model


def _recipe(variant: Variant, seed: int, options: argparse.Namespace) -> Any:
    from engines.training.recipe import Optimisation, Recipe, Synthetic

    rate = variant.rate or options.rate
    return Recipe(
        network=NETWORK,
        data=Synthetic(scenes=1200, frames=5, validation_scenes=60),
        loss=variant.loss,  # type: ignore[arg-type]
        terms=dict(variant.terms or {}),
        frozen=() if variant.model in ("", "hrnet.HRNet") else ("hrnet",),
        optimisation=Optimisation(name="adamw", rate=rate, weight_decay=1e-4, schedule="one-cycle", clip=5.0, ema=0.98),
        batch=options.batch,
        sigma=1.5,
        seed=seed,
        head_init="single-frame" if variant.model.startswith(("fami", "tdmi")) else "random",
    )


def _data(variant: Variant, seed: int, options: argparse.Namespace, data: Any) -> tuple[Any, Any]:
    """Make as many windows as the steps need, the same for every variant of a seed; and the validator."""
    from dataclasses import replace

    import numpy as np
    from rich.console import Console

    from engines.hub import catalogue
    from engines.training.batches import WindowSamples
    from engines.training.clip_cache import load_or_render
    from engines.training.synthetic_samples import TrackSettings
    from engines.training.task import progress_bar
    from engines.training.validation import SyntheticValidator, render_validation_tracks

    size = catalogue.find_network(NETWORK)[1].input_size
    settings = TrackSettings(size=size, frames=data.frames, moments=data.moments, fps=data.fps)
    tracks = load_or_render(range(data.first_scene, data.first_scene + data.scenes), settings, 2, lambda: None)
    with progress_bar(Console(quiet=True)) as bar:
        tests = render_validation_tracks(data, size, data.frames, 2, bar)
    rows = np.random.default_rng([seed, 0x7E4]).permutation(len(tracks))[: options.steps * options.batch]
    chosen = replace(tracks, pictures=tracks.pictures[rows], joints=tracks.joints[rows], sizes=tracks.sizes[rows])
    shown = variant.shown or variant.window
    return WindowSamples(chosen, shown), SyntheticValidator(tests, shown)


def _skip_alignment(window: Any, key: int) -> tuple[Any, list[Any]]:
    from engines.models.temporal import neighbours

    (z,) = window
    return z[:, key], neighbours(z, key)


def _train(model: Any, samples: Any, recipe: Any) -> Any:
    import tempfile

    import numpy as np
    from msgspec.structs import replace

    from engines.training.head_init import init_from_single_frame
    from engines.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        if recipe.head_init == "single-frame":
            crops = samples.batch(np.arange(recipe.batch), None, np.random.default_rng(0)).crops
            init_from_single_frame(recipe.network, model, crops)
        trainer = Trainer(replace(recipe, epochs=1), model, samples, Path(folder))
        trainer.run(lambda *_: None)
        return trainer.result


def _scores(model: Any, validator: Any, recipe: Any) -> dict[str, dict[str, float]]:
    from engines.training.objective import Objective

    scores: dict[str, dict[str, float]] = validator(Objective.from_recipe(recipe, model)).values["pck"]
    return scores


# -- the table ---------------------------------------------------------------------------------------------------------


def _rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Means over the seeds, and how far each is from the control on the same seed."""
    control = {row["seed"]: row for row in rows if row["variant"] == "control"}
    lines = [
        _head(options),
        "",
        "| network | window | seeds | " + " | ".join(KINDS) + " | mean | against control |",
        "|---|---|---|" + "---|" * len(KINDS) + "---|---|",
    ]
    for name, variant in VARIANTS.items():
        if own := [row for row in rows if row["variant"] == name]:
            lines.append(_line(variant, own, control))
    return "\n".join(lines)


def _head(options: argparse.Namespace) -> str:
    steps, batch = options.steps, options.batch
    return (
        f"`python -m benchmarks.temporal --write`, {steps} steps of {batch} windows, on {platform.machine()} "
        "without a GPU: PCK@0.1 in %, visible joints (hidden ones in brackets), means over seeds, and the "
        "difference of each seed from the control of the same seed."
    )


def _line(variant: Variant, rows: list[dict[str, Any]], control: dict[int, dict[str, Any]]) -> str:
    cells = [
        f"{100 * mean(row['pck'][kind]['visible@0.1'] for row in rows):.1f} "
        f"({100 * mean(row['pck'][kind]['hidden@0.1'] for row in rows):.1f})"
        for kind in KINDS
    ]
    gains = [100 * (_mean(row) - _mean(control[row["seed"]])) for row in rows if row["seed"] in control]
    spread = f" ± {stdev(gains):.2f}" if len(gains) > 1 else ""
    gain = f"{mean(gains):+.2f}{spread}" if gains else ""
    window = "[" + ", ".join(map(str, variant.shown or variant.window)) + "]"
    score = f"{100 * mean(map(_mean, rows)):.2f}"
    return f"| {variant.label} | {window} | {len(rows)} | " + " | ".join([*cells, score, gain]) + " |"


def _mean(row: dict[str, Any]) -> float:
    """Over the conditions, visible joints."""
    return mean(row["pck"][kind]["visible@0.1"] for kind in KINDS)


if __name__ == "__main__":
    sys.exit(main())
