"""The report to send us: Markdown for people, the same as JSON in it, and nothing that says who or where you are."""

from __future__ import annotations

import getpass
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
"""An absolute path of two names or more, of Unix or of Windows, of which the last is told."""
_SHORTEST = 3
"""Letters of a user's or a host's name that is looked for: shorter ones stand in other words."""

RATES = ("export", "backend", "way", "batch", "latency_ms", "people_s")
KERNELS = ("layer", "batch", "ours_ms", "plain_ms")


def write(outcome: Outcome, path: Path) -> None:
    """Write the report to ``path``: JSON alone where that ends in ``.json``. Raises :class:`EngineError`."""
    told = as_json(outcome)
    try:
        path.write_text(told if path.suffix == ".json" else as_markdown(outcome, told), encoding="utf-8")
    except OSError as error:
        raise EngineError(f"--report {path}: {error.strerror}; give a file in a folder that is there") from error


def as_json(outcome: Outcome) -> str:
    """All results. Every text in it has gone through :func:`anonymous`."""
    told = {
        "format": FORMAT,
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "interrupted": outcome.interrupted,
        "steps": [msgspec.to_builtins(result) for result in outcome.results],
    }
    return msgspec.json.format(msgspec.json.encode(_cleaned(_finite(told))), indent=2).decode() + "\n"


def as_markdown(outcome: Outcome, told: str) -> str:
    """Tables, then ``told``, the JSON."""
    lines = ["# posestream doctor --gpu", "", verdict(outcome), "", *_steps(outcome.results)]
    for columns in (KERNELS, RATES):
        if rows := rows_of(outcome, columns):
            lines += ["", *_table(columns, ([str(row[name]) for name in columns] for row in rows))]
    return "\n".join([*lines, "", "```json", told.rstrip(), "```", ""])


def verdict(outcome: Outcome) -> str:
    """One line."""
    counts = (
        f"{outcome.count(state)} {said}"
        for state, said in (("ok", "passed"), ("failed", "failed"), ("not run", "not run"))
    )
    return f"{len(outcome.results)} steps: {', '.join(counts)}{'; interrupted' if outcome.interrupted else ''}"


def rows_of(outcome: Outcome, columns: Iterable[str]) -> list[dict[str, Any]]:
    """Of all steps that measured something with these columns."""
    rows = (row for result in outcome.results for row in result.figures.get("rows", ()))
    return [row for row in rows if row.keys() == set(columns)]


def _steps(results: Iterable[Result]) -> list[str]:
    rows = (
        [r.title, r.state, anonymous("; ".join(filter(None, (r.told, r.remedy)))), f"{r.seconds:.1f}"] for r in results
    )
    return _table(("step", "state", "what", "s"), rows)


def _table(columns: Iterable[str], rows: Iterable[list[str]]) -> list[str]:
    head = [*columns]
    listed = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in listed]


def anonymous(text: str) -> str:
    """Without folders, of which the last name of a path is left, and without the names of user and host."""
    text = _PATH.sub(lambda found: f"…/{found[1] or found[2]}", text.replace(str(Path.home()), "~"))
    for name in _names():
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


def _names() -> list[str]:
    host = platform.node()
    try:
        names = [host, host.partition(".")[0], getpass.getuser()]
    except (KeyError, OSError):  # a user without a name
        names = [host, host.partition(".")[0]]
    return [name for name in dict.fromkeys(names) if len(name) >= _SHORTEST]


def _cleaned(told: Any) -> Any:
    if isinstance(told, str):
        return anonymous(told)
    if isinstance(told, dict):
        return {anonymous(str(key)): _cleaned(value) for key, value in told.items()}
    return [_cleaned(value) for value in told] if isinstance(told, list | tuple) else told


def _finite(told: Any) -> Any:
    """JSON knows no infinity; it is told in words."""
    if isinstance(told, float) and (told != told or abs(told) == float("inf")):
        return str(told)
    if isinstance(told, dict):
        return {key: _finite(value) for key, value in told.items()}
    return [_finite(value) for value in told] if isinstance(told, list | tuple) else told
