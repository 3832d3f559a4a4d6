"""A network that begins as the single frame gives the single frame's answer, and learns from there."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.errors import EngineError  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.training.head_init import begin_as_single_frame  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1, sigma=1.5)


@pytest.mark.parametrize("kind", [FAMIPose, TDMI])
def test_frames_that_are_all_the_key_frame_give_the_single_frames_answer(kind: Any) -> None:
    torch.manual_seed(0)
    model = kind(MICRO, (-1, 0, 1)).eval()
    for layer in model.hrnet.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)  # FAMI-Pose's own beginning is all but silent
    torch.nn.init.normal_(model.hrnet.final_layer.weight, std=0.1)
    crops = torch.rand(4, 1, 3, 64, 64).expand(4, 3, 3, 64, 64)
    begin_as_single_frame("any", model, crops)
    with torch.no_grad():
        single = model.hrnet(crops[:, 1])
        # FAMI-Pose's offsets and masks begin at numbers of about 0.001, not at 0; so does what it reads.
        torch.testing.assert_close(model(crops), single, atol=0.01 * float(single.max()), rtol=0)
        assert float(single.std()) > 0.01
        model.train()
        model.hrnet.eval()
        torch.testing.assert_close(model(crops), single, atol=0.05 * float(single.max()), rtol=0)


def test_it_can_still_learn_everything() -> None:
    model = TDMI(MICRO, (-1, 0, 1))
    begin_as_single_frame("any", model, torch.rand(2, 3, 3, 64, 64))
    model(torch.rand(2, 3, 3, 64, 64)).square().sum().backward()
    # What ends in a scale of 0 learns from the second step on, once that scale has moved.
    assert float(model.enhance[0].bn2.weight.grad.abs().sum()) > 0
    assert float(model.detect.weight.grad.abs().sum()) > 0


def test_a_head_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(EngineError) as caught:
        begin_as_single_frame("mine", DCPose(MICRO, channels=4), torch.rand(1, 3, 3, 64, 64))
    assert str(caught.value) == (
        "network 'mine': start=single-frame is for FAMI-Pose and TDMI, whose heads have a place for the single frame's "
        "answer; it is DCPose, so leave start away"
    )
