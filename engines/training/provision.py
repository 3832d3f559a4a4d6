"""What a recipe's data are: samples to learn from and an exam, drawn or read."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engines.datasets.rows import rows_of
from engines.datasets.sources import Labelled, PoseTrack
from engines.evaluation.verdicts import alpha_of
from engines.networks import NetworkSpec
from engines.training.clipexam import PckExam, PoseTrackExam
from engines.training.clipsamples import ClipSamples, View
from engines.training.judging import DrawnExam, Exam, film_tests
from engines.training.recipe import Synthetic
from engines.training.samples import Samples, WindowSamples
from engines.training.tracks import Filming, Tracks, film, joined


def provide(data: Synthetic | Labelled, spec: NetworkSpec, workers: int, console: Console) -> tuple[Samples, Exam]:
    """What a network of ``spec`` learns from and what it is judged by. Raises :class:`EngineError` naming what is
    missing or broken in a data set."""
    if isinstance(data, Synthetic):
        frames = 2 * max(spec.past, spec.future) + 1
        tracks = _draw(data, spec, frames, workers, console)
        tests = film_tests(data, spec.input_size, frames, workers)
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


def _draw(data: Synthetic, spec: NetworkSpec, frames: int, workers: int, console: Console) -> Tracks:
    filming = Filming(size=spec.input_size, frames=frames, moments=data.moments, fps=data.fps)
    seeds = np.arange(data.first_scene, data.first_scene + data.scenes).tolist()
    with progress(console) as bar:
        task = bar.add_task("drawing people", total=len(seeds))
        parts = []
        for part in film(seeds, filming, workers):
            parts.append(part)
            bar.advance(task)
    return joined(parts)


def progress(console: Console) -> Progress:
    """A bar with a count and the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)
