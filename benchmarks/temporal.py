"""Benefit of the window: the single frame against temporal networks on one frozen backbone, with one budget.

    python -m benchmarks.temporal --only control fami --seeds 0 --steps 50      # a part, for a look
    python -m benchmarks.temporal --workers 1                                   # Ctrl-C stops it, and it continues
    python -m benchmarks.temporal --only --write                                # writes what has been finished

Every variant has the HRNet of ``hrnet-small`` that ships, frozen or learning at a tenth of the rate, gets the same
windows of the same synthetic people in an order given by its seed, takes the same number of steps, and begins as that
single frame (``engines.training.head_init``; PoseWarper begins as the mean of its frames). All are evaluated on the
same held-out people (:mod:`benchmarks.temporal_people`). Results are stored in --out, a file for each training of so
many steps. Trainings of the results that are written are not repeated, so that what one night leaves out another
continues.

``control`` is the baseline: FAMI-Pose with the key frame in place of its neighbours. It has the same parameters and
steps as ``fami`` and differs only in the neighbours. ``backbone`` is the single frame that ships, ``single`` the same
trained further, without freezing, for as many steps.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.reporting import RESULTS, make_parser, write_results

NETWORK = "hrnet-small-128x96"
VISIBLE_SETS = ("easy", "blurred", "occluded", "crossing", "10 a second", "5 a second", "fast")
HIDDEN_SETS = ("easy", "blurred", "occluded", "crossing")
UNKNOWN_SETS = ("hidden", "streaked")


@dataclass(frozen=True)
class Variant:
    """``model`` in ``engines.models`` with its ``options``, over ``window``; ``shown`` instead of it where given.

    ``loss`` is cross-entropy for networks whose last layer is a softmax.
    """

    label: str
    model: str = ""
    window: tuple[int, ...] = (0,)
    options: dict[str, Any] | None = None
    terms: dict[str, float] | None = None
    shown: tuple[int, ...] | None = None
    loss: str = "cross-entropy"
    aligns: bool = True
    rate: float | None = None
    start: str = "single-frame"
    backbone: float | None = None
    """The factor of its backbone's rate; None where the backbone is frozen."""


FAMI: dict[str, Any] = {"model": "fami.FAMIPose", "window": (-1, 0, 1), "options": {"frames": [-1, 0, 1]}}
TDMI: dict[str, Any] = {"model": "tdmi.TDMI", "window": (-1, 0, 1), "options": {"frames": [-1, 0, 1]}}
TDMI_ST = TDMI | {"options": {"frames": [-1, 0, 1], "spatiotemporal": True}}
FIVE = (-2, -1, 0, 1, 2)

VARIANTS: dict[str, Variant] = {
    "backbone": Variant("HRNet that ships"),
    "control": Variant("FAMI-Pose shown the key frame three times", **FAMI, shown=(0, 0, 0)),
    "fami": Variant("FAMI-Pose", **FAMI),
    "tdmi": Variant("TDMI", **TDMI),
    "fasrnet": Variant("FaSRnet", "fasrnet.FaSRnet", (-1, 0, 1), {}, {"feature_level": 0.4}, loss="heatmap"),
    "imapose": Variant("IMAPose", "imapose.IMAPose", (-1, 0, 1), {"radius": 1}),
    "tdmi-st": Variant("TDMI-ST", **TDMI_ST),
    "dcpose": Variant("DCPose", "dcpose.DCPose", (-1, 0, 1), {"channels": 16}, loss="heatmap"),
    "fami-no-alignment": Variant("FAMI-Pose without alignment", **FAMI, aligns=False),
    "fami-causal": Variant("FAMI-Pose, past only", "fami.FAMIPose", (-1, 0), {"frames": [-1, 0]}),
    "fami-five": Variant("FAMI-Pose, five frames", "fami.FAMIPose", FIVE, {"frames": list(FIVE)}),
    "fami-mi": Variant("FAMI-Pose with mutual information", **FAMI, terms={"mutual_information": 0.1}),
    "tdmi-mi": Variant("TDMI with mutual information", **TDMI, terms={"mutual_information": 1.0}),
    "single": Variant("HRNet that ships, trained on", "hrnet.HRNet", rate=1e-3, start="random"),
    "posewarper": Variant(
        "PoseWarper", "posewarper.PoseWarper", FIVE, {"channels": 16, "blocks": 2}, loss="heatmap", start="random"
    ),
}
LEARNING = ("control", "fami", "tdmi", "tdmi-st", "imapose", "fasrnet", "dcpose", "posewarper")
VARIANTS |= {
    f"{name}-learning": replace(VARIANTS[name], label=f"{VARIANTS[name].label}, backbone learning", backbone=0.1)
    for name in LEARNING
}


