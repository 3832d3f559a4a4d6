"""``posestream eval model``: runs a network on a data set and scores it with the metric of the data set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from stream import wording
from stream.cli import evaluate_pictures
from stream.cli.completion import complete_models, complete_skeletons

if TYPE_CHECKING:
    from engines.datasets.config import Dataset
    from engines.evaluation.dataset import Evaluation, EvaluationSet
    from engines.evaluation.scores import Columns, Scores
    from engines.inference.engine import Engine

DataSet = Literal[
    "posetrack17", "posetrack18", "posetrack21", "jhmdb", "coco", "crowdpose", "ochuman", "hieve", "folder"
]

_SPLIT = (
    "The part of the data: the name of a split, 1 to 3 for jhmdb, clips separated by commas for hieve, the JSON "
    "file for folder. val (OCHuman: test; jhmdb: 1; hieve: all) without it."
)


def model(
    model: Annotated[
        str,
        typer.Argument(
            help="A network: a name that 'posestream models' lists, an .onnx, or an export's folder.",
            show_default=False,
            autocompletion=complete_models,
        ),
    ],
    data: Annotated[
        DataSet | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="posetrack17, posetrack18, posetrack21, jhmdb, coco, crowdpose, ochuman, hieve or folder.",
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Folder of the data set; see docs/how-to/datasets.md.", show_default=False),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="A training recipe instead of --data: its data set, border and detections."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help=_SPLIT, show_default=False)] = "",
    skeleton: Annotated[
        str,
        typer.Option(
            "--skeleton",
            help="The skeleton of --data folder; coco17 without it.",
            show_default=False,
            autocompletion=complete_skeletons,
        ),
    ] = "",
    detections: Annotated[
        Path | None, typer.Option("--detections", help="A detector's boxes (JSON) instead of the true ones.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option("--min-score", min=0, help="Boxes below are left out. 0.2 on PoseTrack, 0 elsewhere without it."),
    ] = None,
    border: Annotated[
        Literal["key-frame", "fami-released"] | None,
        typer.Option("--border", help="What replaces frames before the first; key-frame, or the recipe's."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="The first N clips or pictures only.")] = None,
    backend: Annotated[str, typer.Option("--backend", help="What runs the network, as in pose.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of the network.")] = 1,
    crop: Annotated[
        Literal["exact", "lock", "auto"] | None,
        typer.Option("--crop", help="How people are cropped, as in pose; exact, as in the papers, without it."),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option("--scales", help="Whole pictures: sizes to run each in, such as 1,0.75,0.5 of the input."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="A folder for PoseTrack's or COCO's result files.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON, for programs.")] = False,
) -> None:
    """Run a network on a data set and score it: PoseTrack's AP, COCO's, CrowdPose's, or PCK.

    It runs as in a line: the same crops, windows, decoding and backends. Papers report scores with the boxes of a
    detector; true boxes, the default, score higher. An export of InsPose gets no boxes: it finds people itself.

    Examples:

        posestream eval model fami-w48-384x288-fp32 --data posetrack17 --root ~/posetrack17

        posestream eval model trial --recipe configs/training/fami-posetrack17.yaml --root ~/posetrack17 --limit 3

        posestream eval model rtmpose-s --data coco --root ~/coco --detections boxes.json --results found

        posestream eval model inspose-r50-fp32 --data coco --root ~/coco --scales 1,0.75,0.5
    """
    from engines.evaluation.results import check_writable, write
    from engines.hub.fetching import fetch_missing
    from engines.hub.lookup import find_model
    from engines.inference.engine import load
    from engines.inference.single_stage import takes_pictures
    from stream.errors import PropertyError
    from stream.logs import is_quiet

    if takes_pictures(model):
        odd = {"--detections": detections, "--min-score": min_score, "--border": border, "--crop": crop}
        evaluate_pictures.check_options(model, odd)
        source = find_source(data, root, recipe, split=split, skeleton=skeleton, border=None)
        if results:
            check_writable(results)
        evaluation, account = evaluate_pictures.evaluate(
            model, source, backend, threads, scales=scales or "1", limit=limit
        )
    else:
        if scales is not None:
            raise PropertyError(f"eval model: --scales {scales} is for networks of whole pictures; leave it out")
        find_model(model, "pose")  # or a network of another kind would be fetched first
        fetch_missing([model], quiet=is_quiet())
        engine = load(model, backend, threads, crop=crop or "exact")
        source = find_source(data, root, recipe, split=split, skeleton=skeleton, border=border)
        evaluation, account = _evaluate_crops(engine, source, detections, min_score, limit, results)
    files = [str(write(results, name, content)) for name, content in evaluation.files.items()] if results else []
    account = {**account, "files": files}
    print(json.dumps(without_nan(account), indent=2) if as_json else _in_words(account))


def find_source(
    data: DataSet | None, root: Path | None, recipe: Path | None, *, split: str, skeleton: str, border: str | None
) -> Dataset:
    """The data set that the options describe. Raises :class:`PropertyError` where they do not go together."""
    import msgspec

    from stream.errors import PropertyError

    if (data is None) == (recipe is None):
        raise PropertyError("eval model: no data set; give either --data NAME --root FOLDER, or --recipe FILE")
    if recipe is not None:
        found = _of_recipe(recipe, root, split)
    elif root is None:
        raise PropertyError(
            f"eval model: no folder for {data}; give --root FOLDER; docs/how-to/datasets.md shows its layout"
        )
    else:
        found = _of_name(data, root, split, skeleton)
    return msgspec.structs.replace(found, border=border) if border else found


def _of_name(data: DataSet | None, root: Path, split: str, skeleton: str) -> Dataset:
    from engines.datasets.config import configure
    from stream.errors import PropertyError

    if skeleton and data != "folder":
        raise PropertyError(f"eval model: --skeleton {skeleton} is for --data folder; {data} has one of its own")
    return configure(data, root, split, skeleton or "coco17")  # type: ignore[arg-type]


def _of_recipe(recipe: Path, root: Path | None, split: str) -> Dataset:
    import msgspec

    from engines.training.recipe import Synthetic, read_recipe
    from stream.errors import PropertyError

    found = read_recipe(recipe).data
    if isinstance(found, Synthetic):
        raise PropertyError(
            f"eval model: recipe {recipe} trains on synthetic people, which are not a data set; give --data and --root"
        )
    if split:
        raise PropertyError(f"eval model: --split {split} goes with --data; recipe {recipe} has its own split")
    return msgspec.structs.replace(found, root=str(root)) if root else found


def _evaluate_crops(
    engine: Engine,
    source: Dataset,
    detections: Path | None,
    min_score: float | None,
    limit: int | None,
    results: Path | None,
) -> tuple[Evaluation, dict[str, Any]]:
    from engines.evaluation import dataset
    from engines.evaluation.results import check_writable

    people = dataset.select_people(source, engine.signature.skeleton, detections, min_score, limit)
    if results:
        check_writable(results)
    with engine:
        evaluation = _evaluate(engine, source, people)
    return evaluation, _account(engine, source, people, evaluation.scores)


def _evaluate(engine: Engine, source: Dataset, people: EvaluationSet) -> Evaluation:
    from engines.evaluation import dataset
    from engines.evaluation.prediction import list_frames, predict_keypoints
    from stream.cli.progress import progress_bar

    with progress_bar("frames", len(list_frames(people.instances))) as done:
        predictions = predict_keypoints(engine, people.instances, source.border, done)
    return dataset.evaluate(source, people, predictions, engine.signature)


# -- output -----------------------------------------------------------------------------------------------------------


def _account(engine: Engine, source: Dataset, people: EvaluationSet, scores: Scores) -> dict[str, Any]:
    from engines.evaluation import dataset

    return {
        "model": engine.signature.name,
        "fingerprint": engine.fingerprint,
        "backend": engine.choice.name,
        "data": dataset.dataset_name(source),
        "root": str(source.folder),
        "boxes": "detected" if people.detected else "true",
        "clips": len(people.truth),
        "frames": sum(len(clip.frames) for clip in people.truth),
        "people": len(people.instances),
        "measure": scores.metric,
        "mean": scores.mean,
        "scores": {name: dict(columns) for name, columns in scores.tables.items()},
        "notes": dataset.list_notes(source, people, engine.signature.skeleton),
    }


def _in_words(account: Mapping[str, Any]) -> str:
    scores: Mapping[str, Columns] = account["scores"]
    margin = max(map(len, scores))
    blocks = [
        _headline(account),
        *("\n".join(_rows(table, margin)) for table in group_by_columns(scores)),
        "\n".join(f"{name}: {columns['Mean']:.2f}" for name, columns in scores.items() if len(columns) == 1),
        "\n".join(f"note: {note}" for note in account["notes"]),
        _written(account["files"]),
    ]
    return "\n\n".join(block for block in blocks if block)


def _headline(account: Mapping[str, Any]) -> str:
    frames, clips = account["frames"], account["clips"]
    where = wording.count(frames, "frame") + ("" if frames == clips else f" of {wording.count(clips, 'clip')}")
    people = wording.count(account["people"], "person", "people")
    people += " found" if account["boxes"] == "no" else f" in {account['boxes']} boxes"
    what = f"{account['model']} by {account['backend']} on {account['data']} ({account['root']})"
    return f"{what}: {people}, {where}; percent"


def _written(files: Sequence[str]) -> str:
    others = f" and {len(files) - 1} more" if files[1:] else ""
    return f"results: {files[0]}{others}" if files else ""


def group_by_columns(scores: Mapping[str, Columns]) -> list[dict[str, Columns]]:
    """Lines of the same columns together; not those of a single number."""
    tables: dict[tuple[str, ...], dict[str, Columns]] = {}
    for name, columns in scores.items():
        if len(columns) > 1:
            tables.setdefault(tuple(columns), {})[name] = columns
    return list(tables.values())


def _rows(table: Mapping[str, Columns], margin: int) -> Iterable[str]:
    names = list(next(iter(table.values())))
    yield "  ".join([" " * margin, *(f"{name:>9}" for name in names)])
    for title, columns in table.items():
        yield "  ".join([f"{title:<{margin}}", *(cell(columns[name]) for name in names)])


def cell(number: float) -> str:
    """A percentage in a table; a dash where there is none.

    >>> cell(86.094), cell(float("nan"))
    ('    86.09', '        –')
    """
    return f"{'–':>9}" if isnan(number) else f"{number:9.2f}"


def without_nan(value: Any) -> Any:
    """``value`` with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value
