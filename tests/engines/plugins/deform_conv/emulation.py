"""The kernel on a processor: the same source, compiled with g++ over ``cuda_on_cpu.h``, run block by block."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.plugins.deform_conv import compiler
from engines.plugins.deform_conv.spec import DeformConvSpec, Launch

HERE = Path(__file__).parent
Block = tuple[int, int, int]

_ENTRY = """
static void** given;
static const int* integers;
static void call_kernel() { KERNEL_NAME(ARGUMENTS); }

extern "C" const char* emulate(void** pointers, const size_t* bytes, int count_of_pointers, const int* numbers,
                               const int* blocks, int count)
{
    given = pointers, integers = numbers, machine::body = call_kernel;
    machine::ranges.clear(), machine::fault[0] = 0;
    for (int i = 0; i < count_of_pointers; ++i)
        machine::ranges.push_back({static_cast<const char*>(given[i]), bytes[i], i + 1 == count_of_pointers});
    for (int b = 0; b < count && !machine::fault[0]; ++b) {
        blockIdx = {unsigned(blocks[3 * b]), unsigned(blocks[3 * b + 1]), unsigned(blocks[3 * b + 2])};
        machine::run_block();
    }
    return machine::fault;
}
extern "C" unsigned to_half(float value) { return float_to_half(value); }
extern "C" unsigned to_bfloat(float value) { return float_to_bfloat(value); }
"""


class KernelError(AssertionError):
    """The kernel did what no kernel may; the text says what, and where."""


def translation_unit(spec: DeformConvSpec, change: tuple[str, str] | None = None) -> str:
    """``change`` replaces one text of the kernel by another, to see that faults are found."""
    kernel = compiler.source(spec, '#include "cuda_on_cpu.h"\n')
    if change is not None:
        assert change[0] in kernel
        kernel = kernel.replace(*change)
    types = ["const Element*", *_types(spec), "const Element*", "const float*"]
    pointers = [f"({kind})given[{i}]" for i, kind in enumerate(types)]
    numbers = [f"integers[{i}]" for i in range(4)]
    call = ", ".join([*pointers, *numbers, f"(Element*)given[{len(types)}]"])
    return f"{kernel}\n#define ARGUMENTS {call}\n{_ENTRY}"


def _types(spec: DeformConvSpec) -> list[str]:
    return ["const float*" if name.startswith("offset") else "const Mask*" for name in spec.inputs[1:-2]]


class Emulator:
    """Compiles each spec once, into ``folder``."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("g++") is None:
            pytest.skip("the kernel is run on a processor through g++, which is not here")
        self.folder = folder

    @cache  # noqa: B019 - lives as long as the tests of a session
    def library(self, spec: DeformConvSpec, change: tuple[str, str] | None = None) -> Any:
        """The compiled kernel."""
        text = translation_unit(spec, change)
        stem = self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        stem.with_suffix(".cpp").write_text(text)
        made = stem.with_suffix(".so")
        command = ["g++", "-std=c++17", "-O0", "-fPIC", "-shared", f"-I{HERE}"]
        subprocess.run([*command, "-o", str(made), str(stem.with_suffix(".cpp"))], check=True)
        loaded = ctypes.CDLL(str(made))
        loaded.emulate.restype = ctypes.c_char_p
        return loaded

    def run(
        self,
        spec: DeformConvSpec,
        arrays: Sequence[NDArray[Any]],
        out: NDArray[Any],
        shape: Launch,
        blocks: Iterable[Block] | None = None,
        change: tuple[str, str] | None = None,
    ) -> None:
        """Fill ``out`` from the input ``arrays``, in the order of ``spec.inputs``; all blocks, or these."""
        every = list(np.ndindex(*shape.grid)) if blocks is None else list(blocks)
        together = [*arrays, out]
        given = (ctypes.c_void_p * len(together))(*(a.ctypes.data for a in together))
        sizes = (ctypes.c_size_t * len(together))(*(a.nbytes for a in together))
        flat = (ctypes.c_int * (3 * len(every)))(*np.asarray(every).reshape(-1).tolist())
        integers = (ctypes.c_int * 4)(*shape.integers)
        fault = self.library(spec, change).emulate(given, sizes, len(together), integers, flat, len(every))
        if fault:
            raise KernelError(fault.decode())
