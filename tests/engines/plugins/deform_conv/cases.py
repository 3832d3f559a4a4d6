"""Tensors for a spec, what the kernel must make of them in float64, and how far others are from that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.layers.deform_conv import deform_conv2d_reference, gather, sampling_points
from engines.plugins.deform_conv.spec import DeformConvSpec, plan_launch
from engines.plugins.deform_conv.torch_cuda import pack_weights
from tests.engines.plugins.deform_conv.emulation import Block, Emulator

TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass
class Case:
    """One call; all tensors as the plain operators take them, one of each to a dilation."""

    spec: DeformConvSpec
    x: Tensor
    offsets: list[Tensor]
    masks: list[Tensor]
    weights: list[Tensor]
    bias: Tensor


def drawn(spec: DeformConvSpec, n: int, h: int, w: int, *, seed: int = 0, spread: float = 4.0) -> Case:
    """Random tensors; offsets reach beyond every border, and outputs have a size of about 1."""
    g = torch.Generator().manual_seed(seed)
    oh, ow = plan_launch(spec, n, h, w).integers[2:]
    maps, terms = spec.offset_groups * spec.points, spec.rounds * spec.channels * spec.points
    kind = TYPES[spec.dtype]

    def each(make: Any) -> list[Tensor]:
        return [make() for _ in spec.dilations]

    masked = spec.mask != "none"
    return Case(
        spec,
        torch.randn(n, spec.channels, h, w, generator=g).to(kind),
        each(lambda: torch.randn(n, 2 * maps, oh, ow, generator=g) * spread),
        each(lambda: torch.rand(n, maps, oh, ow, generator=g).to(TYPES[spec.mask])) if masked else [],
        each(lambda: (torch.randn(spec.out_channels, spec.channels, *spec.kernel, generator=g) / terms**0.5).to(kind)),
        torch.randn(spec.out_channels, generator=g),
    )


def emulated(
    emulator: Emulator, case: Case, blocks: Sequence[Block] | None = None, change: tuple[str, str] | None = None
) -> Tensor:
    """What the kernel gives, in float64; NaN where no block wrote."""
    spec, (n, _, h, w) = case.spec, case.x.shape
    shape = plan_launch(spec, n, h, w)
    x = case.x.permute(0, 2, 3, 1) if spec.layout == "nhwc" else case.x
    offsets, masks = case.offsets, case.masks
    if spec.joined:
        offsets, masks = [torch.cat(offsets, dim=1)], [torch.cat(masks, dim=1)] if masks else []
    arrays = [bits(t) for t in (x, *offsets, *masks, pack_weights(spec, case.weights), case.bias)]
    empty = torch.full((n, spec.out_channels, *shape.integers[2:]), float("nan"), dtype=TYPES[spec.dtype])
    out = bits(empty)
    emulator.run(spec, arrays, out, shape, blocks, change)
    return torch.from_numpy(out).view(empty.dtype).double()


def bits(tensor: Tensor) -> NDArray[Any]:
    """A copy at a multiple of 16 bytes, as CUDA's allocators give; 16-bit types as integers, which numpy has all of."""
    plain = tensor.contiguous()
    source = (plain.view(torch.int16) if plain.element_size() == 2 else plain).numpy()
    room = np.empty(source.nbytes + 16, np.uint8)
    start = -room.ctypes.data % 16
    copy = room[start : start + source.nbytes].view(source.dtype).reshape(source.shape)
    copy[...] = source
    return copy


def exact(case: Case, rounding: torch.dtype = torch.float64) -> Tensor:
    """In float64; ``rounding`` to the type of the samples and of the result is the least that 16 bits cost."""
    spec, x = case.spec, case.x.double()
    n, c, _, _ = x.shape
    total = case.bias.double().reshape(1, -1, 1, 1)
    for r, (d, p) in enumerate(zip(spec.dilations, spec.pads, strict=True)):
        points = sampling_points(
            case.offsets[r].double(), spec.kernel, (spec.stride,) * 2, (p, p), (d, d), spec.offset_groups
        )
        samples = gather(x, *points, spec.offset_groups)
        oh, ow = samples.shape[-2:]
        if case.masks:
            samples = samples * case.masks[r].double().reshape(n, spec.offset_groups, 1, spec.points, oh, ow)
        patches = samples.to(rounding).double().reshape(n, c * spec.points, oh * ow)
        total = total + (case.weights[r].double().flatten(1) @ patches).reshape(n, -1, oh, ow)
    return activated(spec, total).to(rounding).double()


def plain(case: Case) -> Tensor:
    """PyTorch's operator with everything in the kernel's own type, as a network in that precision computes it."""
    spec, kind = case.spec, case.x.dtype
    masks: list[Tensor | None] = [m.to(kind) for m in case.masks] if case.masks else [None] * spec.rounds
    sizes = zip(spec.dilations, spec.pads, strict=True)
    terms = [
        deform_conv2d_reference(
            case.x,
            case.offsets[r].to(kind),
            masks[r],
            case.weights[r],
            None,
            (spec.stride,) * 2,
            (p, p),
            (d, d),
            spec.offset_groups,
        )
        for r, (d, p) in enumerate(sizes)
    ]
    return activated(spec, sum(terms, start=case.bias.to(kind).reshape(1, -1, 1, 1))).double()


def activated(spec: DeformConvSpec, sums: Tensor) -> Tensor:
    """With the spec's activation."""
    if spec.activation == "none":
        return sums
    return torch.nn.functional.leaky_relu(sums, spec.slope if spec.activation == "leaky_relu" else 0.0)


def error(got: Tensor, wanted: Tensor) -> float:
    """Root of the mean square over what was computed at all."""
    there = ~got.isnan()
    assert there.any()
    return float((got - wanted)[there].square().mean().sqrt())
