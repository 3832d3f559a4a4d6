"""What TensorRT's own error lines mean, in one line each, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engines.backends.trt.options import BuildOptions
from engines.errors import EngineError

_MEMORY = re.compile(r"out ?of ?memory|insufficient memory|memory allocation|cudaErrorMemoryAllocation", re.IGNORECASE)
_PLUGIN = re.compile(r"plugin not found|could not find plugin|getPluginCreator|creator (was )?not found", re.IGNORECASE)
_NO_TACTIC = re.compile(r"could not find any implementation for node (.+?)[.\s]*(due to .*)?$", re.IGNORECASE)
_KERNEL = re.compile(r"ptx|cuModuleLoad|cuLinkAddData|no kernel image", re.IGNORECASE)


def why_no_engine(part: str, lines: Sequence[str], options: BuildOptions) -> EngineError:
    """Why a build of ``part`` gave nothing, from what TensorRT logged as errors.

    Memory is looked for first: a layer for which there was no memory is reported as one without an implementation too.
    """
    told = " | ".join(lines)
    last = " ".join(lines[-1].split()) if lines else "it logged no error"
    if _MEMORY.search(told):
        return EngineError(
            f"TensorRT ran out of GPU memory while building {part!r} for {options.batches} ({last}): end what else "
            "uses the GPU (nvidia-smi lists it), or build with a smaller max_batch or workspace_mib"
        )
    if _PLUGIN.search(told):
        return EngineError(
            f"TensorRT lacks a plugin that {part!r} needs ({last}): its plugin library libnvinfer_plugin must be the "
            "one of this TensorRT; lean and dispatch runtimes and TensorRT-RTX have none"
        )
    if _KERNEL.search(told):
        return EngineError(
            f"TensorRT could not load the kernel of a plugin in {part!r} ({last}): update the driver, "
            "or export with --plugin nvidia"
        )
    if found := _NO_TACTIC.search(last):
        return EngineError(
            f"TensorRT found no way to run {found[1]} of {part!r}: build with a larger workspace_mib "
            f"(now {options.workspace_mib}), or export with --plugin nvidia"
        )
    return EngineError(
        f"TensorRT did not build {part!r}: {last}; export with --plugin nvidia, or use backend=onnxrt:cuda"
    )
