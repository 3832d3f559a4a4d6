"""``posestream models``: the networks on this machine, those that can be downloaded, and those of the papers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from engines.hub.catalogue import Kind
    from engines.spec.network import NetworkSpec, ReportedScore

RUNNING = """Networks that run: 'pose model=NAME', 'detect model=NAME'; NAME may be the path
of a file (.onnx, .xml, .tflite)
  here    no: 'posestream pull NAME' downloads it; 'posestream pull people' gets
          the pair for real people"""
PAPERS = """Networks of the papers: engines.create(NAME) builds one in PyTorch
  M       million parameters
  GMAC    10^9 multiply-accumulates for a person and frame, with the features of
          other frames reused; in brackets: without. InsPose: for a picture
  frames  those it reads; 0 is the one that it answers for
  weights published for all of it or for its backbone, and how to get them:
          'posestream pull', or by hand"""
_WIDE = 100
"""From this many columns on, the look-ahead and the paper's own result have a column each."""


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, for programs.")] = False,
) -> None:
    """List the networks with a name: those that run, and those of the papers with their costs and results.

    Examples:

        posestream models

        posestream models --json
    """
    if as_json:
        return print(json.dumps([*_running(), *_papers()], indent=2))
    return _print_tables()


def _print_tables() -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for title, table in ((RUNNING, _running_table()), (PAPERS, _papers_table(is_wide=console.width >= _WIDE))):
        console.print(title, style="dim", markup=False, soft_wrap=True)
        console.print(table)
        console.print()


# -- networks that run ------------------------------------------------------------------------------------------------


def _running() -> list[dict[str, Any]]:
    from engines.hub import catalogue

    kinds: tuple[Kind, ...] = ("pose", "detector", "single-stage")
    shipped = [
        {"name": name, "for": "pose", "here": True, "licence": "Apache-2.0", "title": title}
        for name, title in catalogue.SHIPPED.items()
    ]
    return [*shipped, *(_describe(name, kind) for kind in kinds for name in catalogue.list_names(kind))]


def _describe(name: str, kind: Kind) -> dict[str, Any]:
    from engines.hub.lookup import find_model

    model = find_model(name, kind)
    licence, title = (model.entry.licence, model.entry.title) if model.entry else ("", "")
    element = {"pose": "pose", "detector": "detect"}.get(kind, "posedetect")
    return {"name": name, "for": element, "here": model.path.is_file(), "licence": licence, "title": title}


def _running_table() -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("name", "for", "here"):
        table.add_column(title, no_wrap=True)
    table.add_column("what it is; licence")
    for row in _running():
        what = f"{row['title']}; {row['licence']}" if row["licence"] else row["title"]
        table.add_row(row["name"], row["for"], "yes" if row["here"] else "no", what)
    return table


# -- networks of the papers -------------------------------------------------------------------------------------------


def _papers() -> list[dict[str, Any]]:
    from engines.hub import catalogue

    return [_paper(name, catalogue.find_network(name)[1]) for name in catalogue.list_names("network")]


def _paper(name: str, spec: NetworkSpec) -> dict[str, Any]:
    import msgspec

    return {
        "name": name,
        "for": "training and export",
        "paper": spec.paper,
        "input_size": list(spec.input_size),
        "window": list(spec.window),
        "lookahead_frames": spec.future,
        "parameters": spec.cost.parameters if spec.cost else None,
        "gmac": spec.gmac,
        "gmac_without_reuse": spec.window_gmac,
        "reported": msgspec.to_builtins(spec.reported),
        "weights": [{**msgspec.to_builtins(file, enc_hook=str), "here": _is_here(file)} for file in spec.checkpoints],
    }


def _is_here(checkpoint: Any) -> bool:
    from engines.hub import catalogue

    return catalogue.checkpoint_path(checkpoint).is_file()


def _papers_table(*, is_wide: bool) -> Table:
    from rich.table import Table

    from engines.hub import catalogue

    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for title in ("M", "GMAC", "frames", *(["ahead"] if is_wide else [])):
        table.add_column(title, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("the paper's")
    table.add_column("weights", no_wrap=True)
    for name in catalogue.list_names("network"):
        table.add_row(*_cells(name, catalogue.find_network(name)[1], is_wide=is_wide))
    return table


def _cells(name: str, spec: NetworkSpec, *, is_wide: bool) -> tuple[str, ...]:
    first, last = spec.window[0], spec.window[-1]
    frames = f"{first}..{last}" if first != last else "0"
    reported = _reported(spec.reported[0]) if spec.reported else ""
    more = (str(spec.future), reported) if is_wide else ()
    return name, _millions(spec), _gmac(spec), frames, *more, _weights(spec)


def _millions(spec: NetworkSpec) -> str:
    return f"{spec.cost.parameters / 1e6:.1f}" if spec.cost else "?"


def _gmac(spec: NetworkSpec) -> str:
    if spec.gmac is None or spec.window_gmac is None:
        return "?"
    without = f" ({spec.window_gmac:.1f})" if len(spec.window) > 1 else ""
    return f"{spec.gmac:.1f}{without}"


def _reported(result: ReportedScore) -> str:
    return f"{result.value} {result.metric} {result.benchmark.replace('PoseTrack20', 'PT')} ({result.table})"


def _weights(spec: NetworkSpec) -> str:
    if not spec.checkpoints:
        return "to be trained"
    part = "backbone" if spec.checkpoints[0].into else "all"
    return f"{part}: {'pull' if any(checkpoint.url for checkpoint in spec.checkpoints) else 'by hand'}"
