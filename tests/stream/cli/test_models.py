"""``posestream models``: what is listed, that it fits a terminal, and that it needs no PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.hub import catalogue
from engines.spec import cache
from stream.__main__ import execute

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def listed(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The page, as wide as a common terminal, on a machine that has pulled nothing."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    assert execute(["models"]) == 0
    return capsys.readouterr().out


@pytest.fixture
def result(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What programs get, by name."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    assert execute(["models", "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def line_of(page: str, name: str) -> str:
    return next(line for line in page.splitlines() if line.startswith(f"{name} "))


def test_every_name_of_the_catalogue_is_listed_whole(listed: str) -> None:
    for name in (*catalogue.SHIPPED, *catalogue.list_names()):
        assert line_of(listed, name)


def test_the_page_fits_a_hundred_columns(listed: str) -> None:
    assert max(len(line) for line in listed.splitlines()) <= 100


def test_the_page_fits_eighty_columns_with_whole_names_and_costs(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert execute(["models"]) == 0
    page = capsys.readouterr().out
    assert max(len(line) for line in page.splitlines()) <= 80
    assert "…" not in page
    assert line_of(page, "fami-w48-384x288").split() == [
        *("fami-w48-384x288", "64.0", "44.3", "(185.5)", "-2..2", "backbone:", "pull"),
    ]


def test_a_network_of_a_paper_is_listed_with_what_it_costs_and_promises(listed: str) -> None:
    cells = line_of(listed, "fami-w48-384x288").split()
    assert cells[1:] == ["64.0", "44.3", "(185.5)", "-2..2", "2", "84.8", "mAP", "PT17", "backbone:", "pull"]


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("hrnet-w48-384x288", "all: pull"),
        ("dcpose-w48-384x288", "all: by hand"),
        ("tdmi-w48-384x288", "backbone: pull"),
        ("fami-compact-256x192", "to be trained"),
    ],
)
def test_it_says_how_weights_are_come_by(listed: str, name: str, weights: str) -> None:
    assert line_of(listed, name).rstrip().endswith(weights)


def test_programs_get_the_whole_of_it(result: dict[str, Any]) -> None:
    assert set(result) == {*catalogue.SHIPPED, *catalogue.list_names()}
    network = result["fami-w48-384x288"]
    assert network["parameters"] == 63_983_404
    assert network["gmac"] == pytest.approx(44.286)
    assert network["gmac_without_reuse"] == pytest.approx(185.49)
    assert (network["window"], network["lookahead_frames"]) == ([-2, -1, 0, 1, 2], 2)
    assert {"metric": "mAP", "benchmark": "PoseTrack2017 val", "value": 84.8, "table": "Table 1"} in network["reported"]
    assert [weights["here"] for weights in network["weights"]] == [False, False]


def test_weights_that_are_here_are_said_to_be(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "PoseTrack17_DCPose.pth").write_bytes(b"weights")
    execute(["models", "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert [weights["here"] for weights in rows["dcpose-w48-384x288"]["weights"]] == [True]


def test_listing_needs_no_pytorch() -> None:
    script = "import sys; from stream.__main__ import execute; execute(['models']); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "False"
