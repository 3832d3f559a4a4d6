"""What says where a sampling reads is float32, whatever autocast does around it."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.layers.deform_conv import DeformConv2d  # noqa: E402
from engines.layers.fp32 import PlaceConv2d, exactly  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose, sampled  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)


def autocast() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


def test_a_convolution_of_places_is_left_in_float32() -> None:
    torch.manual_seed(0)
    layer, x = PlaceConv2d(4, 18, 3), torch.randn(2, 4, 9, 7)
    with autocast():
        told, of_half, usual = layer(x), layer(x.bfloat16()), torch.nn.Conv2d.forward(layer, x)
    assert usual.dtype == torch.bfloat16
    assert torch.equal(told, layer(x))
    assert torch.equal(of_half, layer(x.bfloat16().float()))


def test_a_sampling_by_an_affine_is_left_in_float32() -> None:
    torch.manual_seed(0)
    x, theta = torch.randn(2, 3, 24, 18), torch.eye(2, 3) + 0.1 * torch.randn(2, 2, 3)
    with autocast():
        whole, half = sampled(x, theta), sampled(x.bfloat16(), theta)
    assert torch.equal(whole, sampled(x, theta))
    assert torch.equal(half, sampled(x.bfloat16().float(), theta))


def test_outside_autocast_nothing_is_cast() -> None:
    assert exactly(lambda x: x, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert exactly(lambda x: x, torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("model", "frames"),
    [
        (DCPose(MICRO), 3),
        (PoseWarper(MICRO, channels=16, blocks=2), 5),
        (FaSRnet(MICRO), 3),
        (FAMIPose(MICRO), 5),
        (TDMI(MICRO), 5),
        (IMAPose(MICRO), 5),
    ],
    ids=lambda value: type(value).__name__,
)
def test_offsets_of_every_network_come_in_float32(model: Any, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def watch(name: str) -> None:
        real = getattr(torch.ops.posestream, name)

        def wrapped(x: Any, offsets: Any, *rest: Any) -> Any:
            seen.extend(offsets if isinstance(offsets, list) else [offsets])
            return real(x, offsets, *rest)

        module = "engines.layers.deform_conv" if name == "deform_conv2d" else "engines.layers.deform_dilated"
        monkeypatch.setattr(f"{module}._operator", wrapped)

    watch("deform_conv2d")
    watch("deform_conv2d_dilated")
    with autocast(), torch.no_grad():
        model.eval()(torch.randn(1, frames, 3, 64, 64))
    assert sum(isinstance(module, DeformConv2d) for module in model.modules()) <= len(seen)
    assert {offset.dtype for offset in seen} == {torch.float32}
