"""Loading of an export into PyTorch: its network with weights, and each of its parts as a callable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from engines.backends.pytorch import export_module, single_stage_module
from engines.backends.pytorch.execution import Call, CudaGraphRunner, Tensors, compile_module
from engines.backends.pytorch.half_precision import to_mixed_precision
from engines.backends.pytorch.modes import Mode
from engines.errors import EngineError, first_line
from engines.spec.manifest import MANIFEST, Manifest, Part, PictureManifest, is_export, read_any_manifest
from engines.spec.network import build
from engines.spec.picture_signature import PictureSignature, describe_graph
from engines.spec.tensors import Description, Tensor

EXAMPLE_BATCH = 2
"""The batch of example inputs for tracing with any batch; a batch of 1 would become a constant."""


@dataclass(frozen=True)
class LoadedExport:
    """An export on a device: its manifest, and its network with weights."""

    folder: Path
    manifest: Manifest | PictureManifest
    network: nn.Module
    mode: Mode

    @property
    def compute_dtype(self) -> str:
        """The dtype of convolutions and matrix products."""
        return "float16" if self.manifest.precision == "fp16" and self.mode.device == "cuda" else "float32"

    @property
    def device(self) -> str:
        """The device in :class:`engines.spec.tensors.Description`."""
        return f"{self.mode}, {self.compute_dtype}"


def load_export(folder: Path, mode: Mode) -> LoadedExport:
    """The network of an export with its weights, in evaluation mode, on the device of ``mode``.

    Raises :class:`EngineError` if ``folder`` is not an export, has no checkpoint, or is damaged.
    """
    if not is_export(folder):
        raise EngineError(
            f"backend 'torch': {folder} is no export (no {MANIFEST}), and PyTorch needs the weights beside a graph; "
            "make one with 'posestream export', or run the .onnx with backend=onnxrt"
        )
    manifest = read_any_manifest(folder)
    if manifest.weights is None:
        raise EngineError(
            f"backend 'torch': export {folder} was made with --no-checkpoint and holds graphs alone; "
            "export it again without that, or run it with backend=onnxrt"
        )
    network = build(manifest.signature.name, manifest.network)
    _load_weights(network, folder / manifest.weights)
    # Weights with channels last: on a CPU FAMI-Pose's compact backbone took 96 ms instead of 145, W48's 2.5 s instead
    # of 2.7. Tensor cores read that layout too; on CUDA it was not measured.
    network = network.eval().requires_grad_(False).to(mode.device, memory_format=torch.channels_last)
    return LoadedExport(folder, manifest, network, mode)


def _load_weights(network: nn.Module, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:240]
        raise EngineError(
            f"backend 'torch': {path} is not the weights of {type(network).__name__} ({reason}); export it again"
        ) from error


def find_part(path: Path, manifest: Manifest | PictureManifest) -> Part:
    """The part whose graph is at ``path``. Raises :class:`EngineError` listing the export's graphs."""
    for part, name in manifest.graphs.items():
        if name == path.name:
            return part
    raise EngineError(
        f"backend 'torch': {path} is not a graph of its export, which has {', '.join(manifest.graphs.values())}"
    )


def describe_part(loaded: LoadedExport, part: Part) -> Description:
    """Inputs and outputs of ``part``, those of its graph."""
    signature = loaded.manifest.signature
    if isinstance(signature, PictureSignature):
        return describe_graph(signature, loaded.device)
    points = (Tensor("points", (None, len(signature.joints), 3), "float32"),)
    maps = tuple(Tensor(f"maps_{i}", (None, *shape), signature.kept_type) for i, shape in enumerate(signature.keeps))
    if part == "head":
        windows = tuple(Tensor(t.name, (None, signature.frames, *t.shape[1:]), t.dtype) for t in maps)
        return Description(windows, points, loaded.device)
    crop_shape = signature.input_shape if part == "fused" else signature.input_shape[1:]
    outputs = maps if part == "backbone" else points
    return Description((Tensor("crops", (None, *crop_shape), signature.pixel),), outputs, loaded.device)


def make_call(loaded: LoadedExport, part: Part, inputs: Sequence[Tensor]) -> Call:
    """``part`` as a callable: tensors on the device in, a tuple of tensors out.

    Raises :class:`EngineError` if it cannot be compiled.
    """
    module = _make_module(loaded, part).to(loaded.mode.device)
    deform_dtype = _register_kernel(loaded.mode)
    if loaded.compute_dtype == "float16":
        module = to_mixed_precision(module, _make_examples(inputs, loaded.mode), deform_dtype=deform_dtype)
    if loaded.mode.runner == "compiled":
        return _compile(module, _make_examples(inputs, loaded.mode))
    return CudaGraphRunner(module) if loaded.mode.runner == "cudagraphs" else module


def _make_module(loaded: LoadedExport, part: Part) -> nn.Module:
    signature = loaded.manifest.signature
    if isinstance(signature, PictureSignature):
        return single_stage_module.make_part(loaded.network, signature)
    return export_module.make_part(part, loaded.network, signature)


def _register_kernel(mode: Mode) -> torch.dtype:
    """Use posestream's kernel for deformable convolution if it is available.

    Returns the dtype in which deformable convolutions may compute: float16 only with the kernel, since PyTorch's own
    operators need offsets and maps of one dtype.
    """
    if mode.device == "cpu":
        return torch.float32
    from engines.plugins.deform_conv import torch_cuda

    return torch.float16 if torch_cuda.register() else torch.float32


def _compile(module: nn.Module, examples: Tensors) -> Call:
    try:
        return compile_module(module, examples)
    except Exception as error:
        raise EngineError(
            f"backend 'torch:compiled': torch.compile cannot compile it here ({first_line(error)}); "
            "it needs a C++ compiler on the CPU and Triton on CUDA; choose backend=torch"
        ) from error


def _make_examples(inputs: Sequence[Tensor], mode: Mode) -> Tensors:
    return tuple(
        torch.zeros(
            [size or EXAMPLE_BATCH for size in tensor.shape], dtype=getattr(torch, tensor.dtype), device=mode.device
        )
        for tensor in inputs
    )