def main() -> int:
    """Train what is missing, print the table, and write it with ``--write``."""
    options = _options()
    if options.run:
        _run(options.run[0], int(options.run[1]), options)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    done = {(row["variant"], row["seed"]) for row in _rows(options)}
    missing = [job for job in _jobs(options) if job not in done]
    with ThreadPoolExecutor(options.workers) as pool:
        failed = sum(pool.map(lambda job: _spawn(job[0], job[1], options), missing))
    rows = _rows(options)
    text = table(rows, options)
    print(text)
    if options.write:
        write_results("temporal", rows, text)
    return failed


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/temporal"))
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=64, help="that each takes")
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


def _file(options: argparse.Namespace, name: str, seed: int) -> Path:
    out: Path = options.out
    return out / f"{name}-{seed}-{options.steps}.json"


def _spawn(name: str, seed: int, options: argparse.Namespace) -> bool:
    """In a process of its own, with one thread: small networks gain little by two."""
    words = ["--out", options.out, "--steps", options.steps, "--rate", options.rate, "--batch", options.batch]
    command = [sys.executable, "-m", "benchmarks.temporal", "--run", name, str(seed), *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(command, check=False, env=environment).returncode != 0


# -- one training ------------------------------------------------------------------------------------------------------


def _run(name: str, seed: int, options: argparse.Namespace) -> None:
    import time

    import torch

    from benchmarks.temporal_people import training_tracks

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    variant = VARIANTS[name]
    recipe = make_recipe(variant, seed, options)
    model = build_network(variant)
    start_s = time.process_time()
    folder = _file(options, name, seed).with_suffix("")
    if variant.model:
        tracks = training_tracks(seed, options.steps * options.batch, input_size())
        model = train(model, variant, recipe, tracks, folder)
    row = {
        "variant": name,
        "seed": seed,
        "steps": options.steps,
        "batch": options.batch,
        "rate": recipe.optimisation.rate,
        "cpu_s": round(time.process_time() - start_s),
        "counts": _score(model, variant, recipe),
    }
    _file(options, name, seed).write_text(json.dumps(row) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{name}, seed {seed}: {row['cpu_s']} s of CPU, {100 * _pck(row, VISIBLE_SETS[:4], 'visible'):.2f}", flush=True
    )


def build_network(variant: Variant) -> Any:
    """The network of ``variant`` on the HRNet that ships."""
    from benchmarks.shipped_weights import load_shipped
    from engines.hub import catalogue
    from engines.spec import network
    from engines.spec.network import NetworkSpec

    _, base = catalogue.find_network(NETWORK)
    spec = NetworkSpec(
        model=variant.model or base.model,
        hrnet=base.hrnet,
        input_size=base.input_size,
        window=variant.window,
        skeleton=base.skeleton,
        options=variant.options or {},
    )
    model = network.build(NETWORK, spec)
    load_shipped(model if spec.model == base.model else model.get_submodule("hrnet"))
    if not variant.aligns:
        model.align = lambda window: _skip_alignment(window, model.key)
    return model


def make_recipe(variant: Variant, seed: int, options: argparse.Namespace, horizon: int = 0) -> Any:
    """The recipe of one training; ``options`` have its ``rate`` and ``batch``."""
    from engines.training.recipe import Optimisation, Recipe, Synthetic

    rate = variant.rate or options.rate
    return Recipe(
        network=NETWORK,
        data=Synthetic(frames=5),
        loss=variant.loss,  # type: ignore[arg-type]
        terms=dict(variant.terms or {}),
        frozen=() if variant.backbone or variant.model in ("", "hrnet.HRNet") else ("hrnet",),
        optimisation=Optimisation(
            name="adamw",
            rate=rate,
            weight_decay=1e-4,
            schedule="one-cycle",
            clip=5.0,
            ema=0.98,
            factors={"hrnet": variant.backbone} if variant.backbone else {},
        ),
        epochs=1,
        batch=options.batch,
        sigma=1.5,
        seed=seed,
        horizon=horizon,
        head_init=variant.start,  # type: ignore[arg-type]
    )


def _skip_alignment(window: Any, key: int) -> tuple[Any, list[Any]]:
    from engines.models.temporal import neighbours

    (z,) = window
    return z[:, key], neighbours(z, key)


def train(model: Any, variant: Variant, recipe: Any, tracks: Any, folder: Path) -> Any:
    """Train ``model`` on ``tracks``, or continue in ``folder``; returns the moving average."""
    import numpy as np

    from engines.training.batches import WindowSamples
    from engines.training.head_init import init_from_single_frame
    from engines.training.trainer import Trainer

    samples = WindowSamples(tracks, variant.shown or variant.window, recipe.horizon)
    if recipe.head_init == "single-frame":
        crops = samples.batch(np.arange(0, len(samples), max(1, len(samples) // recipe.batch)), None, _rng()).crops
        init_from_single_frame(recipe.network, model, crops)
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, model, samples, folder)
    trainer.resume()
    trainer.run(lambda *_: None)
    return trainer.result


def input_size() -> tuple[int, int]:
    """(width, height) px of a crop."""
    from engines.hub import catalogue

    return catalogue.find_network(NETWORK)[1].input_size


def _rng() -> Any:
    import numpy as np

    return np.random.default_rng(0)


def _score(model: Any, variant: Variant, recipe: Any) -> dict[str, Any]:
    from benchmarks.temporal_people import SETS, count_joints, held_out_tracks
    from engines.training.objective import Objective

    objective = Objective.from_recipe(recipe, model)
    shown = variant.shown or variant.window
    return {
        name: count_joints(objective, held_out_tracks(name, input_size()), shown, one.conditions)
        for name, one in SETS.items()
    }


# -- the table ---------------------------------------------------------------------------------------------------------


def _rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What has been measured with so many steps of so many windows: what was written, and what is in --out."""
    written = RESULTS / "temporal.json"
    rows = json.loads(written.read_text()) if written.is_file() else []
    rows += [json.loads(file.read_text()) for file in sorted(options.out.glob("*.json"))]
    chosen = [row for row in rows if (row["steps"], row["batch"]) == (options.steps, options.batch)]
    order = list(VARIANTS)
    return sorted(
        {(row["variant"], row["seed"]): row for row in chosen}.values(),
        key=lambda row: (order.index(row["variant"]), row["seed"]),
    )


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Means over the seeds, and how far each is from the control on the same seed."""
    controls = {(row["variant"], row["seed"]): row for row in rows if row["variant"].startswith("control")}
    named = [(label, [row for row in rows if row["variant"] == name]) for name, label in _labels()]
    present = [(label, own) for label, own in named if own]
    return "\n".join(
        [
            _head(options),
            "",
            *_table("visible joints", VISIBLE_SETS, "visible", present, controls),
            "",
            *_table("hidden joints", HIDDEN_SETS, "hidden", present, controls),
            "",
            *_table("joints that one frame cannot know", UNKNOWN_SETS, "unknown", present, controls),
        ]
    )


def _labels() -> list[tuple[str, str]]:
    return [(name, f"{one.label} | {_window(one)}") for name, one in VARIANTS.items()]


def _window(variant: Variant) -> str:
    return "[" + ", ".join(map(str, variant.shown or variant.window)) + "]"


def _head(options: argparse.Namespace) -> str:
    return (
        f"`python -m benchmarks.temporal --steps {options.steps} --write`, {options.steps} steps of {options.batch} "
        f"windows, on {platform.machine()} without a GPU: PCK@0.1 in %, means over seeds, and the difference of each "
        "seed from the control of the same seed and kind of backbone."
    )


def _table(
    title: str, sets: tuple[str, ...], joints: str, present: list[tuple[str, list[Any]]], controls: dict[Any, Any]
) -> list[str]:
    lines = [
        f"| {title} | window | seeds | " + " | ".join(sets) + " | mean | against control |",
        "|---|---|---|" + "---|" * len(sets) + "---|---|",
    ]
    for label, rows in present:
        cells = [f"{100 * mean(_pck(row, (one,), joints) for row in rows):.1f}" for one in sets]
        own = [100 * _pck(row, sets, joints) for row in rows]
        pairs = [(_control(row["variant"]), row["seed"]) for row in rows]
        gains = [
            score - 100 * _pck(controls[pair], sets, joints)
            for score, pair in zip(own, pairs, strict=True)
            if pair in controls
        ]
        spread = f" ± {stdev(gains):.2f}" if len(gains) > 1 else ""
        gain = f"{mean(gains):+.2f}{spread}" if gains else ""
        lines.append(f"| {label} | {len(rows)} | " + " | ".join([*cells, f"{mean(own):.2f}", gain]) + " |")
    return lines


def _control(variant: str) -> str:
    return "control-learning" if VARIANTS[variant].backbone else "control"


def _pck(row: dict[str, Any], sets: tuple[str, ...], joints: str) -> float:
    """The mean over ``sets`` of PCK@0.1."""
    return mean(row["counts"][one][joints]["0.1"] / row["counts"][one][joints]["joints"] for one in sets)


if __name__ == "__main__":
    sys.exit(main())
