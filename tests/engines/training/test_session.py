"""``posestream train``, from a recipe to weights that go on, are judged and say what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install 'posestream[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.training import checkpoint, memory_check  # noqa: E402
from engines.training.recipe import Recipe, Synthetic, read_recipe  # noqa: E402
from engines.training.session import WEIGHTS, begin  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]

NETWORK: dict[str, Any] = {
    "kind": "network",
    "title": "micro",
    "licence": "Apache-2.0",
    "network": {
        "model": "fami.FAMIPose",
        "hrnet": {"width": 12, "modules": [1, 1, 1], "blocks": 1, "stem_width": 8, "bottlenecks": 1},
        "input_size": [64, 64],
        "window": [-1, 0],
        "skeleton": "coco17",
        "options": {"frames": [-1, 0]},
    },
}
RECIPE: dict[str, Any] = {
    "data": {"type": "synthetic", "scenes": 2, "moments": 1, "judged_scenes": 1},
    "terms": {"mutual_information": 0.1},
    "epochs": 1,
    "batch": 4,
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of seconds."""
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "micro.yaml").write_text(yaml.safe_dump(NETWORK))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"network": str(tmp_path / "micro.yaml"), **RECIPE}))
    return path


@pytest.mark.slow
def test_a_recipe_becomes_weights_with_a_log_and_a_score(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(recipe, tmp_path / "run", workers=1).run()
    told = capsys.readouterr().err
    assert "epoch 1: PCK@0.1 of visible (hidden) joints: easy" in told
    assert f"--weights {tmp_path / 'run' / WEIGHTS}" in told
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert {"step", "total", "heatmap", "mutual_information"} <= rows[0].keys()
    assert rows[-1]["pck"].keys() == {"easy", "blurred", "occluded", "crossing"}
    assert (tmp_path / "run" / WEIGHTS).is_file()


@pytest.mark.parametrize("file", sorted((ROOT / "configs/training").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_recipe_that_ships_can_be_read_and_its_network_built(file: Path) -> None:
    from engines.hub import catalogue
    from engines.spec import network
    from engines.training.objective import Objective

    read = read_recipe(file)
    _, spec = catalogue.network(read.network)
    # Those of the papers have 60 million weights: shapes without numbers are enough here.
    with torch.device("meta"):
        model = network.build(read.network, spec)
        Objective(read.network, model, read.sigma, read.loss, dict(read.terms))
    assert all(model.get_submodule(name) for name in (*read.frozen, *(begun.into for begun in read.begin)))
    assert all(milestone < read.epochs for milestone in read.optimisation.milestones)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": 3}, "recipe.yaml: Expected `str`, got `int` - at `$.network`"),
        ({"speed": "fast"}, "Object contains unknown field `speed`"),
        ({"batch": 0}, "Expected `int` >= 1 - at `$.batch`"),
        ({"data": {"type": "synthetic", "first_scene": 7}}, "Expected `int` >= 100000 - at `$.data.first_scene`"),
        ({"optimisation": {"name": "sgd"}}, "Invalid enum value 'sgd' - at `$.optimisation.name`"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_field(recipe: Path, changes: dict[str, Any], words: str) -> None:
    recipe.write_text(yaml.safe_dump(yaml.safe_load(recipe.read_text()) | changes))
    with pytest.raises(EngineError) as caught:
        read_recipe(recipe)
    assert words in str(caught.value)


def test_a_missing_recipe_points_to_examples(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"No such file or directory; see configs/training for examples"):
        read_recipe(tmp_path / "none.yaml")


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "free_bytes", lambda _: 60 * 2**20)
    recipe.write_text(recipe.read_text().replace("batch: 4", "batch: 5000"))
    with pytest.raises(EngineError) as caught:
        begin(recipe, tmp_path / "run")
    assert "a step of batch=5000 needs about" in str(caught.value)
    assert "and cpu has 0.1 free; batch=" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_a_step_needs_counts_the_moving_mean_the_optimiser_and_what_processes_exchange() -> None:
    from engines.models.hrnet import HRNet, HRNetConfig
    from engines.spec.network import HRNetSpec, NetworkSpec
    from engines.training.recipe import Optimisation

    model = HRNet(HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1))
    spec = NetworkSpec(model="hrnet.HRNet", hrnet=HRNetSpec(width=12), input_size=(64, 64))
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    learning = 4 * sum(parameter.numel() for parameter in model.parameters())

    def fixed(ema: float, *, others: bool = False) -> int:
        told = Recipe(network="micro", data=Synthetic(), optimisation=Optimisation(ema=ema))
        return memory_check.step_bytes(told, spec, model, others=others)[0]

    assert fixed(0.0) == weights + 3 * learning
    assert fixed(0.99) == 2 * weights + 3 * learning
    assert fixed(0.0, others=True) == weights + 4 * learning
    # Batch normalisation's statistics do not learn, so have no gradients and no moments.
    assert learning < weights


def test_half_precision_keeps_less_of_each_window_and_its_weights_once() -> None:
    from engines.models.hrnet import HRNet, HRNetConfig
    from engines.spec.network import HRNetSpec, NetworkSpec

    model = HRNet(HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1))
    spec = NetworkSpec(model="hrnet.HRNet", hrnet=HRNetSpec(width=12), input_size=(64, 64))
    whole, half = (
        memory_check.step_bytes(Recipe(network="micro", data=Synthetic(), precision=precision), spec, model)
        for precision in ("fp32", "bf16")
    )
    assert whole[1] / 2 <= half[1] < whole[1]
    # Every convolution's weights, in two bytes instead of four.
    rounded = 2 * sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 4)
    assert half[0] - whole[0] == pytest.approx(rounded, rel=0.05)


