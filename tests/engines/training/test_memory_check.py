"""The memory estimate of a training step."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.spec.network import HRNetSpec, NetworkSpec  # noqa: E402
from engines.training import memory_check  # noqa: E402
from engines.training.recipe import Optimisation, Recipe, Synthetic  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)


def network(size: int = 64) -> NetworkSpec:
    return NetworkSpec(model="hrnet.HRNet", hrnet=HRNetSpec(width=12), input_size=(size, size))


def test_step_bytes_count_the_moving_average_the_optimiser_and_communication_buckets() -> None:

    model = HRNet(MICRO)
    spec = network()
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    learning = 4 * sum(parameter.numel() for parameter in model.parameters())

    def fixed(ema: float, *, distributed: bool = False) -> int:
        settings = Recipe(network="micro", data=Synthetic(), optimisation=Optimisation(ema=ema))
        return memory_check.step_bytes(settings, spec, model, distributed=distributed)[0]

    assert fixed(0.0) == weights + 3 * learning
    assert fixed(0.99) == 2 * weights + 3 * learning
    assert fixed(0.0, distributed=True) == weights + 4 * learning
    # Batch normalisation's statistics have no gradients and no moments.
    assert learning < weights


def test_half_precision_saves_less_for_each_window_and_its_weights_once() -> None:

    model = HRNet(MICRO)
    spec = network()
    whole, half = (
        memory_check.step_bytes(Recipe(network="micro", data=Synthetic(), precision=precision), spec, model)
        for precision in ("fp32", "bf16")
    )
    assert whole[1] / 2 <= half[1] < whole[1]
    # Every convolution's weights, in two bytes instead of four.
    rounded = 2 * sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 4)
    assert half[0] - whole[0] == pytest.approx(rounded, rel=0.05)


def test_activations_grow_with_the_input_size_and_shrink_with_frozen_modules() -> None:

    def activation_bytes(size: int, *frozen: str) -> int:
        spec = network(size)
        return memory_check.step_bytes(Recipe(network="micro", data=Synthetic(), frozen=frozen), spec, HRNet(MICRO))[1]

    # A convolution saves its input, so four times the pixels are four times the bytes.
    assert activation_bytes(128) == pytest.approx(4 * activation_bytes(64), rel=0.05)
    assert activation_bytes(64, "conv1", "bn1", "conv2", "bn2", "layer1") < activation_bytes(64)
