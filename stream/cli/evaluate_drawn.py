"""``posestream eval drawn``: scores a network on synthetic people, which need no data set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream.cli.completion import complete_models

if TYPE_CHECKING:
    from engines.evaluation.synthetic import SyntheticScores


def drawn(
    model: Annotated[
        str,
        typer.Argument(
            help="A network: a name that 'posestream models' lists, an .onnx, or an export's folder.",
            show_default=False,
            autocompletion=complete_models,
        ),
    ],
    scenes: Annotated[int, typer.Option("--scenes", min=1, max=99_999, help="Scenes of each condition.")] = 100,
    backend: Annotated[str, typer.Option("--backend", help="What runs the network, as in pose.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of the network.")] = 1,
    lookahead: Annotated[
        int | None,
        typer.Option("--lookahead", min=0, help="Frames after the key frame that are shown, as in pose."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON, for programs.")] = False,
) -> None:
    """Score a network on synthetic people it was not trained on: easy, blurred, occluded, crossing.

    It runs as in a line, in true boxes. It needs no data set; 'posestream train' validates on the same people.

    Examples:

        posestream eval drawn fami-small

        posestream eval drawn hrnet-small --scenes 20 --json
    """
    from engines.datasets.synthetic.conditions import CONDITIONS
    from engines.evaluation.synthetic import evaluate_synthetic
    from engines.inference.engine import load
    from stream.cli.progress import progress_bar

    with (
        load(model, backend, threads, crop="exact") as engine,
        progress_bar("scenes", len(CONDITIONS) * scenes) as done,
    ):
        score = evaluate_synthetic(engine, scenes, done, lookahead)
        title = f"pose {engine.signature.name} by {engine.choice}"
    print(json.dumps(_numbers(score), indent=2) if as_json else _table(title, score))


def _numbers(score: SyntheticScores) -> dict[str, Any]:
    from engines.metrics import ALPHAS, HIDDEN, VISIBLE

    names = {VISIBLE: "visible", HIDDEN: "hidden"}
    kinds = {
        kind: {f"{names[seen]}@{alpha}": score.pck(kind, alpha, seen) for alpha in ALPHAS for seen in names}
        for kind in score.counts
    }
    return {"people": score.people, "pck": kinds}


def _table(title: str, score: SyntheticScores) -> str:
    from engines.metrics import ALPHAS, HIDDEN

    head = [*(f"PCK@{alpha}" for alpha in sorted(ALPHAS, reverse=True)), "hidden@0.1"]
    rows = {kind: [*(score.pck(kind, alpha) for alpha in sorted(ALPHAS, reverse=True))] for kind in score.counts}
    hidden = {kind: score.pck(kind, 0.1, HIDDEN) for kind in score.counts}
    lines = [f"{title}: {score.people} synthetic people in true boxes, visible joints; percent", ""]
    lines.append(" " * 10 + "".join(f"{name:>12}" for name in head))
    for kind, row in rows.items():
        lines.append(f"{kind:10}" + "".join(f"{100 * value:12.1f}" for value in [*row, hidden[kind]]))
    means = [*(score.mean(alpha) for alpha in sorted(ALPHAS, reverse=True)), score.mean(0.1, HIDDEN)]
    lines.append(f"{'mean':10}" + "".join(f"{100 * value:12.1f}" for value in means))
    return "\n".join(lines)
