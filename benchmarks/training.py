"""Speed of rendering and training, and bit-for-bit repeatability of a training.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.training --write

*Drawn*: scenes of the small recipes, rendered by one process; a sample is a person over five frames. *Trained*: steps
of the small recipes as in ``posestream train``, from batches to the moving mean, with random weights, in float32 and
bfloat16 (autocast), with the default memory layout and with channels last, which training uses on a CPU. The variants
take turns, a few steps each; figures are medians of CPU time of one thread, which excludes other load. Last, two
trainings of one seed and an interrupted one are compared bit by bit: weights, moving mean and losses. A difference is
an error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import msgspec
import torch

from engines.datasets.synthetic.conditions import CONDITIONS, Kind
from engines.hub import catalogue
from engines.spec import network
from engines.spec.network import NetworkSpec
from engines.training.batches import WindowSamples
from engines.training.recipe import Recipe, Synthetic, read_recipe
from engines.training.synthetic_samples import Tracks, TrackSettings, concatenate, render_scene, render_scenes
from engines.training.trainer import Trainer

RESULTS = Path(__file__).parent / "results" / "training.md"
RECIPES = Path(__file__).parents[1] / "configs" / "training"
NAMES = ("hrnet-small-synthetic", "fami-small-synthetic")
LAYOUTS = {"as usual": torch.contiguous_format, "channels last": torch.channels_last}
BATCH = 16
STEPS_PER_TURN = 3
"""The first of each turn is left out: a batch more than in others is made in it."""

Row = dict[str, Any]


def main() -> int:
    """Measure what the command line names; 1 where a training could not be repeated."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=4, help="of each condition")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} and {RESULTS.stem}.json too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = os.getloadavg()[0]
    drawn = list(time_rendering(options.scenes))
    tracks = trim_to_batches(concatenate(list(render_scenes(range(100_000, 100_000 + 3), track_settings(NAMES[0]), 1))))
    trained = [row for name in NAMES for row in trainings(name, tracks, options.turns)]
    facts = check_repeatability(tracks)
    found = {
        "machine": machine(),
        "load": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
        "drawn": drawn,
        "trained": trained,
        "promises": facts,
    }
    text = page(found)
    print(text)
    if options.write:
        RESULTS.write_text(text)
        RESULTS.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    return 0 if all(facts.values()) else 1


# -- drawing ----------------------------------------------------------------------------------------------------------


def track_settings(name: str, kind: Kind | None = None) -> TrackSettings:
    """As the recipe of that name films."""
    recipe, spec = load_recipe(name)
    assert isinstance(recipe.data, Synthetic)
    return TrackSettings(size=spec.input_size, moments=recipe.data.moments, fps=recipe.data.fps, kind=kind)


def time_rendering(scenes: int) -> Iterator[Row]:
    """Samples a second of each of the conditions, and of any as training draws them; the median over scenes."""
    conditions: list[Kind | None] = [None, *CONDITIONS]
    speeds: dict[Kind | None, list[float]] = {kind: [] for kind in conditions}
    for number, kind in product(range(scenes), conditions):
        start = time.process_time()
        tracks = render_scene(number, track_settings(NAMES[0], kind))
        speeds[kind].append(len(tracks) / (time.process_time() - start))
    for kind, taken in speeds.items():
        yield {"condition": kind or "as drawn for training", "samples_per_second": round(statistics.median(taken), 2)}


# -- training ---------------------------------------------------------------------------------------------------------


def load_recipe(name: str) -> tuple[Recipe, NetworkSpec]:
    """A recipe that ships, of random weights and more epochs than are run."""
    read = read_recipe(RECIPES / f"{name}.yaml")
    _, spec = catalogue.find_network(read.network)
    return msgspec.structs.replace(read, initial_weights=(), epochs=1000, batch=BATCH), spec


def trim_to_batches(tracks: Tracks) -> Tracks:
    """Trim the tracks to a multiple of the batch size."""
    count = len(tracks) // BATCH * BATCH
    assert count, f"{len(tracks)} people are fewer than a batch of {BATCH}; render more scenes"
    return Tracks(tracks.pictures[:count], tracks.joints[:count], tracks.sizes[:count])


