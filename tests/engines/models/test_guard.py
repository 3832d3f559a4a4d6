"""Regression test of every network's output, for machines without the reference tensors.

``guard.json`` was written by this file (``python -m tests.engines.models.test_guard``) from code that equalled the
reference tensors.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose, FAMIPoseReleased  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.fasrnet_released import FaSRnetReleased  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.inspose import InsPose  # noqa: E402
from engines.models.inspose_released import InsPoseReleased  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from tests.engines.models import golden  # noqa: E402

GUARD = Path(__file__).with_name("guard.json")
SMALL = HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1)
BATCH, SIZE = 2, (96, 64)
SAMPLES = 8

NETWORKS: dict[str, Any] = {
    "hrnet": lambda: HRNet(SMALL),
    "dcpose": lambda: DCPose(SMALL),
    "posewarper": lambda: PoseWarper(SMALL, channels=16, blocks=2),
    "fasrnet": lambda: FaSRnet(SMALL),
    "fasrnet as released": lambda: FaSRnetReleased(SMALL),
    "fami": lambda: FAMIPose(SMALL),
    "fami causal": lambda: FAMIPose(SMALL, (-1, 0)),
    "fami as released": lambda: FAMIPoseReleased(SMALL),
    "tdmi": lambda: TDMI(SMALL),
    "tdmi-st": lambda: TDMI(SMALL, spatiotemporal=True),
    "imapose": lambda: IMAPose(SMALL),
    "inspose": lambda: InsPose("hrnet-compact", width=64),
    "inspose as released": lambda: InsPoseReleased(),
}


def fill(model: Any) -> Any:
    """Weights by name, as the reference fills them, and small enough that offsets stay within the map."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    scale = [(r"(offset|mask|scalars|phi)[^.]*\.(.*\.)?(weight|bias)$", 0.1, False), *golden.SCALES["hrnet"]]
    model.load_state_dict(
        {key: torch.from_numpy(np.asarray(golden.draw(key, it, scale))) for key, it in shapes.items()}
    )
    return model.eval()


def compute(name: str) -> list[Any]:
    """The network's heatmaps; for InsPose, all outputs that are decoded."""
    model = fill(NETWORKS[name]())
    size = (384, 288) if name == "fami as released" else SIZE
    frames = len(getattr(model, "frames", (0,)))
    shape = (BATCH, frames, 3, *size) if frames > 1 else (BATCH, 3, *size)
    with torch.no_grad():
        result = model(golden.crops(shape))
    return [result] if isinstance(result, torch.Tensor) else [*result.scores, *result.theta, result.f_kp, result.disk]


def numbers(maps: list[Any]) -> list[float]:
    """Mean, standard deviation and eight values of each map."""
    result = []
    for values in maps:
        row = values.double().flatten()
        where = [i * (len(row) - 1) // (SAMPLES - 1) for i in range(SAMPLES)]
        result += [row.mean().item(), row.std().item(), *row[where].tolist()]
    return [float(f"{number:.7g}") for number in result]


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_those_recorded_when_compared_with_the_published_network(name: str) -> None:
    expected = np.array(json.loads(GUARD.read_text())[name])
    # The bound of the goldens: other machines sum in another order.
    np.testing.assert_allclose(numbers(compute(name)), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_the_guard_detects_a_changed_weight() -> None:
    model = fill(NETWORKS["dcpose"]())
    next(model.correction.offsets.parameters()).mul_(1.1)
    with torch.no_grad():
        changed = numbers([model(golden.crops((BATCH, 3, 3, *SIZE)))])
    expected = np.array(json.loads(GUARD.read_text())["dcpose"])
    assert np.abs(np.array(changed) - expected).max() > 1e-3 * np.abs(expected).max()


if __name__ == "__main__":
    GUARD.write_text(json.dumps({name: numbers(compute(name)) for name in NETWORKS}, indent=0) + "\n")
