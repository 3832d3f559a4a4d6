"""A key of an engine, for tests that change one entry of it."""

from __future__ import annotations

from engines.backends.trt.cache import EngineKey
from engines.backends.trt.options import Batches

KEY = EngineKey(
    part="head",
    onnx_sha256="0" * 64,
    weights_sha256="1" * 64,
    kernels={"dilations 3": "2" * 64},
    tensorrt="10.13.3.9",
    gpu="NVIDIA A10",
    sm="8.6",
    driver="580",
    cuda_major=13,
    profiles=(Batches(1, 8, 16),),
    flags=(),
    hardware_compatibility="none",
    precision="fp16",
    workspace_bytes=4096 << 20,
    optimization_level=3,
)
