"""What each layer of a built engine really runs in, from TensorRT's engine inspector, and whether it was asked for.

The inspector's JSON differs between releases: tensors carry ``Format/Datatype`` in words ("Channel major FP16 format
where channel % 8 == 0", "Half"), in TensorRT 11 also ``DataType`` and ``Format`` apart; the engine's own inputs and
outputs are names under ``Bindings`` in 10, descriptions under ``I/O Tensors`` in 11. Read here: layers, and of them
types, the tactic's name and the ONNX nodes they came from.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from engines.errors import EngineError

_TYPES = {
    "fp32": r"\b(FP32|Float|TF32)\b|f32",
    "fp16": r"\b(FP16|Half)\b|(?<!b)f16|h884|h16816|h1688",
    "bf16": r"\b(BF16|BFloat16)\b|bf16",
    "int8": r"\bInt8\b|i8i8",
}
"""How a type is called: in words for tensors and weights, in the names of tactics (``sm80_xmma_fprop_…_f16f16_…``)."""

_WORDS = ("Format/Datatype", "DataType", "Datatype", "Format")
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_SHOWN = 5


@dataclass(frozen=True)
class Layer:
    """One layer of an engine: ``types`` are all in which it reads, writes and keeps weights."""

    name: str
    kind: str
    types: frozenset[str]
    nodes: tuple[str, ...]
    tactic: str


def layers_of(information: str) -> tuple[Layer, ...]:
    """The layers in what ``EngineInspector.get_engine_information(JSON)`` gave, of TensorRT 10 or 11.

    Raises :class:`EngineError` where it holds names alone: the engine was built without detail.
    """
    try:
        listed = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"TensorRT's account of the engine cannot be read ({error!r}); its layers are unknown"
        ) from error
    if not all(isinstance(layer, dict) for layer in listed):
        raise EngineError(
            "the engine tells the names of its layers only; build it again, with ProfilingVerbosity.DETAILED"
        )
    return tuple(map(_layer, listed))


def prove(layers: Iterable[Layer], expected: Mapping[str, str]) -> None:
    """Raise :class:`EngineError`, naming layers, where an ONNX node does not run in the type ``expected`` of it.

    A layer may hold many nodes and tell only what it reads and writes; so one is wrong when none of its types is the
    node's. A node that no layer claims was folded away or fused without a trace, and is passed over: the count of those
    that were seen must not be nothing.
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
        raise EngineError(f"the engine does not run in the precision asked for: {'; '.join(wrong[:_SHOWN])}{more}")
    if expected and not seen:
        raise EngineError(
            f"the precision of the engine cannot be proven: none of its layers names any of {len(expected)} ONNX nodes"
        )


def counts(layers: Iterable[Layer]) -> dict[str, int]:
    """How many layers run in each type, by the lowest that each shows."""
    found = Counter(_lowest(layer) for layer in layers)
    return dict(sorted(found.items()))


def table(layers: Iterable[Layer]) -> Table:
    """For people: every layer, its kind, its types and the kernel that TensorRT chose."""
    shown = Table("layer", "kind", "types", "kernel", title="What the engine runs")
    for layer in layers:
        shown.add_row(layer.name, layer.kind, ", ".join(sorted(layer.types)), layer.tactic)
    return shown


def _layer(told: Mapping[str, Any]) -> Layer:
    tactic = str(told.get("TacticName", ""))
    return Layer(
        name=str(told.get("Name", "")),
        kind=str(told.get("LayerType", "")),
        # a kernel's name tells what it adds up in as well, so it is asked only where nothing else speaks
        types=_types(" ".join(_tensor_words(told))) or _types(tactic),
        nodes=tuple(_NODE.findall(str(told.get("Metadata", "")))),
        tactic=tactic,
    )


def _types(words: str) -> frozenset[str]:
    return frozenset(name for name, pattern in _TYPES.items() if re.search(pattern, words))


def _tensor_words(told: Mapping[str, Any]) -> Iterator[str]:
    """All that a layer says of the types of its inputs, outputs and weights."""
    for tensor in (*told.get("Inputs", ()), *told.get("Outputs", ())):
        yield from (str(tensor[key]) for key in _WORDS if key in tensor)
    for key in ("Weights", "Bias"):
        if isinstance(told.get(key), dict):
            yield str(told[key].get("Type", ""))


def _lowest(layer: Layer) -> str:
    return next((name for name in ("int8", "fp16", "bf16", "fp32") if name in layer.types), "other")
