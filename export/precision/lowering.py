"""Lower precision for all graphs of a network, each with crops to be calibrated on."""

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
from export.calibration import Samples, normalised
from export.progress import step

Feeds = dict[str, NDArray[np.generic]]

WINDOWS: dict[Precision, int] = {"fp16": 4, "int8": 16}
"""Of people, to see how large values become; more bring little (benchmarks/results/precision.md)."""


def lowered(
    models: dict[Part, onnx.ModelProto], model: nn.Module, signature: Signature, people: Samples, precision: Precision
) -> tuple[dict[Part, onnx.ModelProto], Signature]:
    """Every graph in ``precision``, ranges and scales taken from ``people``, and the Signature of that."""
    from export import precision as lower

    feeds = {part: list(feeds_of(part, model, signature, people)) for part in models}
    with step(f"{', '.join(models)} to {precision}"):
        result = lower.lowered(models, precision, feeds)
    return result, msgspec.structs.replace(signature, kept_type=_kept_type(result))


def _kept_type(models: dict[Part, onnx.ModelProto]) -> KeptType:
    """What the backbone gives, as its graph says."""
    if "backbone" not in models:
        return "float32"
    half = models["backbone"].graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    return "float16" if half else "float32"


def feeds_of(part: Part, model: nn.Module, signature: Signature, people: Samples) -> Iterator[Feeds]:
    """What a part is fed with these crops, a window at a time; maps come from PyTorch."""
    for crops, planes in zip(people.inputs(signature), normalised(people.crops, signature), strict=True):
        if part == "fused":
            yield {"crops": crops[None]}
        elif part == "backbone":
            yield {"crops": crops}
        else:
            yield _maps(model, torch.from_numpy(planes)[None])


def _maps(model: nn.Module, planes: torch.Tensor) -> Feeds:
    assert isinstance(model, TemporalModel)  # nothing else has a head
    with torch.no_grad():
        return {f"maps_{i}": maps.numpy() for i, maps in enumerate(model.window_features(planes))}
