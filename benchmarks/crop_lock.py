"""Cost and savings of a locked crop: ``pose crop=lock`` for several margins.

    python -m benchmarks.crop_lock --shared ../shared --write

The savings are counted on the boxes of ``detect ! track``, on clips and on synthetic people: runs of the backbone per
person and key frame, of which the papers need T. The cost is measured with single-frame networks that are cropped as a
temporal one would be, since no trained temporal network is available: the distance of keypoints from the ground truth
of synthetic people (``hrnet-small``), and from the references of two clips (Ultralight SimplePose), which are another
network's output. ``widened`` crops are wider by the whole margin, so that no enlarged box leaves them: the alternative
way to lock a crop. The clips, the detector and SimplePose are not part of the project; ``--shared`` is their folder.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.real_people import CLIPS, references
from engines.inference.crop_lock import Anchor, CropLock, CropPolicy, ExactCrop
from engines.inference.engine import Engine, PersonWindows, load
from engines.inference.regions import Region, box_to_region
from engines.spec.signature import Signature, write_signature
from stream.messages import Window
from stream.pipeline.launch import parse_launch

RESULTS = Path(__file__).parent / "results" / "crop_lock.md"
MARGINS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
LOSSES = (0.05, 0.1, 0.15, 0.2, 0.3)
SPANS = ((1, 1), (2, 2), (3, 3))
"""Past and future: windows of 3, 5 and 7 frames, the papers'."""
MOVING = ("felix_exercise.avi", "intel_one_by_one.mp4", "pose2sim_multi_cam01.mp4", "sam2_juggle.mp4", "ta_sample2.mp4")
DRAWN = "testsrc num_frames=240 people=3 seed={seed}"
MOST = 400
"""Key frames of one film; all of them are held in memory."""

CROP = Signature(name="any", input_size=(192, 256))


@dataclass(frozen=True)
class Film:
    """The key frames of one line: ``true`` (F, K, 2) px of its only person, where there is a reference."""

    name: str
    windows: Sequence[Window]
    true: NDArray[np.float64] | None = None


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="the folder with data/clips, annot and models")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    films = list(load_films(options.shared / "data"))
    lines = [
        *runs_table(films),
        "",
        *errors_table(films, options.shared / "data/models/ultralight_nano_simplepose.onnx"),
    ]
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join([f"# Crop lock\n\n{(__doc__ or '').strip()}\n", *lines, ""]))


def load_films(data: Path) -> Iterator[Film]:
    """Yield synthetic people, clips in which people move, and two clips with references."""
    for seed in range(3):
        yield Film(f"drawn people, {seed}", run_line(f"{DRAWN.format(seed=seed)} ! detect ! track ! window"))
    for name in (*MOVING, *(f"{clip}.mp4" for clip in CLIPS)):
        line = f"filesrc location={data / 'clips' / name} ! detect model={data / 'models/yolox_nano.onnx'}"
        windows = run_line(f"{line} ! track ! window")
        annotation = CLIPS.get(Path(name).stem)
        yield Film(name, windows, references(data / "annot/tfjs" / annotation) if annotation else None)


def run_line(line: str) -> list[Window]:
    """Run a line that ends in ``window``."""
    return list(islice(parse_launch(line).run(), MOST))


# -- savings ---------------------------------------------------------------------------------------------------------
# ----------------------------------------------------------------------------------------------------


def runs_table(films: Sequence[Film]) -> Iterator[str]:
    """A table of backbone runs per person and key frame, by margin."""
    yield "Runs of the backbone for a person and key frame; windows of 3 / 5 / 7 frames:\n"
    yield row("boxes", "people x frames", *(f"margin {margin:g}" for margin in MARGINS))
    yield row(*["---"] * (len(MARGINS) + 2))
    for film in films:
        people = sum(len(window.people.ids) for window in film.windows)
        yield row(film.name, str(people), *(format_runs(film, margin, people) for margin in MARGINS))


def format_runs(film: Film, margin: float, people: int) -> str:
    return " / ".join(f"{count_runs(film.windows, margin, *span) / people:.2f}" for span in SPANS)


def count_runs(windows: Sequence[Window], margin: float, past: int, future: int) -> int:
    """Count the frames of people that differ in person, time or crop."""
    lock = CropLock(margin, patience=past + 1 + future)
    last = windows[-1].key[1]
    seen: set[tuple[int, int]] = set()
    for window in windows:
        for _, anchor in get_anchors(window, lock, CROP):
            around = range(window.key[1] - past, window.key[1] + future + 1)
            seen.update((anchor, min(max(seq, 0), last)) for seq in around)
    return len(seen)


