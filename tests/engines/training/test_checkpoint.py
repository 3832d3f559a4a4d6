"""Checkpoints and logs on disk: damaged, of another network, and truncated on resume."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.training import checkpoint  # noqa: E402
from tests.engines.training.test_trainer import quiet, recipe, trainer  # noqa: E402


def test_another_recipe_is_refused_on_resume_but_more_epochs_are_not(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    with pytest.raises(EngineError) as caught:
        trainer(tmp_path, recipe(batch=5)).resume()
    assert str(caught.value) == (
        f"{tmp_path / 'last'}: this training was started with batch=4, the recipe now has 5; start in another folder"
    )
    assert trainer(tmp_path, recipe(epochs=9)).resume()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    state = tmp_path / "last" / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(EngineError, match="this training cannot be resumed"):
        trainer(tmp_path).resume()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    other = HRNet(HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1))
    with pytest.raises(EngineError, match=r"model\.safetensors: .*it is not of this network"):
        trainer(tmp_path, model=other).resume()


def test_log_lines_of_steps_that_run_again_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    checkpoint.truncate_log(log, 3)
    assert not log.exists()
    log.write_text('{"step": 3, "total": 1.0}\n{"step": 3, "pck": 0.5}\n{"step": 4, "total": 0.9}\n{"step": 5, "to')
    checkpoint.truncate_log(log, 3)
    assert log.read_text() == '{"step": 3, "total": 1.0}\n{"step": 3, "pck": 0.5}\n'
