"""Sampling offsets and coordinates are float32 under autocast."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.layers.deform_conv import DeformConv2d  # noqa: E402
from engines.layers.fp32 import OffsetConv2d, in_float32  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose, sample_affine  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)


def autocast() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


def test_an_offset_convolution_stays_in_float32() -> None:
    torch.manual_seed(0)
    layer, x = OffsetConv2d(4, 18, 3), torch.randn(2, 4, 9, 7)
    with autocast():
        offsets, of_half, plain = layer(x), layer(x.bfloat16()), torch.nn.Conv2d.forward(layer, x)
    assert plain.dtype == torch.bfloat16
    assert torch.equal(offsets, layer(x))
    assert torch.equal(of_half, layer(x.bfloat16().float()))


def test_affine_sampling_stays_in_float32() -> None:
    torch.manual_seed(0)
    x, theta = torch.randn(2, 3, 24, 18), torch.eye(2, 3) + 0.1 * torch.randn(2, 2, 3)
    with autocast():
        whole, half = sample_affine(x, theta), sample_affine(x.bfloat16(), theta)
    assert torch.equal(whole, sample_affine(x, theta))
    assert torch.equal(half, sample_affine(x.bfloat16().float(), theta))


def test_outside_autocast_nothing_is_cast() -> None:
    assert in_float32(lambda x: x, torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
    assert in_float32(lambda x: x, torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.bfloat16


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
def test_every_networks_offsets_are_float32(model: Any, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
