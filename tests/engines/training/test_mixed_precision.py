"""Mixed precision: every network has the same loss and gradient in bfloat16 as in float32, and losses are float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.training.batches import WindowSamples  # noqa: E402
from engines.training.objective import Objective  # noqa: E402
from engines.training.recipe import Optimisation, Recipe, Synthetic  # noqa: E402
from engines.training.synthetic_samples import Tracks  # noqa: E402
from engines.training.trainer import Trainer  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)
# Not 64: there the last strided convolution reads one cell, and oneDNN 3.12 leaves the gradient of its weights in
# bfloat16 unwritten.
SIZE = 96
TERMS = {"mutual_information": 0.1}

NETWORKS: dict[str, tuple[Callable[[], Any], dict[str, float]]] = {
    "hrnet": (lambda: HRNet(MICRO), {}),
    "dcpose": (lambda: DCPose(MICRO), {}),
    "posewarper": (lambda: PoseWarper(MICRO, channels=16, blocks=2), {}),
    "fasrnet": (lambda: FaSRnet(MICRO), {}),
    "fami": (lambda: FAMIPose(MICRO), TERMS),
    "tdmi": (lambda: TDMI(MICRO), TERMS),
    "tdmi-st": (lambda: TDMI(MICRO, spatiotemporal=True), TERMS),
    "imapose": (lambda: IMAPose(MICRO), {}),
}


def random_network(name: str) -> tuple[Objective, tuple[int, ...]]:
    """A network without layers that start at zero, and the frames it reads."""
    make, terms = NETWORKS[name]
    torch.manual_seed(0)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return Objective(name, model, 2.0, "heatmap", terms), getattr(model, "frames", (0,))


def samples(frames: tuple[int, ...], number: int = 4) -> WindowSamples:
    rng = np.random.default_rng(0)
    joints = np.full((number, 5, 17, 3), 2, np.float32)
    joints[..., :2] = rng.uniform(4, SIZE - 4, (number, 5, 17, 2))
    pictures = rng.integers(0, 255, (number, 5, SIZE, SIZE, 3), np.uint8)
    return WindowSamples(Tracks(pictures, joints, np.full(number, 40, np.float32)), frames)


def compute_gradient(objective: Objective, batch: Any, dtype: Any) -> tuple[dict[str, Any], Any]:
    """The terms and the gradient of the total, all parameters in a row."""
    objective.zero_grad(set_to_none=True)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        terms = objective(batch.crops, batch.joints)
    terms["total"].backward()
    gradients = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in objective.parameters()]
    return {name: value.detach() for name, value in terms.items()}, torch.cat(gradients)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("dcpose", "posewarper"))) for name in NETWORKS]
)
def test_gradients_in_bfloat16_equal_those_in_float32(name: str) -> None:
    # In evaluation mode: batch statistics of four samples on maps of a few cells amplify rounding until the
    # gradients of two precisions have nothing in common, in float16 too.
    objective, frames = random_network(name)
    batch = samples(frames).batch(np.arange(4), None, np.random.default_rng(0))
    whole, gradient = compute_gradient(objective.eval(), batch, None)
    half, rounded = compute_gradient(objective, batch, torch.bfloat16)
    assert all(value.dtype == torch.float32 for value in half.values())
    # A layer rounds by 2^-9 at most; some fifty in a row, back and forth, by 2^-9 · √100 = 2 % where roundings are
    # independent. Mutual information multiplies features by 1/τ = 20 before an exponential: a few times as much.
    assert float((half["heatmap"] / whole["heatmap"] - 1).abs()) < 0.02
    assert float((rounded - gradient).norm() / gradient.norm()) < (0.15 if NETWORKS[name][1] else 0.08)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("fami", "bf16"), ("dcpose", "bf16"), ("fami", "fp16")])
def test_a_training_in_half_precision_resumes_bit_for_bit(tmp_path: Path, name: str, precision: Any) -> None:
    _, frames = random_network(name)
    settings = Recipe(
        network="micro",
        data=Synthetic(),
        epochs=2,
        batch=4,
        precision=precision,
        optimisation=Optimisation(rate=1e-3, ema=0.9, clip=1.0),
    )

    def trainer(folder: Path) -> Trainer:
        return Trainer(settings, random_network(name)[0].model, samples(frames, 6), folder)

    def report(step: int, terms: dict[str, float]) -> None:
        assert np.isfinite(terms["total"])

    whole, parts = trainer(tmp_path / "whole"), trainer(tmp_path / "parts")
    begun = {key: value.clone() for key, value in whole.model.state_dict().items()}
    whole.run(report)
    parts.run(report, until=2)
    later = trainer(tmp_path / "parts")
    assert later.resume()
    assert later.scaler.state_dict() == parts.scaler.state_dict()
    later.run(report)
    after = whole.model.state_dict()
    assert all(torch.equal(value, later.model.state_dict()[key]) for key, value in after.items())
    assert all(value.dtype == begun[key].dtype for key, value in after.items())
    # GradScaler skips steps whose gradients overflow and halves its scale; it does not skip all four.
    assert any(not torch.equal(value, begun[key]) for key, value in after.items() if "weight" in key)
