"""How PyTorch's operators reach the kernel: all but the launch, in whose place the kernel is run on a processor."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.layers.deform_conv import deform_conv2d, deform_conv2d_reference  # noqa: E402
from engines.layers.deform_dilated import dilated_reference  # noqa: E402
from engines.plugins.deform_conv import torch_cuda  # noqa: E402
from engines.plugins.deform_conv.spec import plan_launch  # noqa: E402
from engines.plugins.deform_conv.torch_cuda import Call, Settings, prepare_call  # noqa: E402
from tests.engines.plugins.deform_conv.cases import bits  # noqa: E402
from tests.engines.plugins.deform_conv.emulation import Emulator  # noqa: E402


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, emulator: Emulator) -> list[Call]:
    """The calls made; each is run by the emulator instead of a GPU."""
    made: list[Call] = []

    def run(call: Call) -> None:
        made.append(call)
        nhwc = call.spec.layout == "nhwc"
        given = {name: t.permute(0, 2, 3, 1) if nhwc and name == "x" else t for name, t in call.inputs.items()}
        out = bits(call.out)
        x = call.inputs["x"]
        emulator.run(
            call.spec, [bits(given[n]) for n in call.spec.inputs], out, plan_launch(call.spec, len(x), *x.shape[2:])
        )
        call.out.copy_(torch.from_numpy(out).view(call.out.dtype))

    monkeypatch.setattr(torch_cuda, "launch_on_device", run)
    return made


def maps(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def single(**change: Any) -> dict[str, Any]:
    """Arguments of the operator: 8 channels in 2 offset groups, 11×7."""
    return {
        "x": maps(2, 8, 11, 7),
        "offset": maps(2, 36, 11, 7, seed=1) * 3,
        "mask": maps(2, 18, 11, 7, seed=2),
        "weight": maps(16, 8, 3, 3, seed=3),
        "bias": maps(16, seed=4),
        "stride": [1, 1],
        "padding": [1, 1],
        "dilation": [1, 1],
        "offset_groups": 2,
    } | change


def test_without_cuda_nothing_is_registered_and_nothing_is_imported() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert torch_cuda.register() is False
    assert importlib.import_module(torch_cuda.__name__) is sys.modules[torch_cuda.__name__]
    x = single()
    # the operator is what it was
    torch.testing.assert_close(
        deform_conv2d(x["x"], x["offset"], x["weight"], x["bias"], x["mask"], padding=1, offset_groups=2),
        deform_conv2d_reference(**x),
    )


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_the_operator_s_arguments_make_the_kernel_compute_the_same(calls: list[Call], form: Any) -> None:
    given = single()
    given["x"] = given["x"].contiguous(memory_format=form)
    got = torch_cuda._deform_conv2d(*given.values())
    assert [call.spec.layout for call in calls] == ["nhwc" if form is torch.channels_last else "nchw"]
    wide = {name: t.double() if isinstance(t, torch.Tensor) else t for name, t in given.items()}
    # fp32 against float64: 72 terms of about 1 in a sum
    torch.testing.assert_close(got.double(), deform_conv2d_reference(**wide), rtol=1e-5, atol=1e-5)


def test_several_dilations_make_one_call(calls: list[Call]) -> None:
    x, dilations = maps(2, 8, 11, 7), (1, 3, 6)
    offsets = [maps(2, 18, 11, 7, seed=r) for r in dilations]
    masks = [maps(2, 9, 11, 7, seed=10 + r) for r in dilations]
    weights = [maps(16, 8, 3, 3, seed=20 + r) for r in dilations]
    biases = [maps(16, seed=30 + r) for r in dilations]
    got = torch_cuda._deform_conv2d_dilated(x, offsets, masks, weights, biases, dilations, 1)
    assert len(calls) == 1
    wide = [[t.double() for t in part] for part in (offsets, masks, weights, biases)]
    wanted = dilated_reference(x.double(), wide[0], wide[1], wide[2], wide[3], dilations, 1)
    # fp32 against float64: 216 terms of about 1 in a sum
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def test_views_at_odd_addresses_and_fp16_offsets_are_made_what_the_kernel_reads(calls: list[Call]) -> None:
    given = single()
    half = {name: given[name].half() for name in ("x", "mask", "weight", "bias")}
    shifted = torch.empty(given["x"].numel() + 1, dtype=torch.float16)[1:].view(given["x"].shape).copy_(half["x"])
    assert shifted.data_ptr() % 16
    got = torch_cuda._deform_conv2d(*(given | half | {"x": shifted, "offset": given["offset"].half()}).values())
    (call,) = calls
    assert all(t.data_ptr() % 16 == 0 for t in call.inputs.values())
    assert call.inputs["offset0"].dtype == torch.float32
    wide = {name: half[name].float() for name in half} | {"offset": given["offset"].half().float()}
    # One rounding of the samples and one of the result, of sums of 72 terms of about 1.
    torch.testing.assert_close(got.float(), deform_conv2d_reference(**given | wide), rtol=2e-3, atol=2e-2)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": maps(16, 4, 3, 3)},  # two weight groups
        {"weight": maps(16, 8, 3, 3).double(), "x": maps(2, 8, 11, 7).double()},
        {"padding": [1, 2], "offset": maps(2, 36, 11, 9), "mask": maps(2, 18, 11, 9)},
        {"dilation": [1, 2], "padding": [1, 2]},
    ],
    ids=["weight groups", "float64", "uneven padding", "uneven dilation"],
)
def test_what_the_kernel_cannot_compute_goes_to_the_plain_operator(calls: list[Call], change: Any) -> None:
    given = single(**change)
    if given["x"].dtype == torch.float64:
        given = {name: t.double() if isinstance(t, torch.Tensor) else t for name, t in given.items()}
    torch.testing.assert_close(torch_cuda._deform_conv2d(*given.values()), deform_conv2d_reference(**given))
    assert calls == []


def test_a_map_of_the_wrong_size_is_named_and_never_read(calls: list[Call]) -> None:
    with pytest.raises(ValueError, match="offset is"):
        torch_cuda._deform_conv2d(*single(offset=maps(2, 36, 11, 6)).values())
    with pytest.raises(ValueError, match="mask is"):
        torch_cuda._deform_conv2d(*single(mask=maps(2, 9, 11, 7)).values())
    assert calls == []


def test_an_empty_batch_gives_an_empty_result_without_a_launch(calls: list[Call]) -> None:
    got = torch_cuda._deform_conv2d(
        *single(x=maps(0, 8, 11, 7), offset=maps(0, 36, 11, 7), mask=maps(0, 18, 11, 7)).values()
    )
    assert got.shape == (0, 16, 11, 7)
    assert calls == []


def test_weights_are_packed_once_and_again_when_they_change() -> None:
    given, settings = single(), Settings(1, (1,), (1,), 2)

    def packed() -> Any:
        offset, mask, weight, bias = ((given[name],) for name in ("offset", "mask", "weight", "bias"))
        call = prepare_call(given["x"], offset, mask, weight, bias, settings)
        assert call is not None
        return call.inputs["weight"]

    first = packed()
    assert packed() is first
    given["weight"].mul_(2)
    torch.testing.assert_close(packed(), 2 * first, rtol=0, atol=0)
