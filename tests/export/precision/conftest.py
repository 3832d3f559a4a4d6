"""Small networks as they are exported, made once: every layer that precision has a rule for, on crops of 64x64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

CROP = (64, 64)
"""The smallest that an HRNet and the five strided convolutions of FAMI-Pose take."""


@dataclass
class Small:
    """One network: the PyTorch ``model``, its ``signature``, and its parts as ONNX, each exported when first wanted."""

    model: Any
    signature: Any
    graphs: dict[str, Any]
    made: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, part: str) -> Any:
        from export.to_onnx import to_onnx

        if part not in self.made:
            self.made[part] = to_onnx(self.graphs[part])
        return self.made[part]


@pytest.fixture(scope="session")
def small() -> Callable[[str], Small]:
    """``small(name)``: ``fami``, ``dcpose``, ``tdmi`` or ``hrnet``, with random weights that make offsets of pixels."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    from engines.models.dcpose import DCPose
    from engines.models.fami import FAMIPose
    from engines.models.hrnet import HRNet, HRNetConfig
    from engines.models.tdmi import TDMI

    config = HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1)
    makers: dict[str, Callable[[], Any]] = {
        "fami": lambda: FAMIPose(config, (-1, 0)),
        "dcpose": lambda: DCPose(config, channels=8),
        "tdmi": lambda: TDMI(config, (-1, 0)),
        "hrnet": lambda: HRNet(config),
    }
    made: dict[str, Small] = {}

    def make(name: str) -> Small:
        if name not in made:
            torch.manual_seed(0)
            made[name] = _small(name, makers[name]())
        return made[name]

    return make


def _small(name: str, model: Any) -> Small:
    import torch

    from engines.layers.decoding import Points
    from engines.spec.signature import Signature
    from export.graph import wrappers
    from export.weights import randomise

    signature = Signature(
        name=name,
        input_size=CROP,
        past=getattr(model, "past", 0),
        future=getattr(model, "future", 0),
        layout="nthwc",
        pixel="uint8",
        decode="points",
        keeps=wrappers.kept_shapes(model, CROP),
    )
    model = randomise(model, torch.randn(2, *((signature.frames,) if signature.keeps else ()), 3, *CROP))
    return Small(
        model,
        signature,
        {graph.part: graph for graph in wrappers.make_graphs(model, signature, Points("heatmap", CROP))},
    )


@pytest.fixture(scope="session")
def crops() -> Callable[..., Any]:
    """``crops(signature, number, seed) -> (number, T, 64, 64, 3) uint8``: coarse pictures with some noise on them."""

    def make(signature: Any, number: int = 2, seed: int = 0) -> Any:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (number, signature.frames, 8, 8, 3)).repeat(8, axis=2).repeat(8, axis=3)
        return np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def run() -> Callable[..., dict[str, Any]]:
    """``run(graph, feed)``: the outputs by name, from ONNX Runtime as it comes."""
    runtime = pytest.importorskip("onnxruntime")

    def run(graph: Any, feed: dict[str, Any]) -> dict[str, Any]:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = runtime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip([entry.name for entry in session.get_outputs()], session.run(None, feed), strict=True))

    return run
