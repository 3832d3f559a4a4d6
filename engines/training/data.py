"""What a recipe's data are: samples to learn from and an exam, drawn or read."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress

from engines.datasets.rows import rows_of
from engines.datasets.sources import Labelled, PoseTrack
from engines.errors import EngineError
from engines.evaluation.scores import alpha_of
from engines.spec.network import NetworkSpec
from engines.training.batches import Samples, WindowSamples
from engines.training.clip_cache import filmed
from engines.training.dataset_samples import ClipSamples, View
from engines.training.dataset_validation import PckExam, PoseTrackExam
from engines.training.progress import progress
from engines.training.recipe import Synthetic
from engines.training.synthetic_samples import Filming, Tracks
from engines.training.synthetic_validation import DrawnExam, Exam, film_tests


def provide(data: Synthetic | Labelled, spec: NetworkSpec, workers: int, console: Console) -> tuple[Samples, Exam]:
    """What a network of ``spec`` learns from and what it is judged by. Raises :class:`EngineError` naming what is
    missing or broken in a data set."""
    if isinstance(data, Synthetic):
        frames = _frames(data, spec)
        with progress(console) as bar:
            tracks = _draw(data, spec, frames, workers, bar)
            tests = film_tests(data, spec.input_size, frames, workers, bar)
        asked = {kind: test.as_skeleton(spec.skeleton) for kind, test in tests.items()}
        return WindowSamples(tracks.as_skeleton(spec.skeleton), spec.window), DrawnExam(asked, spec.window)
    samples = _read(data, spec, workers)
    exam = _exam(data, samples.view, workers)
    console.print(f"{data.folder}: {len(samples)} people to learn from", soft_wrap=True)
    return samples, exam


def _read(data: Labelled, spec: NetworkSpec, workers: int) -> ClipSamples:
    view = View(spec.input_size, spec.window, spec.skeleton, data.border)
    return ClipSamples(rows_of(data.training(), spec.skeleton), view, workers)


def _exam(data: Labelled, view: View, workers: int) -> Exam:
    if isinstance(data, PoseTrack):
        truth = data.truth()
        rows = rows_of(data.shown(truth), view.skeleton, annotated=not data.detections)
        return PoseTrackExam(ClipSamples(rows, view, workers), truth)
    samples = ClipSamples(rows_of(data.truth(), view.skeleton), view, workers)
    return PckExam(samples, alpha_of(data))


def _frames(data: Synthetic, spec: NetworkSpec) -> int:
    """How many are filmed about each moment. Raises :class:`EngineError` where the network's window spans more."""
    least = 2 * max(spec.past, spec.future) + 1
    if data.frames is not None and data.frames < least:
        raise EngineError(
            f"recipe: data.frames={data.frames} are filmed about each moment, and the network's window "
            f"{list(spec.window)} needs {least}; say {least}, or leave frames out"
        )
    return data.frames or least


def _draw(data: Synthetic, spec: NetworkSpec, frames: int, workers: int, bar: Progress) -> Tracks:
    filming = Filming(size=spec.input_size, frames=frames, moments=data.moments, fps=data.fps)
    seeds = range(data.first_scene, data.first_scene + data.scenes)
    task = bar.add_task("drawing people", total=data.scenes)
    tracks = filmed(seeds, filming, workers, lambda: bar.advance(task))
    bar.update(task, completed=data.scenes)  # also where they had been drawn before
    return tracks
