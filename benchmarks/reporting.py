"""Command line and output of the benchmarks: the ``--write`` option, the machine, and the results folder."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser that prints the whole ``description`` and has ``--write``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the results folder")
    return parser


def describe_machine() -> str:
    """The architecture, the number of cores and the version of Python."""
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def write_results(name: str, result: Any, table: str) -> None:
    """Write ``result`` to ``results/NAME.json`` and ``table`` to ``results/NAME.md``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(table + "\n")
