"""Lowers the precision of all graphs of a network, with crops to calibrate each on."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from engines.models.temporal import TemporalModel
from engines.spec.manifest import Part, Precision
from engines.spec.signature import KeptType, Signature
from export.calibration import Samples, normalise
from export.progress import step

Feeds = dict[str, NDArray[np.generic]]

WINDOWS: dict[Precision, int] = {"fp16": 4, "int8": 16}
"""Windows of people to measure value ranges on; more change little (benchmarks/results/precision.md)."""


def lower_precision(
    models: dict[Part, onnx.ModelProto], model: nn.Module, signature: Signature, people: Samples, precision: Precision
) -> tuple[dict[Part, onnx.ModelProto], Signature]:
    """Every graph in ``precision``, with ranges and scales from ``people``, and the Signature for it."""
    from export import precision as lowering

    feeds = {part: list(make_feeds(part, model, signature, people)) for part in models}
    with step(f"{', '.join(models)} to {precision}"):
        result = lowering.lower_precision(models, precision, feeds)
    return result, msgspec.structs.replace(signature, kept_type=_find_kept_type(result))


def _find_kept_type(models: dict[Part, onnx.ModelProto]) -> KeptType:
    """The type of the backbone's maps, from its graph."""
    if "backbone" not in models:
        return "float32"
    half = models["backbone"].graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    return "float16" if half else "float32"


def make_feeds(part: Part, model: nn.Module, signature: Signature, people: Samples) -> Iterator[Feeds]:
    """The inputs of a part for these crops, a window at a time; maps are computed by PyTorch."""
    for crops, planes in zip(people.inputs(signature), normalise(people.crops, signature), strict=True):
        if part == "fused":
            yield {"crops": crops[None]}
        elif part == "backbone":
            yield {"crops": crops}
        else:
            yield _compute_maps(model, torch.from_numpy(planes)[None])


def _compute_maps(model: nn.Module, planes: torch.Tensor) -> Feeds:
    assert isinstance(model, TemporalModel)  # nothing else has a head
    with torch.no_grad():
        return {f"maps_{i}": maps.numpy() for i, maps in enumerate(model.window_features(planes))}
