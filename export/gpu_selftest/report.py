"""The report to send us: Markdown with the same results as JSON, without names of user, host or folders."""

from __future__ import annotations

import getpass
import math
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from engines.errors import EngineError
from export.gpu_selftest.chain import Outcome
from export.gpu_selftest.results import Result

FORMAT = 1
_PATH = re.compile(
    r"(?<![\w/:.…])(?:~(?:/[\w.+@~-]+)*|(?:/[\w.+@~-]+)+)/([\w.+@~-]+)"
    r"|(?<!\w)[A-Za-z]:\\(?:[^\\\s:'\"]+\\)+([^\\\s:'\"]+)"
)
"""An absolute path of two names or more, of Unix or of Windows, of which only the last name is kept."""
_MIN_LETTERS = 3
"""Shortest name of a user or host that is removed: shorter ones occur within other words."""

RATES = ("export", "backend", "way", "batch", "latency_ms", "people_s")
KERNELS = ("layer", "batch", "ours_ms", "plain_ms")


def write_report(outcome: Outcome, path: Path) -> None:
    """Write the report to ``path``: JSON alone if that ends in ``.json``. Raises :class:`EngineError`."""
    data = to_json(outcome)
    try:
        path.write_text(data if path.suffix == ".json" else to_markdown(outcome, data), encoding="utf-8")
    except OSError as error:
        raise EngineError(f"--report {path}: {error.strerror}; give a file in an existing folder") from error


def to_json(outcome: Outcome) -> str:
    """All results, every text in them anonymised."""
    data = {
        "format": FORMAT,
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "interrupted": outcome.interrupted,
        "steps": [msgspec.to_builtins(result) for result in outcome.results],
    }
    return msgspec.json.format(msgspec.json.encode(_anonymise_all(_replace_non_finite(data))), indent=2).decode() + "\n"


def to_markdown(outcome: Outcome, data: str) -> str:
    """Tables, then ``data``, the JSON."""
    lines = ["# posestream doctor --gpu", "", summarise(outcome), "", *_make_step_table(outcome.results)]
    for columns in (KERNELS, RATES):
        if rows := find_rows(outcome, columns):
            lines += ["", *_make_table(columns, ([str(row[name]) for name in columns] for row in rows))]
    return "\n".join([*lines, "", "```json", data.rstrip(), "```", ""])


def summarise(outcome: Outcome) -> str:
    """How many steps passed, failed and did not run, in one line."""
    counts = (
        f"{outcome.count(state)} {words}"
        for state, words in (("ok", "passed"), ("failed", "failed"), ("not run", "not run"))
    )
    return f"{len(outcome.results)} steps: {', '.join(counts)}{'; interrupted' if outcome.interrupted else ''}"


def find_rows(outcome: Outcome, columns: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of all steps that measured something with these columns."""
    rows = (row for result in outcome.results for row in result.figures.get("rows", ()))
    return [row for row in rows if row.keys() == set(columns)]


def _make_step_table(results: Iterable[Result]) -> list[str]:
    rows = (
        [r.title, r.state, anonymise("; ".join(filter(None, (r.message, r.remedy)))), f"{r.seconds:.1f}"]
        for r in results
    )
    return _make_table(("step", "state", "what", "s"), rows)


def _make_table(columns: Iterable[str], rows: Iterable[list[str]]) -> list[str]:
    head = [*columns]
    listed = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in listed]


def anonymise(text: str) -> str:
    """``text`` without folders, except the last name of a path, and without the names of user and host."""
    text = _PATH.sub(lambda found: f"…/{found[1] or found[2]}", text.replace(str(Path.home()), "~"))
    for name in _find_names():
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


def _find_names() -> list[str]:
    host = platform.node()
    try:
        names = [host, host.partition(".")[0], getpass.getuser()]
    except (KeyError, OSError):  # a user without a name
        names = [host, host.partition(".")[0]]
    return [name for name in dict.fromkeys(names) if len(name) >= _MIN_LETTERS]


def _anonymise_all(data: Any) -> Any:
    if isinstance(data, str):
        return anonymise(data)
    if isinstance(data, dict):
        return {anonymise(str(key)): _anonymise_all(value) for key, value in data.items()}
    return [_anonymise_all(value) for value in data] if isinstance(data, list | tuple) else data


def _replace_non_finite(data: Any) -> Any:
    """``data`` with infinities and NaN as text, since JSON has none."""
    if isinstance(data, float) and not math.isfinite(data):
        return str(data)
    if isinstance(data, dict):
        return {key: _replace_non_finite(value) for key, value in data.items()}
    return [_replace_non_finite(value) for value in data] if isinstance(data, list | tuple) else data
