"""Our operators as standard ONNX: deformable convolution becomes one ``DeformConv`` node (opset 19 and later).

torch.onnx.export(model, inputs, dynamo=True, opset_version=20, custom_translation_table=TRANSLATIONS)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset20 as op

import engines.layers.deform_dilated  # noqa: F401 - registers torch.ops.posestream.deform_conv2d and …_dilated


def deform_conv(
    x: Any,
    offset: Any,
    mask: Any,
    weight: Any,
    bias: Any,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    offset_groups: int,
) -> Any:
    """One ``DeformConv``. The maps have ONNX's layout already; channels of ``x`` and ``weight`` must be constant."""
    return op.DeformConv(
        x,
        weight,
        offset,
        bias,
        mask,
        strides=[*stride],
        pads=[*padding, *padding],  # top, left, bottom, right
        dilations=[*dilation],
        group=int(x.shape[1]) // int(weight.shape[1]),
        offset_group=offset_groups,
        kernel_shape=[int(side) for side in weight.shape[2:]],
    )


def deform_conv_dilated(
    x: Any,
    offsets: Sequence[Any],
    masks: Sequence[Any],
    weights: Sequence[Any],
    biases: Sequence[Any],
    dilations: Sequence[int],
    offset_groups: int,
) -> Any:
    """One ``DeformConv`` for each dilation, and their sum."""
    total = None
    for i, d in enumerate(dilations):
        padding = [d * (int(side) // 2) for side in weights[i].shape[2:]]
        mask, bias = masks[i] if masks else None, biases[i] if biases else None
        y = deform_conv(x, offsets[i], mask, weights[i], bias, (1, 1), padding, (d, d), offset_groups)
        total = y if total is None else op.Add(total, y)
    return total


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.posestream.deform_conv2d.default: deform_conv,
    torch.ops.posestream.deform_conv2d_dilated.default: deform_conv_dilated,
}
"""For ``torch.onnx.export``."""
