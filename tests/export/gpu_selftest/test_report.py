"""What the report says, and what it never says."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from engines.errors import EngineError
from export.gpu_selftest import report
from export.gpu_selftest.chain import Outcome
from export.gpu_selftest.results import Result

ROW = {"export": "fp16", "backend": "torch", "way": "feature cache", "batch": 8, "latency_ms": 1.5, "people_s": 5333.3}


def outcome(**changes: Any) -> Outcome:
    result: dict[str, Any] = {"step": "a", "title": "A", "state": "ok", "message": "well", "figures": {"rows": [ROW]}}
    return Outcome((Result(**(result | changes)),))


def read_json(path: Path) -> dict[str, Any]:
    text = path.read_text()
    found: dict[str, Any] = json.loads(text.split("```json\n")[1].split("```")[0] if path.suffix == ".md" else text)
    return found


@pytest.mark.parametrize("name", ["report.md", "report.json"])
def test_a_report_holds_every_result_as_json(tmp_path: Path, name: str) -> None:
    report.write_report(outcome(), tmp_path / name)
    result = read_json(tmp_path / name)
    assert (result["format"], result["interrupted"]) == (1, False)
    (step,) = result["steps"]
    assert (step["step"], step["state"], step["message"], step["figures"]) == ("a", "ok", "well", {"rows": [ROW]})


def test_people_read_tables(tmp_path: Path) -> None:
    report.write_report(outcome(message="a | b", remedy="mend it", state="failed"), tmp_path / "report.md")
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "1 steps: 0 passed, 1 failed, 0 not run" in lines
    assert "| A | failed | a \\| b; mend it | 0.0 |" in lines
    assert "| fp16 | torch | feature cache | 8 | 1.5 | 5333.3 |" in lines


def test_numbers_that_json_does_not_know_are_words(tmp_path: Path) -> None:
    report.write_report(outcome(figures={"rms": [float("inf"), float("nan")]}), tmp_path / "report.json")
    assert read_json(tmp_path / "report.json")["steps"][0]["figures"] == {"rms": ["inf", "nan"]}


def test_neither_user_nor_host_nor_folder_is_reported_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/Users/rosalind"))
    monkeypatch.setattr(getpass, "getuser", lambda: "rosalind")
    monkeypatch.setattr(platform, "node", lambda: "franklin.kings.example")
    log = 'File "/Users/rosalind/pose/run.py", line 3: franklin has no /cuda-13/lib64/libnvrtc.so; rosalind@franklin'
    result = outcome(message=log, log=log, figures={"/Users/rosalind/a": [r"C:\Users\rosalind\b.onnx", {"c": log}]})
    report.write_report(result, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    for private in ("rosalind", "franklin", "/lib64", "Users", str(tmp_path)):
        assert private not in text
    for kept in ("…/run.py", "…/libnvrtc.so", "…/a", "…/b.onnx", "line 3"):
        assert kept in text


@pytest.mark.parametrize(
    "text", ["FP16/BF16 and 1/2 px", "see https://example.org/a/b", "/dev", "kernel: 3 / 4", "and/or/not"]
)
def test_what_is_no_folder_is_left_as_it_is(text: str) -> None:
    assert report.anonymise(text) == text


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"--report .*: No such file or directory; give a file in an existing folder"):
        report.write_report(outcome(), tmp_path / "nowhere" / "report.md")
