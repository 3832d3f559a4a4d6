"""From a spec to PTX or machine code, with NVRTC if its wheel is installed, else with ``nvcc`` if it is on the PATH.

Neither needs a GPU. Results are cached by a digest of source, compiler and architecture, in memory and in the user's
cache folder.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from engines.errors import EngineError
from engines.plugins.deform_conv.spec import DeformConvSpec
from engines.spec import cache

Kind = Literal["ptx", "cubin"]
Arch = tuple[int, int]
Compile = Callable[[str, Arch, Kind], bytes]

_HERE = Path(__file__).parent
_INCLUDE = re.compile(r'#include "(\w+\.cuh)"\n')
_ACTIVATIONS = {"none": 0, "relu": 1, "leaky_relu": 2}
_STANDARD = "--std=c++17"
# bf16 fragments came with Ampere
_FIRST_ARCH: dict[str, Arch] = {"fp16": (7, 5), "fp32": (7, 5), "bf16": (8, 0)}


def macros(spec: DeformConvSpec) -> dict[str, str | int]:
    """The values of every macro that the source uses."""
    t, copies = spec.tiling, 1 if spec.joined else spec.rounds
    names = range(copies)
    masked = spec.mask != "none"
    return {
        "KERNEL_NAME": spec.entry,
        "CHANNELS": spec.channels,
        "OUT_CHANNELS": spec.out_channels,
        "KERNEL_W": spec.kernel[1],
        "POINTS": spec.points,
        "STRIDE": spec.stride,
        "GROUPS": spec.offset_groups,
        "ROUNDS": spec.rounds,
        "DILATIONS": ", ".join(map(str, spec.dilations)),
        "PADDINGS": ", ".join(map(str, spec.pads)),
        "ELEMENT_FP32": int(spec.dtype == "fp32"),
        "ELEMENT_BF16": int(spec.dtype == "bf16"),
        "HAS_MASK": int(masked),
        "MASK_FP32": int(spec.mask == "fp32"),
        "MASK_BF16": int(spec.mask == "bf16"),
        "NHWC": int(spec.layout == "nhwc"),
        "JOINED": int(spec.joined),
        "ACTIVATION": _ACTIVATIONS[spec.activation],
        "SLOPE": f"{float(spec.slope)!r}f",
        "TILE": spec.tile,
        "THREADS": spec.threads,
        "BLOCKS": t.blocks,
        "DIRECT": int(t.direct),
        "VECTOR": t.vector,
        "VALUES": t.values,
        "DEPTH": t.depth,
        "STAGES_PER_ROUND": t.stages_per_round,
        "TABLE_GROUPS": t.table_groups,
        "OUT_TILE": t.out_tile,
        "SHARED_BYTES": t.shared_bytes,
        "OFFSET_TENSORS": copies,
        "OFFSET_PARAMETERS": " ".join(f"const float* offset{r}," for r in names),
        "OFFSETS": ", ".join(f"offset{r}" for r in names),
        "MASK_PARAMETERS": " ".join(f"const Mask* mask{r}," for r in names) if masked else "",
        "MASKS": ", ".join(f"mask{r}" for r in names) if masked else "nullptr",
    }


def prelude(spec: DeformConvSpec) -> str:
    """The macros as source text: on a compiler's command line they would have to be quoted."""
    return "".join(f"#define {name} {value}\n" for name, value in macros(spec).items())


def source(spec: DeformConvSpec, instructions: str | None = None) -> str:
    """One translation unit without includes; ``instructions`` replace those of a GPU, for tests."""
    texts = {path.name: path.read_text() for path in _HERE.glob("*.cu*")}
    if instructions is not None:
        texts["instructions.cuh"] = instructions
    return prelude(spec) + _inline_includes("deform_conv.cu", texts, set())


def _inline_includes(name: str, texts: dict[str, str], included: set[str]) -> str:
    """The file with every include replaced by the included file, each only once."""
    if name in included:
        return ""
    included.add(name)
    text = texts[name].replace("#pragma once\n", "")
    return _INCLUDE.sub(lambda found: _inline_includes(found[1], texts, included), text)


def compile_ptx(spec: DeformConvSpec, architecture: str = "sm_80") -> bytes:
    """PTX for ``architecture`` and all later ones, as TensorRT's ahead-of-time plugins need it.

    Raises ``EngineError`` if there is no compiler, or for bf16 on a GPU before sm_80.
    """
    return compile_cached(spec, _parse_architecture(architecture), "ptx")


def compile_cubin(spec: DeformConvSpec, architecture: str) -> bytes:
    """Machine code for ``architecture`` alone. Errors as :func:`compile_ptx`."""
    return compile_cached(spec, _parse_architecture(architecture), "cubin")


def _parse_architecture(architecture: str) -> Arch:
    digits = architecture.removeprefix("sm_")
    if not digits.isdecimal() or len(digits) < 2:
        raise EngineError(
            f"deform_conv: architecture={architecture!r} is not a GPU architecture; write it as sm_80 or sm_120"
        )
    return int(digits[:-1]), int(digits[-1])


