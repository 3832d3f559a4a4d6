"""Checkpoints and logs on disk: damaged, of another network, and truncated on resume."""

from __future__ import annotations

import pydoc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

import safetensors.torch  # noqa: E402

from engines.errors import EngineError  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.training import checkpoint  # noqa: E402
from tests.engines.training.test_trainer import quiet, recipe, trainer  # noqa: E402

FILES = (checkpoint.STATE, checkpoint.MODEL, checkpoint.OPTIMISER)


def test_another_recipe_is_refused_on_resume_but_more_epochs_are_not(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    with pytest.raises(EngineError) as caught:
        trainer(tmp_path, recipe(batch=5)).resume()
    assert str(caught.value) == (
        f"{tmp_path / 'last'}: this training was started with batch=4, the recipe now has 5; start in another folder"
    )
    assert trainer(tmp_path, recipe(epochs=9)).resume()


def save(folder: Path, step: int) -> None:
    """A checkpoint of a layer of six weights, after one step of its optimiser."""
    model, optimiser = layer()
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    checkpoint.save(folder, checkpoint.State(recipe={}, step=step), model, None, optimiser)


def layer() -> tuple[Any, Any]:
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters())


def load(folder: Path) -> int:
    model, optimiser = layer()
    return checkpoint.load(folder, model, None, optimiser).step


class KilledError(BaseException):
    pass


@pytest.mark.parametrize(
    ("call", "name", "found", "step"),
    [
        ("pathlib.Path.replace", "state.json.part", "last", 1),
        ("pathlib.Path.rename", "last", "last.part", 2),
        ("pathlib.Path.rename", "last.part", "last.part", 2),
        ("shutil.rmtree", "last.old", "last", 2),
    ],
)
def test_a_save_that_is_killed_loses_no_checkpoint(
    call: str, name: str, found: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tmp_path / "last"
    save(last, 1)
    whole = pydoc.locate(call)
    assert callable(whole)

    def kill(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == name:
            raise KilledError
        return whole(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(call, kill)
        with pytest.raises(KilledError):
            save(last, 2)
    newest = checkpoint.find(last)
    assert newest == tmp_path / found
    assert load(newest) == step
    save(last, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert load(last) == 3


def test_a_former_checkpoint_alone_is_found_and_kept_until_the_next_is_whole(tmp_path: Path) -> None:
    last = tmp_path / "last"
    save(last, 1)
    last.rename(tmp_path / "last.old")
    torn = tmp_path / "last.part"
    torn.mkdir()
    (torn / checkpoint.STATE).write_text('{"recipe":')
    assert checkpoint.find(last) == tmp_path / "last.old"
    save(last, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_resuming_says_which_checkpoint_it_took(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    (tmp_path / "last").rename(tmp_path / "last.old")
    later = trainer(tmp_path)
    assert later.resume() == tmp_path / "last.old"
    later.run(quiet, until=2)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def rewrite(**tensors: Any) -> Callable[[bytes], bytes]:
    return lambda _: safetensors.torch.save(tensors)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        *[(name, lambda held: held[: len(held) // 2], ".") for name in FILES],
        *[(name, lambda _: b"", ".") for name in FILES],
        (checkpoint.STATE, lambda _: b'{"recipe":{},"step":7}', "it lacks 'groups'"),
        (
            checkpoint.STATE,
            lambda _: b'{"recipe":{},"optimiser":{"groups":[{"params":[0]}]}}',
            "doesn't match the size",
        ),
        (checkpoint.STATE, lambda _: b'{"recipe":{},"optimiser":{"groups":3}}', "."),
        (checkpoint.OPTIMISER, rewrite(**{"x.y": torch.ones(1)}), "'x.y' is of no parameter among 2"),
        (checkpoint.OPTIMISER, rewrite(**{"2.step": torch.ones(())}), "'2.step' is of no parameter among 2"),
        (
            checkpoint.OPTIMISER,
            rewrite(**{"0.exp_avg": torch.ones(7)}),
            r"'0.exp_avg' is of shape \(7,\), its parameter of \(2, 3\)",
        ),
        (
            checkpoint.OPTIMISER,
            rewrite(**{"0.step": torch.ones(()), "1.step": torch.ones(()), "1.exp_avg": torch.ones(2)}),
            "parameter 0 lacks exp_avg",
        ),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_one_line_that_names_the_file(
    name: str, change: Callable[[bytes], bytes], why: str, tmp_path: Path
) -> None:
    save(tmp_path / "last", 1)
    file = tmp_path / "last" / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(EngineError, match=why) as caught:
        load(tmp_path / "last")
    assert str(caught.value).startswith(f"{file} is damaged or of another training: ")
    assert str(caught.value).endswith("; this training cannot be resumed: start in another folder")


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_a_checkpoint_lacks_is_named(name: str, tmp_path: Path) -> None:
    save(tmp_path / "last", 1)
    (tmp_path / "last" / name).unlink()
    with pytest.raises(EngineError, match=f"{name} is damaged or of another training: No such file"):
        load(tmp_path / "last")


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    other = HRNet(HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1))
    with pytest.raises(EngineError, match=r"model\.safetensors: .*it is not of this network"):
        trainer(tmp_path, model=other).resume()


def test_log_lines_of_steps_that_run_again_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    checkpoint.truncate_log(log, 3)
    assert not log.exists()
    log.write_text(
        '{"step": 3, "total": 1.0}\n{"step": 3, "pck": 0.5}\n[1]\n{"a": 2}\n{"step": 4, "total": 0.9}\n{"step": 5, "to'
    )
    checkpoint.truncate_log(log, 3)
    assert log.read_text() == '{"step": 3, "total": 1.0}\n{"step": 3, "pck": 0.5}\n'
