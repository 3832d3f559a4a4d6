"""The network that ships: its shapes and its size."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="models need PyTorch (pip install 'posestream[torch]')")


def test_it_gives_a_heatmap_a_joint_at_a_quarter_of_the_crop() -> None:
    from engines.models.tiny import INPUT_SIZE, JOINTS, STRIDE, Tiny

    width, height = INPUT_SIZE
    with torch.no_grad():
        heatmaps = Tiny().eval()(torch.zeros(2, 3, height, width))
    assert tuple(heatmaps.shape) == (2, JOINTS, height // STRIDE, width // STRIDE)


def test_it_stays_small_enough_to_ship() -> None:
    from engines.models.tiny import Tiny

    # 0.35 M single-precision numbers are 1.4 MB of ONNX.
    assert sum(parameter.numel() for parameter in Tiny().parameters()) < 350_000


def test_people_of_a_batch_do_not_see_one_another() -> None:
    from engines.models.tiny import Tiny

    model = Tiny().eval()
    crops = torch.randn(3, 3, 192, 144)
    with torch.no_grad():
        # Another batch may add up in another order.
        assert torch.allclose(model(crops)[1:2], model(crops[1:2]), atol=1e-5)