def make_trainer(
    recipe: Recipe, spec: NetworkSpec, tracks: Tracks, folder: Path, layout: torch.memory_format | None = None
) -> Trainer:
    torch.manual_seed(recipe.seed)
    samples = WindowSamples(tracks.as_skeleton(spec.skeleton), spec.window)
    return Trainer(recipe, network.build(recipe.network, spec), samples, folder, memory_format=layout)


def trainings(name: str, tracks: Tracks, turns: int) -> Iterator[Row]:
    """A row for each precision and layout of a recipe."""
    recipe, spec = load_recipe(name)
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            (precision, layout): make_trainer(
                msgspec.structs.replace(recipe, precision=precision),
                spec,
                tracks,
                Path(folder) / f"{precision} {layout}",
                LAYOUTS[layout],
            )
            for precision, layout in product(("fp32", "bf16"), LAYOUTS)
        }
        speeds: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for turn, way in product(range(turns), ways):
            speeds[way] += run_turn(ways[way], (turn + 1) * STEPS_PER_TURN)[1:]
    for (precision, layout), taken in speeds.items():
        row = {"recipe": name, "precision": precision, "maps": layout}
        yield {**row, "samples_per_second": round(statistics.median(taken), 2)}


def run_turn(trainer: Trainer, until: int) -> list[float]:
    """Run to step ``until``; return the samples per second of each step."""
    ends = [time.process_time()]
    trainer.run(lambda *_: ends.append(time.process_time()), until=until)
    return [BATCH / (end - start) for start, end in pairwise(ends)]


# -- repeatability ----------------------------------------------------------------------------------------------------
# ---------------------------------------------------------------------------------------------------------


def check_repeatability(tracks: Tracks, steps: int = 4) -> dict[str, bool]:
    """Check that a training is repeatable and resumes exactly."""
    recipe, spec = load_recipe(NAMES[0])
    with tempfile.TemporaryDirectory() as folder:

        def losses(name: str, *ends: int) -> tuple[list[float], dict[str, torch.Tensor]]:
            values: list[float] = []
            for end in ends:
                trainer = make_trainer(recipe, spec, tracks, Path(folder) / name)
                trainer.resume()
                trainer.run(lambda _, terms: values.append(terms["total"]), until=end)
            assert trainer.ema is not None
            return values, {**trainer.model.state_dict(), **trainer.ema.state_dict()}

        first, second = losses("first", steps), losses("second", steps)
        resumed = losses("resumed", steps // 2, steps)
    return {
        "two runs with one seed agree to the last bit": same(first, second),
        "resume is exact": same(first, resumed),
    }


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Losses and tensors, bit by bit."""
    (losses, tensors), (others, their) = one, other
    return losses == others and all(torch.equal(value, their[name]) for name, value in tensors.items())


# -- the page ---------------------------------------------------------------------------------------------------------


def machine() -> Row:
    """Where it was measured."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
    }


def page(found: dict[str, Any]) -> str:
    """All of it, for people."""
    place, load = found["machine"], found["load"]
    where = f"{place['processor']}, {place['cores']} cores, Python {place['python']}"
    lines = [
        "# Training",
        "",
        (__doc__ or "").strip(),
        "",
        f"{where}, PyTorch {place['torch']}; load {load['before']} before, {load['after']} after.",
        "",
        "| drawn | samples a second |",
        "|---|---|",
        *(f"| {row['condition']} | {row['samples_per_second']:.1f} |" for row in found["drawn"]),
        "",
        f"| trained, batches of {BATCH} | precision | maps | samples a second |",
        "|---|---|---|---|",
        *(
            f"| {row['recipe']} | {row['precision']} | {row['maps']} | {row['samples_per_second']:.1f} |"
            for row in found["trained"]
        ),
        "",
        *(f"* {fact}: {'yes' if holds else '**no**'}" for fact, holds in found["promises"].items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