def get_anchors(window: Window, crops: CropPolicy, signature: Signature) -> Iterator[tuple[Region, int]]:
    """Yield the crop of every person in a window, and its number."""
    crops.start_frame(*window.key, window.key_frame.size)
    for box, identity in zip(window.people.boxes, window.people.ids, strict=True):
        anchor = crops.get_anchor(window.key[0], int(identity), box_to_region(signature, box))
        yield anchor.region, anchor.number


# -- errors ----------------------------------------------------------------------------------------------------------
# ------------------------------------------------------------------------------------------------------


def errors_table(films: Sequence[Film], simplepose: Path) -> Iterator[str]:
    """A table: how far keypoints are off, by margin."""
    yield "How far keypoints lie from the truth: median in per mille of the longer side of the box, and PCK@0.1:\n"
    margins = [f"{margin:g}{widened}" for widened in ("", ", widened") for margin in LOSSES]
    yield row("people", "network", "exact", *margins)
    yield row(*["---"] * (len(margins) + 3))
    with (
        tempfile.TemporaryDirectory() as folder,
        load("hrnet-small") as small,
        load(with_signature(simplepose, Path(folder))) as other,
    ):
        for film in films:
            engine, name = (other, "SimplePose") if film.true is not None else (small, "hrnet-small")
            if film.name not in MOVING:
                yield row(film.name, name, *(format_errors(engine, film, crops) for crops in all_crops()))


def with_signature(model: Path, folder: Path) -> str:
    """A copy of a network beside the Signature that its author's code implies."""
    path = folder / "simplepose.onnx"
    shutil.copy(model, path)
    write_signature(Signature(name="simplepose", input_size=(192, 256)), path.with_suffix(".json"))
    return str(path)


def all_crops() -> Iterator[CropPolicy]:
    yield ExactCrop()
    yield from (CropLock(margin, patience=5) for margin in LOSSES)
    yield from (Widened(margin, patience=5) for margin in LOSSES)


class Widened(CropLock):
    """Locks crops for as long, but makes them wider by the whole margin."""

    def get_anchor(self, camera: str, identity: int, wanted: Region) -> Anchor:
        anchor = super().get_anchor(camera, identity, wanted)
        return Anchor(anchor.region.widen(1 + self.margin), anchor.number)


def format_errors(engine: Engine, film: Film, crops: CropPolicy) -> str:
    errors = np.concatenate([compute_errors(engine, film, at, crops) for at in range(len(film.windows))])
    return f"{1000 * np.median(errors):.1f}, {100 * (errors <= 0.1).mean():.1f} %"


def compute_errors(engine: Engine, film: Film, at: int, crops: CropPolicy) -> NDArray[np.float64]:
    """The errors of all visible joints, as a fraction of the person's box."""
    window = film.windows[at]
    boxes = [region_to_box(region, engine.signature) for region, _ in get_anchors(window, crops, engine.signature)]
    request = PersonWindows(
        (window.key_frame.pixels,), (window.key,), np.array(boxes, np.float32).reshape(-1, 4), window.people.ids
    )
    (found,) = engine.estimate([request])
    true, seen = find_truth(film, at)
    sides = (window.people.boxes[:, 2:] - window.people.boxes[:, :2]).max(1)
    distances = np.linalg.norm(found[..., :2] - true, axis=2) / sides[:, None]
    return np.asarray(distances[seen], np.float64)


def find_truth(film: Film, at: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(N, K, 2) px in the order of the window's people, and which joints count."""
    window = film.windows[at]
    if film.true is not None:
        true = film.true[at][None].repeat(len(window.people.ids), axis=0)
        return true, np.ones(true.shape[:2], np.bool_)
    truth = window.key_frame.truth
    assert truth is not None
    places = [int(np.abs(truth.boxes - box).sum(1).argmin()) for box in window.people.boxes]
    return truth.keypoints[places, :, :2].astype(np.float64), truth.keypoints[places, :, 2] == 2


def region_to_box(region: Region, signature: Signature) -> NDArray[np.float64]:
    """The box (4,) px from which the Signature's rule makes this region."""
    x1, y1, x2, y2 = region.corners
    shrunk = (1 - 1 / signature.enlarge) / 2
    inset = np.array([x2 - x1, y2 - y1]) * shrunk
    return np.array([x1 + inset[0], y1 + inset[1], x2 - inset[0], y2 - inset[1]])


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
