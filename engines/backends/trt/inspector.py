"""The types that the layers of a built engine run in, from TensorRT's engine inspector.

The inspector's JSON differs between releases: tensors have ``Format/Datatype`` in words ("Channel major FP16 format
where channel % 8 == 0", "Half"), in TensorRT 11 also separate ``DataType`` and ``Format``; the engine's own inputs and
outputs are names under ``Bindings`` in 10, descriptions under ``I/O Tensors`` in 11. What is read here are the layers:
their types, the tactic's name and the ONNX nodes they came from.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engines.errors import EngineError

_TYPES = {
    "fp32": r"\b(FP32|Float|TF32)\b|f32",
    "fp16": r"\b(FP16|Half)\b|(?<!b)f16|h884|h16816|h1688",
    "bf16": r"\b(BF16|BFloat16)\b|bf16",
    "int8": r"\bInt8\b|i8i8",
}
"""What a type is called: in words for tensors and weights, in the names of tactics (``sm80_xmma_fprop_…_f16f16_…``)."""

_WORDS = ("Format/Datatype", "DataType", "Datatype", "Format")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_SHOWN = 5


@dataclass(frozen=True)
class Layer:
    """One layer of an engine: ``types`` are those of its inputs, outputs and weights."""

    name: str
    kind: str
    types: frozenset[str]
    nodes: tuple[str, ...]
    tactic: str


def parse_layers(information: str) -> tuple[Layer, ...]:
    """The layers in what ``EngineInspector.get_engine_information(JSON)`` returned, of TensorRT 10 or 11.

    Raises :class:`EngineError` if it holds names alone, because the engine was built without detail.
    """
    try:
        listed = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"TensorRT's description of the engine cannot be read ({error!r}), so its precision is unknown; "
            "install a supported TensorRT"
        ) from error
    if not all(isinstance(layer, dict) for layer in listed):
        raise EngineError(
            "the engine gives only the names of its layers; build it again, with ProfilingVerbosity.DETAILED"
        )
    return tuple(map(_parse_layer, listed))


def check_precision(layers: Iterable[Layer], expected: Mapping[str, str]) -> None:
    """Raise :class:`EngineError`, naming layers, if an ONNX node does not run in its ``expected`` type.

    A layer may hold many nodes and gives only the types it reads and writes, so it is wrong if none of them is the
    node's. A node that no layer lists was folded or fused away and is skipped, but at least one must be listed.
    """
    wrong, seen = [], 0
    for layer in layers:
        for node in layer.nodes:
            if node in expected:
                seen += 1
                if expected[node] not in layer.types:
                    wrong.append(f"{node} in {'+'.join(sorted(layer.types)) or 'unknown'}, not {expected[node]}")
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise EngineError(f"the engine does not run in the requested precision: {'; '.join(wrong[:_SHOWN])}{more}")
    if expected and not seen:
        raise EngineError(
            f"the precision of the engine cannot be checked: none of its layers lists any of {len(expected)} ONNX nodes"
        )


def count_layers(layers: Iterable[Layer]) -> dict[str, int]:
    """How many layers run in each type, counting each by its lowest."""
    found = Counter(_lowest_type(layer) for layer in layers)
    return dict(sorted(found.items()))


def _parse_layer(fields: Mapping[str, Any]) -> Layer:
    tactic = str(fields.get("TacticName", ""))
    return Layer(
        name=str(fields.get("Name", "")),
        kind=str(fields.get("LayerType", "")),
        # A kernel's name includes the type it accumulates in, so it counts only if nothing else gives a type.
        types=_find_types(" ".join(_tensor_words(fields))) or _find_types(tactic),
        nodes=tuple(_NODE.findall(str(fields.get("Metadata", "")))),
        tactic=tactic,
    )


def _find_types(words: str) -> frozenset[str]:
    return frozenset(name for name, pattern in _TYPES.items() if re.search(pattern, words))


def _tensor_words(fields: Mapping[str, Any]) -> Iterator[str]:
    """Everything in a layer's fields about the types of its inputs, outputs and weights."""
    for tensor in (*fields.get("Inputs", ()), *fields.get("Outputs", ())):
        yield from (str(tensor[key]) for key in _WORDS if key in tensor)
    for key in ("Weights", "Bias"):
        if isinstance(fields.get(key), dict):
            yield str(fields[key].get("Type", ""))


def _lowest_type(layer: Layer) -> str:
    return next((name for name in ("int8", "fp16", "bf16", "fp32") if name in layer.types), "other")