@lru_cache(maxsize=256)
def compile_cached(spec: DeformConvSpec, arch: Arch, kind: Kind) -> bytes:
    """``kind`` of ``spec`` for compute capability ``arch``, from the cache if it is there."""
    _check_arch(spec, arch)
    text = source(spec)
    name, compile_with = _find_compiler()
    path = _cache_path(f"{name} {arch} {kind}\n{text}")
    if path.is_file():
        return path.read_bytes()
    result = compile_with(text, arch, kind)
    _write_cache(path, result)
    return result


def _check_arch(spec: DeformConvSpec, arch: Arch) -> None:
    first = _FIRST_ARCH[spec.dtype]
    if arch < first:
        raise EngineError(
            f"deform_conv: a GPU of compute capability {arch[0]}.{arch[1]} cannot compute in {spec.dtype}, which "
            f"needs {first[0]}.{first[1]}; use {'fp16' if spec.dtype == 'bf16' else 'a newer GPU'}"
        )


def _find_compiler() -> tuple[str, Compile]:
    """Name with version, and function; NVRTC first, since pip installs it."""
    version = find_nvrtc_version()
    if version is not None:
        return f"nvrtc {version}", _compile_with_nvrtc
    found = shutil.which("nvcc")
    if found is None:
        raise EngineError(
            "deform_conv: no CUDA compiler found, neither NVRTC nor nvcc; "
            "pip install cuda-bindings nvidia-cuda-nvrtc, or put a CUDA toolkit's nvcc on the PATH"
        )
    return f"nvcc {_nvcc_version(found)}", _compile_with_nvcc


@lru_cache(maxsize=1)
def find_nvrtc_version() -> tuple[int, int] | None:
    """The version of the NVRTC that Python can load, or None."""
    try:
        from cuda.bindings import nvrtc

        result, major, minor = nvrtc.nvrtcVersion()
    except (ImportError, RuntimeError):  # the bindings or their library are missing
        return None
    return (int(major), int(minor)) if int(result) == 0 else None


def _compile_with_nvrtc(text: str, arch: Arch, kind: Kind) -> bytes:
    from cuda.bindings import nvrtc

    target = "compute" if kind == "ptx" else "sm"
    options = [_STANDARD.encode(), f"--gpu-architecture={target}_{arch[0]}{arch[1]}".encode()]
    program = check_cuda(nvrtc.nvrtcCreateProgram(text.encode(), b"deform_conv.cu", 0, [], []))
    try:
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(result):
            raise _compile_error("NVRTC", arch, _nvrtc_log(nvrtc, program))
        get_size, get = (
            (nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX)
            if kind == "ptx"
            else (nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
        )
        code = b" " * check_cuda(get_size(program))
        check_cuda(get(program, code))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return code.rstrip(b"\0") if kind == "ptx" else code


def _nvrtc_log(nvrtc: Any, program: Any) -> str:
    log = b" " * check_cuda(nvrtc.nvrtcGetProgramLogSize(program))
    check_cuda(nvrtc.nvrtcGetProgramLog(program, log))
    return log.decode(errors="replace")


def check_cuda(answer: tuple[Any, ...]) -> Any:
    """What a call of cuda-bindings returned besides its result, which must be success; else ``EngineError``."""
    result, *values = answer
    if int(result):
        raise EngineError(
            f"deform_conv: CUDA says {result.name} (NVRTC {find_nvrtc_version()}); "
            "posestream doctor --gpu checks this machine"
        )
    return values[0] if values else None


def _compile_with_nvcc(text: str, arch: Arch, kind: Kind) -> bytes:
    target = "compute" if kind == "ptx" else "sm"
    with tempfile.TemporaryDirectory() as folder:
        unit, result = Path(folder, "deform_conv.cu"), Path(folder, kind)
        unit.write_text(text)
        command = ["nvcc", _STANDARD, f"-{kind}", f"-arch={target}_{arch[0]}{arch[1]}", "-o", str(result), str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise _compile_error("nvcc", arch, done.stderr or done.stdout)
        return result.read_bytes()


def _nvcc_version(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().rpartition("\n")[2]


def _compile_error(compiler: str, arch: Arch, log: str) -> EngineError:
    first = next((line for line in log.splitlines() if "error" in line), log.strip().partition("\n")[0])
    return EngineError(
        f"deform_conv: {compiler} does not compile for compute capability {arch[0]}.{arch[1]}: {first.strip()}; "
        "use a CUDA version that supports this GPU"
    )


def _cache_path(key: str) -> Path:
    return cache.cache_folder() / "kernels" / hashlib.sha256(key.encode()).hexdigest()


def _write_cache(path: Path, content: bytes) -> None:
    """If the cache cannot be written, the kernel is compiled again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            part.write(content)
        Path(part.name).replace(path)
    except OSError as error:
        logging.getLogger(__name__).debug("compiled kernel not cached: %s", error)
