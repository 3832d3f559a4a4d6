"""The memory estimate of a training step."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.spec.network import HRNetSpec, NetworkSpec  # noqa: E402
from engines.training import memory_check  # noqa: E402
from engines.training.recipe import Optimisation, Recipe, Synthetic  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)


def network(size: int = 64) -> NetworkSpec:
    return NetworkSpec(model="hrnet.HRNet", hrnet=HRNetSpec(width=12), input_size=(size, size))


@pytest.mark.slow
def test_step_bytes_count_the_moving_average_the_optimiser_and_communication_buckets() -> None:

    model = HRNet(MICRO)
    spec = network()
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    learning = 4 * sum(parameter.numel() for parameter in model.parameters())

    def fixed(ema: float, *, distributed: bool = False) -> int:
        settings = Recipe(network="micro", data=Synthetic(), optimisation=Optimisation(ema=ema))
        return memory_check.step_bytes(settings, spec, model, distributed=distributed)[0]

    # Two moments always; of the gradients those that are there when most is in use.
    assert weights + 2 * learning < fixed(0.0) < weights + 3.2 * learning
    assert fixed(0.99) == fixed(0.0) + weights
    assert fixed(0.0, distributed=True) == fixed(0.0) + learning
    # Batch normalisation's statistics have no gradients and no moments.
    assert learning < weights


def test_the_count_is_the_most_that_is_in_use_at_once() -> None:
    x = torch.ones(1000)
    with memory_check._Count() as counted:
        y = x + 1  # 4,000 bytes
        z = y * 2  # and 4,000 more
        del y
        z = z.view(10, 100)  # no storage of its own
        z = z.double()  # 8,000, while z is there
    assert counted.peak == 12_000


@pytest.mark.slow
def test_the_columns_that_deformable_convolutions_gather_are_counted() -> None:
    spec = NetworkSpec(model="fami.FAMIPose", hrnet=HRNetSpec(width=12), input_size=(64, 64), window=(-1, 0))
    each = [
        memory_check.step_bytes(
            Recipe(network="micro", data=Synthetic(), frozen=("hrnet",)),
            spec,
            FAMIPose(MICRO, (-1, 0), calibration=calibration),
        )[1]
        for calibration in (False, True)
    ]
    # The samples of nine points of twelve channels on 16x16 cells, their product with the modulation, and their
    # gradients, while the backward pass runs.
    assert each[1] - each[0] > 4 * 9 * 12 * 16 * 16 * 4


@pytest.mark.slow
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
    assert rounded <= half[0] - whole[0] < 1.5 * rounded


@pytest.mark.slow
def test_activations_grow_with_the_input_size_and_shrink_with_frozen_modules() -> None:

    def activation_bytes(size: int, *frozen: str) -> int:
        spec = network(size)
        return memory_check.step_bytes(Recipe(network="micro", data=Synthetic(), frozen=frozen), spec, HRNet(MICRO))[1]

    # A convolution saves its input, so four times the pixels are four times the bytes.
    assert activation_bytes(128) == pytest.approx(4 * activation_bytes(64), rel=0.05)
    assert activation_bytes(64, "conv1", "bn1", "conv2", "bn2", "layer1") < activation_bytes(64)
