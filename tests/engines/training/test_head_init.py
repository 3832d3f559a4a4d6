"""A head initialised from the single-frame network reproduces its output and can be trained."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.errors import EngineError  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.training.head_init import init_from_single_frame  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1, sigma=1.5)


NETWORKS = {
    "fami": lambda: FAMIPose(MICRO, (-1, 0, 1)),
    "tdmi": lambda: TDMI(MICRO, (-1, 0, 1)),
    "tdmi-st": lambda: TDMI(MICRO, (-1, 0, 1), spatiotemporal=True),
    "imapose": lambda: IMAPose(MICRO, 1, dilations=(1, 3)),
    "fasrnet": lambda: FaSRnet(MICRO),
    "dcpose": lambda: DCPose(MICRO, channels=8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_window_of_equal_frames_gives_the_single_frames_heatmaps(name: str) -> None:
    torch.manual_seed(0)
    model: Any = NETWORKS[name]().eval()
    for layer in model.hrnet.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)  # FAMI-Pose's initial weights give almost constant maps
    torch.nn.init.normal_(model.hrnet.final_layer.weight, std=0.1)
    crops = torch.rand(4, 1, 3, 64, 64).expand(4, 3, 3, 64, 64)
    init_from_single_frame("any", model, crops)
    with torch.no_grad():
        single = model.hrnet(crops[:, 1])
        # FAMI-Pose's offsets and masks begin near 0.001, not at 0.
        torch.testing.assert_close(model(crops), single, atol=0.01 * float(single.max()), rtol=0)
        assert float(single.std()) > 0.01
        model.train()
        model.hrnet.eval()
        torch.testing.assert_close(model(crops), single, atol=0.05 * float(single.max()), rtol=0)


def test_all_layers_receive_gradients() -> None:
    model = TDMI(MICRO, (-1, 0, 1))
    init_from_single_frame("any", model, torch.rand(2, 3, 3, 64, 64))
    model(torch.rand(2, 3, 3, 64, 64)).square().sum().backward()
    # Layers followed by a scale of 0 learn from the second step on, when that scale is no longer 0.
    assert float(model.enhance[0].bn2.weight.grad.abs().sum()) > 0
    assert float(model.detect.weight.grad.abs().sum()) > 0


def test_other_networks_are_refused() -> None:
    with pytest.raises(EngineError) as caught:
        init_from_single_frame("mine", PoseWarper(MICRO, channels=4, blocks=1), torch.rand(1, 5, 3, 64, 64))
    assert str(caught.value) == (
        "network 'mine': head_init=single-frame is implemented for FAMIPose, TDMI, IMAPose, FaSRnet, DCPose, not for "
        "PoseWarper; leave head_init out of the recipe"
    )
