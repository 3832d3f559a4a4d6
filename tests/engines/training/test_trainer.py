"""Training: the same seed gives the same weights, an interruption changes nothing, what is frozen stays as it was."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install 'posestream[torch]')")

from safetensors.torch import load_file  # noqa: E402

from engines.errors import EngineError  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.training import checkpoint  # noqa: E402
from engines.training.batches import WindowSamples  # noqa: E402
from engines.training.interrupt import Interrupt  # noqa: E402
from engines.training.objective import Objective, cross_entropy  # noqa: E402
from engines.training.recipe import Augmentation, Optimisation, Recipe, Synthetic  # noqa: E402
from engines.training.synthetic_samples import Tracks  # noqa: E402
from engines.training.trainer import Trainer, layout_for  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)
SIZE = (64, 64)


def tracks(number: int = 10) -> Tracks:
    rng = np.random.default_rng(0)
    joints = np.full((number, 5, 17, 3), 2, np.float32)
    joints[..., :2] = rng.uniform(4, 60, (number, 5, 17, 2))
    return Tracks(rng.integers(0, 255, (number, 5, *SIZE, 3), np.uint8), joints, np.full(number, 40, np.float32))


def recipe(**changes: Any) -> Recipe:
    told = Recipe(
        network="micro",
        data=Synthetic(),
        epochs=2,
        batch=4,
        optimisation=Optimisation(rate=1e-3, ema=0.9, clip=1.0),
    )
    return msgspec.structs.replace(told, **changes)


def trainer(folder: Path, told: Recipe | None = None, model: Any = None) -> Trainer:
    torch.manual_seed(0)
    return Trainer(told or recipe(), model or HRNet(MICRO), WindowSamples(tracks(), (0,)), folder)


def quiet(step: int, terms: dict[str, float]) -> None:
    assert np.isfinite(terms["total"])


def weights(one: Trainer) -> dict[str, Any]:
    return {name: value.clone() for name, value in one.model.state_dict().items()}


def test_two_trainings_of_one_seed_agree_to_the_last_bit(tmp_path: Path) -> None:
    first, second = trainer(tmp_path / "a"), trainer(tmp_path / "b")
    for one in (first, second):
        one.run(quiet)
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
    third = trainer(tmp_path / "c", recipe(seed=1))
    third.run(quiet)
    assert any(not torch.equal(value, weights(third)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("stop", [1, 3, 5])  # in the first epoch, at its end, in the second
def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path, stop: int) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run(quiet)
    trainer(tmp_path / "parts").run(quiet, until=stop)
    later = trainer(tmp_path / "parts")
    assert later.resume()
    assert later.counters.step == stop
    later.run(quiet)
    assert all(torch.equal(value, weights(later)[name]) for name, value in weights(whole).items())
    assert whole.ema is not None
    assert later.ema is not None
    theirs = later.ema.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.ema.state_dict().items())


def test_nothing_to_go_on_from_is_no_fault(tmp_path: Path) -> None:
    assert not trainer(tmp_path / "none").resume()


def test_another_recipe_does_not_go_on_with_a_training_but_more_epochs_do(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    with pytest.raises(EngineError) as caught:
        trainer(tmp_path, recipe(batch=5)).resume()
    assert str(caught.value) == (
        f"{tmp_path / 'last'}: its training was begun with batch=4, the recipe now says 5; begin anew in another folder"
    )
    assert trainer(tmp_path, recipe(epochs=9)).resume()


def test_a_damaged_training_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    counters = tmp_path / "last" / checkpoint.COUNTERS
    counters.write_bytes(counters.read_bytes()[:-9])
    with pytest.raises(EngineError, match="this training cannot go on"):
        trainer(tmp_path).resume()


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    trainer(tmp_path).run(quiet, until=1)
    other = HRNet(HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1))
    with pytest.raises(EngineError, match=r"model\.safetensors: .*it is not of this network"):
        trainer(tmp_path, model=other).resume()


def test_a_frozen_backbone_keeps_its_weights_and_its_statistics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = FAMIPose(MICRO, (-1, 0))
    samples = WindowSamples(tracks(), (-1, 0))
    one = Trainer(recipe(frozen=("hrnet",)), model, samples, tmp_path)
    before = weights(one)
    one.run(quiet)
    after = weights(one)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not {name for name in changed if name.startswith("hrnet.")}
    assert any(name.startswith("lcm.") for name in changed)
    assert any("running_mean" in name for name in changed)


def test_the_best_network_is_kept(tmp_path: Path) -> None:
    scores = iter([2.0, 1.0])
    one = trainer(tmp_path)
    one.run(quiet, judge=lambda _: next(scores))
    assert one.counters.best == 2.0
    assert (tmp_path / "best.safetensors").is_file()


def test_a_loss_that_is_no_number_ends_the_training_and_leaves_the_last_good_state(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    steps: list[int] = []

    def spoil(step: int, terms: dict[str, float]) -> None:
        quiet(step, terms)
        steps.append(step)
        if step == 4:  # in the second epoch; the first was saved at its end
            with torch.no_grad():
                next(one.model.parameters()).fill_(float("nan"))

    with pytest.raises(EngineError) as caught:
        one.run(spoil)
    assert str(caught.value) == (
        "step 5 of micro: the loss term 'heatmap' is nan; begin anew in another folder with a lower optimisation.rate "
        f"than 0.001 or a lower optimisation.clip than 1.0 ({tmp_path / 'last'} holds step 3, the last one saved)"
    )
    assert steps == [1, 2, 3, 4]
    later = trainer(tmp_path)
    assert later.resume()
    assert later.counters.step == 3
    assert all(bool(value.isfinite().all()) for value in weights(later).values())


def test_a_gradient_that_overflows_ends_the_training_too(tmp_path: Path) -> None:
    one = trainer(tmp_path, recipe(precision="bf16"))
    next(one.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        EngineError, match=r"step 1 of micro: the norm of the gradient is (nan|inf); .*, or with precis"
    ):
        one.run(quiet)
    assert not (tmp_path / "last").exists()


def test_every_step_tells_its_gradient_its_rate_and_its_speed(tmp_path: Path) -> None:
    told: list[dict[str, float]] = []
    one = trainer(tmp_path, recipe(optimisation=Optimisation(rate=1e-3, clip=1e-4)))
    one.run(lambda _, terms: told.append(terms), until=1)
    assert told[0].keys() == {"heatmap", "total", "gradient_norm", "rate", "samples_a_second"}
    assert told[0]["rate"] == 1e-3
    assert told[0]["samples_a_second"] > 0
    # Before clipping; what is left is as long as it may be.
    left = torch.stack([parameter.grad.norm() for parameter in one.model.parameters() if parameter.grad is not None])
    assert told[0]["gradient_norm"] > 1e-4
    assert float(left.norm()) == pytest.approx(1e-4, rel=1e-2)  # PyTorch adds 1e-6 to the norm that it divides by


def test_ctrl_c_waits_for_the_step_and_saves_it(tmp_path: Path) -> None:
    def interrupt(step: int, _: dict[str, float]) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    whole = trainer(tmp_path / "whole")
    whole.run(quiet)
    one = trainer(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        one.run(interrupt)
    assert one.saved == 3  # the step after the one that was being told of
    later = trainer(tmp_path / "parts")
    assert later.resume()
    later.run(quiet)
    assert all(torch.equal(value, weights(later)[name]) for name, value in weights(whole).items())


def test_a_second_ctrl_c_does_not_wait() -> None:
    with Interrupt() as heard:
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with Interrupt(others=True) as heard:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.asked


def test_weights_lie_channels_last_while_they_learn_and_as_usual_on_disk(tmp_path: Path) -> None:
    def lies_so(tensor: Any) -> bool:
        return bool(tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous())

    trainer(tmp_path).run(quiet, until=1)
    later = trainer(tmp_path)
    later.resume()
    weight = later.model.get_submodule("conv2").weight
    assert lies_so(weight)
    assert lies_so(later.optimiser.state[weight]["exp_avg"])
    kept = load_file(tmp_path / "last/model.safetensors")
    assert all(value.is_contiguous() for value in kept.values())
    # The same numbers whichever way they lie, but for the order of additions.
    usual = Trainer(
        recipe(), HRNet(MICRO), WindowSamples(tracks(), (0,)), tmp_path / "usual", layout=torch.contiguous_format
    )
    assert not lies_so(usual.model.get_submodule("conv2").weight)
    usual.model.load_state_dict(later.model.state_dict())
    batch = WindowSamples(tracks(2), (0,)).batch(np.arange(2), None, np.random.default_rng(0))
    totals = [float(one.objective.eval()(batch.crops, batch.joints)["total"].detach()) for one in (later, usual)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


@pytest.mark.parametrize(
    ("device", "precision", "last"),
    [
        ("cpu", "fp32", True),
        ("cpu", "bf16", True),
        ("cuda", "fp32", False),
        ("cuda", "bf16", True),
    ],
)
def test_maps_lie_channels_last_where_that_is_known_to_be_faster(device: str, precision: str, last: bool) -> None:
    wanted = torch.channels_last if last else torch.contiguous_format
    assert layout_for(torch.device(device), precision) == wanted


def test_more_steps_fit_the_samples_better(tmp_path: Path) -> None:
    still = Augmentation(flip=0, gain=0, tint=0, shift=0)
    told = recipe(epochs=15, augmentation=still, optimisation=Optimisation(rate=3e-3), loss="cross-entropy")
    losses: list[float] = []
    model = HRNet(replace(MICRO, sigma=2.0))
    trainer(tmp_path, told, model).run(lambda _, terms: losses.append(terms["total"]))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


@pytest.mark.parametrize(
    ("model", "offsets", "terms"),
    [
        (FAMIPose(MICRO, (-1, 0, 1)), (-1, 0, 1), {"mutual_information": 0.1}),
        (TDMI(MICRO, (-1, 0, 1)), (-1, 0, 1), {"mutual_information": 1.0}),
        (FaSRnet(MICRO), (-1, 0, 1), {}),
        (IMAPose(MICRO, 1, dilations=(1, 3)), (-1, 0, 1), {}),
    ],
    ids=["fami", "tdmi", "fasrnet", "imapose"],
)
def test_every_network_learns_by_the_loss_of_its_paper(model: Any, offsets: Any, terms: Any) -> None:
    batch = WindowSamples(tracks(2), offsets).batch(np.arange(2), None, np.random.default_rng(0))
    objective = Objective("any", model, 2.0, "heatmap", terms)
    told = objective(batch.crops, batch.joints)
    assert told.keys() == {"heatmap", "total", *terms}
    told["total"].backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    # A head may leave parts of its backbone unused (the layer that makes the single frame's heatmaps).
    assert all(name.startswith("hrnet.final_layer") for name in silent)


def test_a_term_that_a_network_does_not_have_is_named() -> None:
    with pytest.raises(EngineError) as caught:
        Objective("hrnet-any", HRNet(MICRO), 2.0, "heatmap", {"mutual_information": 1.0})
    assert str(caught.value) == (
        "network 'hrnet-any' has no loss term 'mutual_information'; it has none besides its heatmaps"
    )


def test_cross_entropy_is_least_where_the_maps_say_what_the_target_does() -> None:
    target = torch.rand(2, 3, 4, 5)
    weights_ = torch.tensor([[1.0, 1, 0], [1, 0, 1]])
    best = cross_entropy(7 * target, target, weights_)
    assert best < cross_entropy(torch.ones_like(target), target, weights_)
    spoilt = 7 * target
    spoilt[0, 2] = 99 * torch.rand(4, 5)  # a joint of weight 0
    assert torch.equal(cross_entropy(spoilt, target, weights_), best)


def test_cross_entropy_of_a_softmax_is_that_of_pytorch_and_so_is_its_gradient() -> None:
    torch.manual_seed(0)
    logits = (5 * torch.randn(2, 3, 8, 6)).requires_grad_()
    target = torch.rand(2, 3, 8, 6)
    ours = cross_entropy(9 * logits.flatten(2).softmax(-1).unflatten(2, (8, 6)), target, torch.ones(2, 3))
    shares = (target.flatten(2) / target.flatten(2).sum(-1, keepdim=True)).flatten(0, 1)
    theirs = torch.nn.functional.cross_entropy(logits.flatten(2).flatten(0, 1), shares)
    torch.testing.assert_close(ours, theirs)
    (gradient,), (wanted,) = (torch.autograd.grad(loss, logits) for loss in (ours, theirs))
    torch.testing.assert_close(gradient, wanted, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(
    "model", [HRNet(MICRO), DCPose(replace(MICRO, sigma=2.0), channels=4)], ids=["plain", "within"]
)
def test_cross_entropy_of_heatmaps_that_are_no_distributions_is_refused(model: Any) -> None:
    with pytest.raises(EngineError) as caught:
        Objective("hrnet-any", model, 2.0, "cross-entropy", {})
    assert str(caught.value) == (
        "network 'hrnet-any': loss 'cross-entropy' needs heatmaps that are distributions; take loss 'heatmap', or an "
        "HRNet, FAMI-Pose or TDMI whose entry gives the HRNet a 'sigma', such as hrnet-small-128x96"
    )
