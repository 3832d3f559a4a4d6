"""The weights of ``hrnet-small`` that ship, from its graph back into PyTorch, so that no training has to come first."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

import engines

GRAPH = Path(engines.__file__).parent / "hub" / "weights" / "hrnet-small" / "fused.onnx"
PREFIX = "model."


def load_shipped(hrnet: nn.Module) -> None:
    """Fill an HRNet of the size of ``hrnet-small-128x96``. The graph's convolutions include the batch normalisations,
    so those of ``hrnet`` become the identity, plus the bias."""
    graph = onnx.load(str(GRAPH)).graph
    arrays = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    with torch.no_grad():
        for node in graph.node:
            if node.op_type == "Conv" and node.input[1].startswith(PREFIX):
                name = node.input[1].removeprefix(PREFIX).removesuffix(".weight")
                _fill(hrnet, name, arrays[node.input[1]], arrays[node.input[2]])


def _fill(hrnet: nn.Module, name: str, weight: Tensor, bias: Tensor) -> None:
    convolution = cast("nn.Conv2d", hrnet.get_submodule(name))
    convolution.weight.copy_(weight)
    if convolution.bias is not None:
        convolution.bias.copy_(bias)
        return
    normalise = cast("nn.BatchNorm2d", hrnet.get_submodule(_normalisation(name)))
    nn.init.constant_(normalise.weight, (1 + normalise.eps) ** 0.5)
    nn.init.zeros_(cast("Tensor", normalise.running_mean))
    nn.init.ones_(cast("Tensor", normalise.running_var))
    normalise.bias.copy_(bias)


def _normalisation(convolution: str) -> str:
    """The name of the batch normalisation that follows: bn1 after conv1, 1 after 0."""
    head, _, last = convolution.rpartition(".")
    following = f"bn{last.removeprefix('conv')}" if last.startswith("conv") else str(int(last) + 1)
    return f"{head}.{following}" if head else following
