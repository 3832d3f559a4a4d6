"""Networks trained for now, which give the keypoints of a later frame, against forecasts of a single frame's.

    python -m benchmarks.now --only fami --horizons 3 --seeds 0     # a part, for a look
    python -m benchmarks.now                                        # Ctrl-C stops it, and it continues
    python -m benchmarks.now --only --write                         # writes what has been finished

Cameras have 30 frames a second; the horizons are 0 to 3 frames, which is 0, 33, 67 and 100 ms. All networks have the
HRNet of ``hrnet-small`` that ships, frozen, begin as that single frame, take the same number of steps of the same
windows, and are trained for their horizon (``horizon`` of a recipe), each anew. ``predict`` is the forecaster of the
line, over eleven frames of the single frame's keypoints, or of those of a network trained for horizon 0. People and
sets are those of :mod:`benchmarks.now_people`. Keypoints are decoded by DARK, as those of the exports that ship.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.reporting import RESULTS, describe_machine, make_parser, write_results
from benchmarks.temporal import Variant, build_network, input_size, make_recipe, train

HORIZONS = (0, 1, 2, 3)
FORECAST = "{} + predict"
"""The name of the rows of a network whose keypoints are forecast."""

VARIANTS: dict[str, Variant] = {
    "single": Variant("single frame"),
    "fami": Variant("FAMI-Pose, past only", "fami.FAMIPose", (-1, 0), {"frames": [-1, 0]}),
    "fami-three": Variant("FAMI-Pose, past only", "fami.FAMIPose", (-2, -1, 0), {"frames": [-2, -1, 0]}),
    "tdmi": Variant("TDMI, past only", "tdmi.TDMI", (-2, -1, 0), {"frames": [-2, -1, 0]}),
    "key": Variant("FAMI-Pose shown the key frame twice", "fami.FAMIPose", (-1, 0), {"frames": [-1, 0]}, shown=(0, 0)),
}
FORECASTED = ("single", "fami")
"""Whose keypoints at horizon 0 are also forecast; the others' cost too much."""
ALPHAS = (0.05, 0.1, 0.2)


def main() -> int:
    """Train what is missing, print the tables, and write them with ``--write``."""
    options = _options()
    if options.run:
        _run(options.run[0], int(options.run[1]), int(options.run[2]), options)
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    done = {(row["variant"], row["horizon"], row["seed"]) for row in _rows(options)}
    failed = sum(_spawn(job, options) for job in _jobs(options) if job not in done)
    rows = _rows(options)
    text = table(rows, options)
    print(text)
    if options.write:
        write_results("now", rows, text)
    return failed