def test_what_was_told_of_steps_that_are_made_again_is_taken_back(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    checkpoint.forget_after(log, 3)
    assert not log.exists()
    log.write_text('{"step": 3, "total": 1.0}\n{"step": 3, "pck": 0.5}\n{"step": 4, "total": 0.9}\n{"step": 5, "to')
    checkpoint.forget_after(log, 3)
    assert log.read_text() == '{"step": 3, "total": 1.0}\n{"step": 3, "pck": 0.5}\n'


def test_what_is_over_may_be_asked_for_again_and_given_more_epochs(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for epochs in (1, 1, 2):
        session = begin(recipe, tmp_path / "run", workers=1, epochs=epochs, tensorboard=False)
        if epochs == 2:
            session.trainer.counters.best = 2.0  # nothing that comes is better
        session.run()
        assert (tmp_path / "run" / WEIGHTS).is_file()
    assert "goes on after step" in capsys.readouterr().err


def test_what_a_step_keeps_grows_with_the_picture_and_shrinks_with_what_is_frozen() -> None:
    from engines.models.hrnet import HRNet, HRNetConfig
    from engines.spec.network import HRNetSpec, NetworkSpec

    config = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)

    def kept(size: int, *frozen: str) -> int:
        spec = NetworkSpec(model="hrnet.HRNet", hrnet=HRNetSpec(width=12), input_size=(size, size))
        return memory_check.step_bytes(Recipe(network="micro", data=Synthetic(), frozen=frozen), spec, HRNet(config))[1]

    # What is kept of a convolution is its input, so four times the pixels are four times the bytes.
    assert kept(128) == pytest.approx(4 * kept(64), rel=0.05)
    assert kept(64, "conv1", "bn1", "conv2", "bn2", "layer1") < kept(64)


def test_a_machine_without_pytorch_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream.__main__ import execute

    monkeypatch.setattr("engines.training.cli.find_spec", lambda name: None if name == "torch" else object())
    assert execute(["train", "any.yaml"]) == 1
    assert capsys.readouterr().err == "posestream: posestream train needs torch: pip install 'posestream[torch]'\n"
