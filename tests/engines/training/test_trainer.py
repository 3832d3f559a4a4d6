"""The trainer: reproducible from its seed, bit for bit after an interruption, with frozen parts unchanged."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from safetensors.torch import load_file  # noqa: E402

from engines.errors import EngineError  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.training.batches import WindowSamples  # noqa: E402
from engines.training.recipe import Augmentation, Optimisation, Recipe, Synthetic  # noqa: E402
from engines.training.synthetic_samples import Tracks  # noqa: E402
from engines.training.trainer import (  # noqa: E402
    Interrupt,
    Trainer,
    default_memory_format,
)

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)
SIZE = (64, 64)


def tracks(number: int = 10) -> Tracks:
    rng = np.random.default_rng(0)
    joints = np.full((number, 5, 17, 3), 2, np.float32)
    joints[..., :2] = rng.uniform(4, 60, (number, 5, 17, 2))
    return Tracks(rng.integers(0, 255, (number, 5, *SIZE, 3), np.uint8), joints, np.full(number, 40, np.float32))


def recipe(**changes: Any) -> Recipe:
    default = Recipe(
        network="micro",
        data=Synthetic(),
        epochs=2,
        batch=4,
        optimisation=Optimisation(rate=1e-3, ema=0.9, clip=1.0),
    )
    return msgspec.structs.replace(default, **changes)


def trainer(folder: Path, settings: Recipe | None = None, model: Any = None) -> Trainer:
    torch.manual_seed(0)
    return Trainer(settings or recipe(), model or HRNet(MICRO), WindowSamples(tracks(), (0,)), folder)


def quiet(step: int, terms: dict[str, float]) -> None:
    assert np.isfinite(terms["total"])


def weights(one: Trainer) -> dict[str, Any]:
    return {name: value.clone() for name, value in one.model.state_dict().items()}


def test_two_trainings_with_one_seed_are_equal_bit_for_bit(tmp_path: Path) -> None:
    first, second = trainer(tmp_path / "a"), trainer(tmp_path / "b")
    for one in (first, second):
        one.run(quiet)
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
    third = trainer(tmp_path / "c", recipe(seed=1))
    third.run(quiet)
    assert any(not torch.equal(value, weights(third)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("stop", [1, 3, 5])  # in the first epoch, at its end, in the second
def test_an_interrupted_training_resumes_bit_for_bit(tmp_path: Path, stop: int) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run(quiet)
    trainer(tmp_path / "parts").run(quiet, until=stop)
    later = trainer(tmp_path / "parts")
    assert later.resume()
    assert later.state.step == stop
    later.run(quiet)
    assert all(torch.equal(value, weights(later)[name]) for name, value in weights(whole).items())
    assert whole.ema is not None
    assert later.ema is not None
    theirs = later.ema.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in whole.ema.state_dict().items())


def test_resuming_without_a_checkpoint_returns_false(tmp_path: Path) -> None:
    assert not trainer(tmp_path / "none").resume()


def test_a_factor_scales_the_steps_of_a_submodule(tmp_path: Path) -> None:
    def steps(**factors: float) -> dict[str, Any]:
        torch.manual_seed(0)
        settings = Optimisation(name="sgd", rate=1e-2, momentum=0.0, factors=factors)
        samples = WindowSamples(tracks(), (-1, 0, 1))
        one = Trainer(recipe(optimisation=settings), FAMIPose(MICRO, (-1, 0, 1)), samples, tmp_path / str(factors))
        before = dict(one.model.named_parameters())
        before = {name: value.detach().clone() for name, value in before.items()}
        one.run(quiet, until=1)
        return {name: value.detach() - before[name] for name, value in one.model.named_parameters()}

    whole, slow = steps(), steps(hrnet=0.1)
    assert any(name.startswith("hrnet.") for name in whole)
    for name, step in whole.items():
        factor = 0.1 if name.startswith("hrnet.") else 1.0
        torch.testing.assert_close(slow[name], factor * step, rtol=1e-3, atol=1e-7)  # a weight rounds at 1e-7


@pytest.mark.parametrize("settings", [{"frozen": ("hrnt",)}, {"optimisation": Optimisation(factors={"hrnt": 0.1})}])
def test_a_submodule_that_the_network_lacks_is_named(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=r"names the submodule 'hrnt', which HRNet does not have: it has .*final"):
        trainer(tmp_path, recipe(**settings))


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


def test_the_weights_with_the_best_score_are_saved(tmp_path: Path) -> None:
    scores = iter([2.0, 1.0])
    one = trainer(tmp_path)
    one.run(quiet, validate=lambda _: next(scores))
    assert one.state.best == 2.0
    assert (tmp_path / "best.safetensors").is_file()


def test_a_loss_that_is_not_finite_is_an_error_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
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
        "step 5 of micro: the loss term 'heatmap' is nan; start in another folder with a lower optimisation.rate "
        f"than 0.001 or a lower optimisation.clip than 1.0 ({tmp_path / 'last'} holds step 3, the last one saved)"
    )
    assert steps == [1, 2, 3, 4]
    later = trainer(tmp_path)
    assert later.resume()
    assert later.state.step == 3
    assert all(bool(value.isfinite().all()) for value in weights(later).values())


def test_a_gradient_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    one = trainer(tmp_path, recipe(precision="bf16"))
    next(one.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        EngineError, match=r"step 1 of micro: the norm of the gradient is (nan|inf); .*, or with precis"
    ):
        one.run(quiet)
    assert not (tmp_path / "last").exists()


def test_every_step_reports_gradient_norm_rate_and_speed(tmp_path: Path) -> None:
    reports: list[dict[str, float]] = []
    one = trainer(tmp_path, recipe(optimisation=Optimisation(rate=1e-3, clip=1e-4)))
    one.run(lambda _, terms: reports.append(terms), until=1)
    names = {"heatmap", "total", "gradient_norm", "gradient/heatmap", "rate", "samples_per_second"}
    assert reports[0].keys() == names
    assert reports[0]["rate"] == 1e-3
    assert reports[0]["samples_per_second"] > 0
    # The norm before clipping; the clipped gradient has the maximum norm.
    left = torch.stack([parameter.grad.norm() for parameter in one.model.parameters() if parameter.grad is not None])
    assert reports[0]["gradient_norm"] > 1e-4
    assert float(left.norm()) == pytest.approx(1e-4, rel=1e-2)  # PyTorch adds 1e-6 to the norm that it divides by


def press_ctrl_c() -> None:
    """Do what Python does at a SIGINT; a real one, as two_processes.py sends, could end the worker of the tests."""
    handler = signal.getsignal(signal.SIGINT)
    assert callable(handler)
    handler(signal.SIGINT, None)


def test_ctrl_c_finishes_and_saves_the_step(tmp_path: Path) -> None:
    def interrupt(step: int, _: dict[str, float]) -> None:
        if step == 2:
            press_ctrl_c()

    whole = trainer(tmp_path / "whole")
    whole.run(quiet)
    one = trainer(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        one.run(interrupt)
    assert one.saved_step == 3  # the signal arrived before step 3 began
    later = trainer(tmp_path / "parts")
    assert later.resume()
    later.run(quiet)
    assert all(torch.equal(value, weights(later)[name]) for name, value in weights(whole).items())


def test_a_second_ctrl_c_interrupts_at_once_unless_it_is_shared() -> None:
    with Interrupt() as interrupt:
        press_ctrl_c()
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            press_ctrl_c()
    with Interrupt(is_shared=True) as interrupt:
        press_ctrl_c()
        press_ctrl_c()
        assert interrupt.requested


def test_weights_are_channels_last_in_memory_and_contiguous_on_disk(tmp_path: Path) -> None:
    def is_channels_last(tensor: Any) -> bool:
        return bool(tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous())

    trainer(tmp_path).run(quiet, until=1)
    later = trainer(tmp_path)
    later.resume()
    weight = later.model.get_submodule("conv2").weight
    assert is_channels_last(weight)
    assert is_channels_last(later.optimiser.state[weight]["exp_avg"])
    saved = load_file(tmp_path / "last/model.safetensors")
    assert all(value.is_contiguous() for value in saved.values())
    # The same numbers in either memory format, except for the order of additions.
    contiguous = Trainer(
        recipe(),
        HRNet(MICRO),
        WindowSamples(tracks(), (0,)),
        tmp_path / "contiguous",
        memory_format=torch.contiguous_format,
    )
    assert not is_channels_last(contiguous.model.get_submodule("conv2").weight)
    contiguous.model.load_state_dict(later.model.state_dict())
    batch = WindowSamples(tracks(2), (0,)).batch(np.arange(2), None, np.random.default_rng(0))
    totals = [float(one.objective.eval()(batch.crops, batch.joints)["total"].detach()) for one in (later, contiguous)]
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
def test_channels_last_is_used_where_it_is_faster(device: str, precision: str, last: bool) -> None:
    wanted = torch.channels_last if last else torch.contiguous_format
    assert default_memory_format(torch.device(device), precision) == wanted


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    still = Augmentation(flip=0, gain=0, tint=0, shift=0)
    settings = recipe(epochs=15, augmentation=still, optimisation=Optimisation(rate=3e-3), loss="cross-entropy")
    losses: list[float] = []
    model = HRNet(replace(MICRO, sigma=2.0))
    trainer(tmp_path, settings, model).run(lambda _, terms: losses.append(terms["total"]))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
