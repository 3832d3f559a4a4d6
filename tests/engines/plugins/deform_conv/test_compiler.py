"""The kernel compiles for every GPU from sm_75 to sm_120 and takes of it what the documents say."""

from __future__ import annotations

from typing import Any

import pytest

from engines.errors import EngineError
from engines.plugins.deform_conv import compiler
from engines.plugins.deform_conv.compiler import compile_cubin, compile_ptx
from engines.plugins.deform_conv.inspection import LIMITS, count_resident_blocks, read_resources
from engines.plugins.deform_conv.spec import DeformConvSpec
from engines.plugins.deform_conv.tiling import SHARED_LIMIT

FAMI = DeformConvSpec(48, 48, offset_groups=12, dilations=(3,), layout="nhwc")
DCPOSE = DeformConvSpec(17, 17, offset_groups=17, dilations=(3, 6, 9, 12, 15))
IMAPOSE = DeformConvSpec(48, 48, dilations=(1, 3, 6, 9, 12), layout="nhwc")
PAPERS = {"FAMI-Pose": FAMI, "DCPose": DCPOSE, "IMAPose": IMAPOSE}


@pytest.fixture
def _compiler(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where nothing compiles CUDA; nothing is taken from or left in the user's cache."""
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    try:
        compiler._find_compiler()
    except EngineError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("architecture", LIMITS)
@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_kernels_compile_without_spilling_and_use_tensor_cores(name: str, architecture: str) -> None:
    spec = PAPERS[name]
    taken = read_resources(compile_cubin(spec, architecture))
    assert taken.frame_bytes == 0
    assert taken.matrix_instructions > 0
    # sm_90 and later count the KiB that the system takes
    assert spec.tiling.shared_bytes <= taken.shared_bytes <= SHARED_LIMIT + 1024
    assert count_resident_blocks(taken, spec.threads, architecture) >= 1


@pytest.mark.usefixtures("_compiler")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_120"])
def test_fp32_kernels_compile_without_spilling(architecture: str) -> None:
    for spec in (DeformConvSpec(48, 48, offset_groups=12, dtype="fp32", mask="fp32", layout="nhwc"),):
        taken = read_resources(compile_cubin(spec, architecture))
        assert (taken.frame_bytes, taken.matrix_instructions) == (0, 0)


@pytest.mark.usefixtures("_compiler")
def test_ptx_holds_one_kernel_whose_parameters_are_in_tensorrts_order() -> None:
    text = compile_ptx(DeformConvSpec(8, 8, layout="nhwc"), "sm_80").decode()
    assert text.count(".entry") == 1
    head = text[text.index(".entry") :].partition(")")[0]
    assert ".entry deform_conv_fp16(" in head
    kinds = [line.split()[1] for line in head.splitlines() if ".param" in line]
    assert kinds == [".u64"] * 5 + [".u32"] * 4 + [".u64"]  # x, offset, mask, weight, bias; h, w, oh, ow; the result
    assert "mma.sync.aligned.m16n8k16" in text
    assert "cp.async" in text
    assert not text.endswith("\0")


@pytest.mark.usefixtures("_compiler")
def test_a_gpu_too_old_takes_products_of_half_the_depth_and_no_asynchronous_copies() -> None:
    text = compile_ptx(DeformConvSpec(8, 8, layout="nhwc"), "sm_75").decode()
    assert "mma.sync.aligned.m16n8k8" in text
    assert "cp.async" not in text


@pytest.mark.usefixtures("_compiler")
def test_a_second_process_finds_the_kernel_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DeformConvSpec(8, 16, layout="nhwc")
    first = compile_ptx(spec)
    name, _ = compiler._find_compiler()
    compiler.compile_cached.cache_clear()  # as in a new process
    monkeypatch.setattr(compiler, "_find_compiler", lambda: (name, _never))
    assert compile_ptx(spec) == first


def _never(*_: Any) -> bytes:
    raise AssertionError("compiled again")


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_nvrtc_version", lambda: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError) as caught:
        compiler.compile_cached.__wrapped__(FAMI, (8, 0), "ptx")
    assert str(caught.value) == (
        "deform_conv: no CUDA compiler found, neither NVRTC nor nvcc; "
        "pip install cuda-bindings nvidia-cuda-nvrtc, or put a CUDA toolkit's nvcc on the PATH"
    )


@pytest.mark.parametrize(
    ("spec", "architecture", "said"),
    [
        (DeformConvSpec(8, 8, dtype="bf16"), "sm_75", "cannot compute in bf16, which needs 8.0; use fp16"),
        (FAMI, "sm_70", "cannot compute in fp16, which needs 7.5; use a newer GPU"),
        (FAMI, "gfx90", "architecture='gfx90' is not a GPU architecture; write it as sm_80 or sm_120"),
    ],
)
def test_a_gpu_that_cannot_run_the_kernel_is_named(spec: DeformConvSpec, architecture: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        compile_ptx(spec, architecture)


@pytest.mark.usefixtures("_compiler")
def test_an_architecture_that_the_compiler_does_not_support_is_an_error_in_one_line() -> None:
    with pytest.raises(EngineError, match=r"does not compile for compute capability 99\.9") as caught:
        compile_cubin(FAMI, "sm_999")
    assert "\n" not in str(caught.value)
