"""The command ``posestream train``."""

from __future__ import annotations

import pytest


def test_without_pytorch_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream.__main__ import execute

    monkeypatch.setattr("engines.training.cli.find_spec", lambda name: None if name == "torch" else object())
    assert execute(["train", "any.yaml"]) == 1
    assert (
        capsys.readouterr().err
        == "posestream: posestream train needs torch; in a clone of posestream: pip install '.[torch]'\n"
    )
