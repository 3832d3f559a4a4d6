"""``posestream.export``: a folder that estimates, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engines.errors import EngineError
from posestream.exporting import export


def test_weights_and_random_weights_exclude_each_other() -> None:
    with pytest.raises(EngineError) as caught:
        export("hrnet-compact-256x192", weights="my.pth", random_weights=True)
    assert str(caught.value) == "random_weights=True and weights='my.pth' exclude each other; give one of them"


def test_a_missing_pytorch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "export.exporter", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError) as caught:
        export("hrnet-compact-256x192")
    assert str(caught.value) == "export needs the package 'torch'; install posestream with its extra 'torch'"


def test_what_is_chosen_reaches_the_exporter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from export import exporter
    from export.stages import Request
    from export.weights import Choice

    requests: list[Request] = []

    def take(request: Request) -> Path:
        requests.append(request)
        return tmp_path

    monkeypatch.setattr(exporter, "export_network", take)
    assert export("hrnet-w48-384x288", weights="my.pth", precision="fp16", out="trial", force=True) == tmp_path
    export("hrnet-w48-384x288", random_weights=True)
    first, second = requests
    assert (first.network, first.choice) == ("hrnet-w48-384x288", Choice(weights=Path("my.pth")))
    assert (first.precision, first.out, first.force) == ("fp16", Path("trial"), True)
    assert (second.choice, second.out, second.force) == (Choice(random=True), None, False)