def _options() -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/now"))
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--horizons", nargs="+", type=int, choices=HORIZONS, default=list(HORIZONS), metavar="FRAMES")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=64, help="that each takes")
    parser.add_argument("--batch", type=int, default=16, help="windows a step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def _jobs(options: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """Variant, horizon and seed of each run; the single frame is not trained and has one."""
    if "single" in options.only:
        yield "single", 0, 0
    trained = [name for name in options.only if name != "single"]
    yield from product(trained, options.horizons, options.seeds)


def _spawn(job: tuple[str, int, int], options: argparse.Namespace) -> bool:
    """In a process of its own, with one thread."""
    words = ["--out", options.out, "--steps", options.steps, "--rate", options.rate, "--batch", options.batch]
    command = [sys.executable, "-m", "benchmarks.now", "--run", *map(str, job), *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(command, check=False, env=environment).returncode != 0


# -- one run -----------------------------------------------------------------------------------------------------------


def _run(name: str, horizon: int, seed: int, options: argparse.Namespace) -> None:
    import torch

    from benchmarks.now_people import SETS, training_tracks
    from engines.training.objective import Objective

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    variant, start_s = VARIANTS[name], time.process_time()
    recipe, model = make_recipe(variant, seed, options, horizon), build_network(variant)
    file = options.out / f"{name}-{horizon}-{seed}-{options.steps}.json"
    if variant.model:
        tracks = training_tracks(seed, options.steps * options.batch, input_size())
        model = train(model, variant, recipe, tracks, file.with_suffix(""))
    objective = Objective.from_recipe(recipe, model)
    scored = {one: _score(name, horizon, one, objective) for one in SETS}
    common = {"seed": seed, "steps": options.steps, "batch": options.batch, "rate": recipe.optimisation.rate}
    common["cpu_s"] = round(time.process_time() - start_s)
    rows = [
        {
            "variant": row,
            "horizon": ahead,
            **common,
            "counts": {one: counts[row, ahead] for one, counts in scored.items()},
        }
        for row, ahead in next(iter(scored.values()))
    ]
    file.write_text(json.dumps(rows) + "\n")
    shutil.rmtree(file.with_suffix(""), ignore_errors=True)
    print(f"{name}, {horizon} frames, seed {seed}: {common['cpu_s']} s of CPU", flush=True)


def _score(name: str, horizon: int, one: str, objective: Any) -> dict[tuple[str, int], dict[str, float]]:
    """The counts of a set by row and horizon."""
    from benchmarks.now_people import held_out_tracks

    tracks = held_out_tracks(one, input_size())
    window = VARIANTS[name].shown or VARIANTS[name].window
    is_forecast = name in FORECASTED and horizon == 0
    seen = [_find(objective, tracks, window, frame) for frame in ([*range(tracks.frames)] if is_forecast else [-1])]
    found = {(name, horizon): seen[-1][..., :2]}
    if is_forecast:
        found |= {(FORECAST.format(name), ahead): _forecast(seen, tracks.sizes, ahead) for ahead in HORIZONS[1:]}
    if name == "single":
        found |= {(name, ahead): seen[-1][..., :2] for ahead in HORIZONS[1:]}
    return {key: _count(points, tracks, key[1]) for key, points in found.items()}


def _find(objective: Any, tracks: Any, window: tuple[int, ...], frame: int) -> Any:
    """The network's keypoints (S, 17, 3) of one frame of the tracks, px of the key frame's crop, and their scores."""
    import numpy as np

    from engines.training.batches import normalise
    from engines.training.validation import predict
    from engines.vision import heatmaps

    found = []
    for start in range(0, len(tracks), 32):
        crops = tracks.crops[start : start + 32, frame][:, [offset - 1 for offset in window]]
        points, scores = predict(objective, normalise(crops), heatmaps.decode_dark)
        affines = tracks.affines[start : start + 32, frame]
        points = np.einsum("sij,skj->ski", affines[..., :2], points) + affines[:, None, :, 2]
        found.append(np.concatenate([points, np.clip(scores, 0, 1)[..., None]], -1))
    return np.concatenate(found)


def _forecast(seen: list[Any], sizes: Any, ahead: int) -> Any:
    """Where the forecaster of the line expects the joints so many frames after the last one, (S, 17, 2)."""
    import numpy as np

    from benchmarks.now_people import FPS
    from engines.forecasting.forecaster import Forecaster
    from engines.skeletons import SKELETONS

    forecaster, ids = Forecaster(SKELETONS["coco17"].limbs), np.arange(len(sizes))
    for frame, keypoints in enumerate(seen):
        forecasts = forecaster.step(ids, keypoints, sizes[:, frame], frame / FPS, ahead / FPS)
    return forecasts[..., :2]


def _count(points: Any, tracks: Any, ahead: int) -> dict[str, float]:
    """Joints that are visible so many frames after the key frame, those within each alpha of the longer side of the
    key frame's box, and the sum of all distances, as shares of it."""
    import numpy as np

    from engines.metrics import VISIBLE

    truth = tracks.joints[:, ahead]
    visible = truth[..., 2] == VISIBLE
    off = (np.linalg.norm(points - truth[..., :2], axis=-1) / tracks.sizes[:, -1:])[visible]
    return {"joints": len(off), "sum": float(off.sum()), **{str(alpha): int((off <= alpha).sum()) for alpha in ALPHAS}}


# -- the tables --------------------------------------------------------------------------------------------------------


def _rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What has been measured with so many steps of so many windows: what was written, and what is in --out."""
    written = RESULTS / "now.json"
    rows = json.loads(written.read_text()) if written.is_file() else []
    rows += [row for file in sorted(options.out.glob("*.json")) for row in json.loads(file.read_text())]
    chosen = [row for row in rows if (row["steps"], row["batch"]) == (options.steps, options.batch)]
    unique = {(row["horizon"], _order(row["variant"]), row["seed"]): row for row in chosen}
    return [unique[key] for key in sorted(unique)]


def _order(name: str) -> tuple[int, bool]:
    """A variant, then what is forecast from it."""
    own = name.removesuffix(FORECAST.format(""))
    return list(VARIANTS).index(own), own != name


def table(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Means over seeds, and how far each is from the single frame with ``predict``."""
    head = (
        f"`python -m benchmarks.now --steps {options.steps} --write`, {options.steps} steps of {options.batch} "
        f"windows, on {describe_machine()}. Visible joints so many ms after the key frame; the last column is the "
        "difference of the mean from the single frame with `predict`, mean and standard deviation over seeds."
    )
    return "\n".join(
        [
            head,
            "",
            *_table("PCK@0.05, %", lambda one: 100 * one["0.05"] / one["joints"], rows),
            "",
            *_table("PCK@0.1, %", lambda one: 100 * one["0.1"] / one["joints"], rows),
            "",
            *_table("mean error, % of the person's size", lambda one: 100 * one["sum"] / one["joints"], rows),
        ]
    )


def _table(title: str, measure: Callable[[dict[str, float]], float], rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    sets = list(rows[0]["counts"])
    lines = [
        f"| ms | {title} | window | seeds | {' | '.join(sets)} | mean | against `predict` |",
        "|---" * (len(sets) + 6) + "|",
    ]
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["horizon"], row["variant"]), []).append(row)
    for (horizon, name), own in groups.items():
        rival = groups.get((horizon, FORECAST.format("single"))) or groups.get((horizon, "single"))
        means = [mean(measure(one) for one in row["counts"].values()) for row in own]
        cells = [f"{mean(measure(row['counts'][one]) for row in own):.1f}" for one in sets]
        gain = _describe_gain(means, mean(measure(one) for one in rival[0]["counts"].values())) if rival else ""
        cells = [*cells, f"{mean(means):.2f}", gain]
        lines.append(f"| {1000 * horizon / 30:.0f} | {_label(name)} | {len(own)} | {' | '.join(cells)} |")
    return lines


def _describe_gain(means: list[float], rival: float) -> str:
    spread = f" ± {stdev(means):.2f}" if len(means) > 1 else ""
    return f"{mean(means) - rival:+.2f}{spread}"


def _label(name: str) -> str:
    own = name.removesuffix(FORECAST.format(""))
    variant = VARIANTS[own]
    way = f"{variant.label} + `predict`" if own != name else variant.label + (", held" if own == "single" else "")
    return f"{way} | [{', '.join(map(str, variant.shown or variant.window))}]"


if __name__ == "__main__":
    sys.exit(main())
