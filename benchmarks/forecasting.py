"""Errors of forecasts on clips of real people, against holding and other ways; and the cost of one.

    python -m benchmarks.forecasting --shared ../shared            prints the tables
    python -m benchmarks.forecasting --shared ../shared --tune     those of the clips to which the prior was fitted

Keypoints are those of a public network on boxes of a public detector, with the tracker's ids. *seen* is the error
against what the network sees then, *annotated* against a reference: another network's keypoints, checked by eye, of the
squats and the yoga; labels by hand, which are visibly wrong in several frames, of the goalkeeper. In between frames,
both are interpolated.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from benchmarks.forecast_rivals import RIVALS, Floats, Hold
from benchmarks.real_people import CLIPS, references
from engines.forecasting.forecaster import Forecaster
from engines.skeletons import SKELETONS
from stream.messages import NO_ID, Poses
from stream.pipeline.executor import run_in_process
from stream.pipeline.launch import parse_launch

HORIZONS_MS = 33, 66, 100
GOALKEEPER = "annot/jhmdb_seq/Goal_Keeping_Tips_catch_f_cm_np1_fr_med_2.avi"
JUDGED = ("clips/felix_exercise.avi", "clips/tfjs_pose_squats.mp4", "clips/tfjs_pose_1.mp4", GOALKEEPER)
TUNED = (
    "clips/sam2_juggle.mp4", "clips/sam2_bedroom.mp4", "clips/pose2sim_multi_cam01.mp4",
    "clips/pose2sim_single_cam03.mp4", "clips/mmhuman3d_multi.mp4", "clips/mmhuman3d_single.mp4",
    "clips/sports2d_demo.mp4", "clips/intel_store_aisle.gif", "clips/intel_worker_zone.gif",
)  # fmt: skip
COCO_OF_JHMDB = {5: 4, 6: 3, 7: 8, 8: 7, 9: 12, 10: 11, 11: 6, 12: 5, 13: 10, 14: 9, 15: 14, 16: 13}
MIN_SCORE = 0.5


@dataclass(frozen=True)
class Clip:
    """``keypoints`` (T, P, K, 3) and ``sizes`` (T, P) of a clip's people, NaN where missing; ``truth`` (T, K, 2)."""

    name: str
    times_s: Floats
    keypoints: Floats
    sizes: Floats
    truth: Floats | None


class Ours(Hold):
    """The forecaster of ``predict``; it remembers the spreads of its last forecast."""

    def __init__(self) -> None:
        super().__init__()
        self._forecaster = Forecaster(SKELETONS["coco17"].limbs)
        self.spreads: Floats = np.zeros(0)

    def step(self, keypoints: Floats, sizes: Floats, time_s: float, horizon_s: float) -> Floats:
        here = np.flatnonzero(np.isfinite(sizes))
        found = np.full((*keypoints.shape[:2], 5), np.nan)
        found[here] = self._forecaster.step(here.astype(np.int64), keypoints[here], sizes[here], time_s, horizon_s)
        self.spreads = found[..., 4]
        return found[..., :2]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/clips, data/models, data/real")
    parser.add_argument("--tune", action="store_true", help="the clips to which the prior was fitted")
    options = parser.parse_args()
    data = options.shared / "data"
    warnings.simplefilter("ignore", RuntimeWarning)  # medians of people who are not there
    ways: dict[str, type[Hold]] = {**RIVALS, "predict": Ours}
    print(
        f"mean error, px\n{'clip':38} {'against':9} {'ms':>4} "
        + " ".join(f"{name:>11}" for name in ways)
        + "  coverage"
    )
    for file in TUNED if options.tune else JUDGED:
        clip = load(data, file)
        for horizon_ms in HORIZONS_MS:
            report(clip, horizon_ms, ways)
    for people in (1, 3, 10):
        print(f"{people} people: {1e6 * measure_cost(people):.0f} µs a frame, median")


