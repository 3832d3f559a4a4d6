"""The part of ``posestream eval model`` for networks of whole pictures: they find people themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engines.datasets.config import Dataset
    from engines.evaluation.dataset import Evaluation
    from engines.inference.single_stage import PictureEngine


def parse_scales(text: str) -> tuple[float, ...]:
    """Numbers separated by commas. Raises :class:`PropertyError` for anything else.

    >>> parse_scales("1,0.75")
    (1.0, 0.75)
    """
    from stream.errors import PropertyError

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise PropertyError(
            f"eval model: --scales {text} is not a list of numbers; give shares of the network's input, such as "
            "1,0.75,0.5"
        ) from None


def check_options(model: str, given: Mapping[str, object]) -> None:
    """Raise :class:`PropertyError` if an option is given that is only for networks of crops."""
    from stream.errors import PropertyError

    if odd := [name for name, value in given.items() if value is not None]:
        raise PropertyError(
            f"eval model: {odd[0]} is for networks of crops, but {model} finds people in whole pictures; leave it out"
        )


def evaluate(
    model: str, source: Dataset, backend: str, threads: int, *, scales: str, limit: int | None
) -> tuple[Evaluation, dict[str, Any]]:
    """The scores, and the account of the run that is printed."""
    from engines.evaluation.dataset import dataset_name
    from engines.evaluation.whole_pictures import evaluate_pictures, select_pictures
    from engines.inference.single_stage import load_picture_engine

    engine = load_picture_engine(model, backend, threads, scales=parse_scales(scales))
    clips = select_pictures(source, limit)
    with engine:
        device = engine.device
        found = list(_find(engine, clips))
    skeleton = engine.signature.skeleton
    evaluation = evaluate_pictures(source, clips, found, skeleton, limited=limit is not None)
    sizes = engine.signature.input_size
    notes = [
        f"no boxes are given; pictures are fitted into {sizes[0]}x{sizes[1]} px"
        + (f" at scales {', '.join(f'{scale:g}' for scale in engine.scales)}" if len(engine.scales) > 1 else ""),
        f"only the first clips or pictures are evaluated: {len(clips)}" if limit is not None else "",
    ]
    return evaluation, {
        "model": engine.signature.name,
        "fingerprint": engine.fingerprint,
        "backend": device,
        "data": dataset_name(source),
        "root": str(source.folder),
        "boxes": "no",
        "clips": len(clips),
        "frames": len(found),
        "people": sum(len(people.scores) for people in found),
        "measure": evaluation.scores.metric,
        "mean": evaluation.scores.mean,
        "scores": {name: dict(columns) for name, columns in evaluation.scores.tables.items()},
        "notes": [note for note in notes if note],
    }


def _find(engine: PictureEngine, clips: Any) -> Any:
    from engines.datasets.pictures import read_pictures
    from engines.evaluation.whole_pictures import list_frames
    from stream.cli.progress import progress_bar

    frames = list_frames(clips)
    with progress_bar("frames", len(frames)) as done:
        for clip, frame in frames:
            yield from engine.estimate(read_pictures([clip.pictures[frame.number]]))
            done()