def load(data: Path, file: str) -> Clip:
    """Run the line on a clip."""
    detector, network = data / "models/yolox_nano.onnx", data / "real/tinypose_256_192.onnx"
    line = f"filesrc location='{data / file}' ! detect model='{detector}' ! track ! window ! pose model='{network}'"
    items = [item for item in run_in_process(parse_launch(line).parts) if isinstance(item, Poses)]
    ids = sorted({int(one) for item in items for one in item.ids if one != NO_ID})
    keypoints, sizes = np.full((len(items), len(ids), 17, 3), np.nan), np.full((len(items), len(ids)), np.nan)
    for number, item in enumerate(items):
        for row, person in enumerate(item.ids.tolist()):
            if person != NO_ID:
                keypoints[number, ids.index(person)] = item.keypoints[row]
                sizes[number, ids.index(person)] = (item.boxes[row, 2:] - item.boxes[row, :2]).max()
    times_s = np.array([item.frame.pts_ns for item in items]) / 1e9
    return Clip(Path(file).stem, times_s, keypoints, sizes, load_truth(data, file))


def load_truth(data: Path, file: str) -> Floats | None:
    """The reference keypoints of a clip's one person, NaN for joints without."""
    if file == GOALKEEPER:
        labels = loadmat(data / "annot/jhmdb_seq/joint_positions.mat")["pos_img"].transpose(2, 1, 0)
        truth = np.full((len(labels), 17, 2), np.nan)
        truth[:, list(COCO_OF_JHMDB)] = labels[:, list(COCO_OF_JHMDB.values())]
        return truth
    name = CLIPS.get(Path(file).stem)
    return references(data / "annot/tfjs" / name) if name else None


def report(clip: Clip, horizon_ms: int, ways: dict[str, type[Hold]]) -> None:
    """A row for each kind of truth."""
    made = {name: list(run(way(), clip, horizon_ms / 1e3)) for name, way in ways.items()}
    forecasts = {name: np.array([one for one, _ in steps]) for name, steps in made.items()}
    spreads = np.array([spread for _, spread in made["predict"]])
    seen = np.where(clip.keypoints[..., 2:] > MIN_SCORE, clip.keypoints[..., :2], np.nan)
    truths = {"seen": seen} if clip.truth is None else {"seen": seen, "annotated": clip.truth[: len(seen), None]}
    for kind, truth in truths.items():
        wanted = interpolate(clip.times_s, truth, horizon_ms / 1e3)
        wanted = np.where(clip.keypoints[..., 2:] > MIN_SCORE, wanted, np.nan)
        off = {name: np.linalg.norm(one - wanted, axis=-1) for name, one in forecasts.items()}
        known = np.isfinite(sum(off.values()))
        inside = (off["predict"] <= spreads)[known].mean()
        errors = " ".join(f"{one[known].mean():11.2f}" for one in off.values())
        print(f"{clip.name:38.38} {kind:9} {horizon_ms:4} {errors}  {100 * inside:.0f} %", flush=True)


def run(way: Hold, clip: Clip, horizon_s: float) -> Iterator[tuple[Floats, Floats]]:
    """The forecast after each frame, (P, K, 2), and its spreads (P, K)."""
    for time_s, keypoints, sizes in zip(clip.times_s, clip.keypoints, clip.sizes, strict=True):
        yield way.step(keypoints, sizes, float(time_s), horizon_s), getattr(way, "spreads", np.zeros(0))


def interpolate(times_s: Floats, truth: Floats, horizon_s: float) -> Floats:
    """``truth`` (T, P, K, 2) at so long after each of its times; NaN after its end."""
    at = times_s + horizon_s
    before = np.clip(np.searchsorted(times_s, at, "right") - 1, 0, len(times_s) - 2)
    share = ((at - times_s[before]) / (times_s[before + 1] - times_s[before]))[:, None, None, None]
    between: NDArray[np.float64] = truth[before] * (1 - share) + truth[before + 1] * share
    between[at > times_s[-1]] = np.nan
    return between


def measure_cost(people: int, frames: int = 500) -> float:
    """The median time of a forecast, s."""
    made, rng = Forecaster(SKELETONS["coco17"].limbs), np.random.default_rng(0)
    at, took = rng.uniform(0, 400, (people, 17, 2)), []
    ids, sizes, scores = np.arange(people), np.full(people, 300.0), np.full((people, 17, 1), 0.8)
    for number in range(frames):
        moved = at + 3 * number + rng.normal(0, 1, at.shape)
        keypoints = np.concatenate([moved, scores], -1).astype(np.float32)
        start_s = time.perf_counter()
        made.step(ids, keypoints, sizes, number / 30, 0.05)
        took.append(time.perf_counter() - start_s)
    return float(np.median(took))


if __name__ == "__main__":
    main()
