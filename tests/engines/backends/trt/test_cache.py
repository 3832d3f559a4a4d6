"""Engines on disk: found by everything they depend on, their differences in words, whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.backends.trt import cache
from engines.backends.trt.artifacts import write_atomically
from engines.backends.trt.cache import EngineKey, differences
from engines.backends.trt.options import Batches
from engines.errors import EngineError
from tests.engines.backends.trt.keys import KEY

# Every entry of the key, another value of it, and what is said of the two.
OTHERS: dict[str, tuple[Any, str]] = {
    "format": (2, "written in format 1, this version reads 2"),
    "part": ("fused", "it is the graph 'head', not 'fused'"),
    "onnx_sha256": ("a" * 64, "its graph was 000000000000…, is now aaaaaaaaaaaa…"),
    "weights_sha256": ("a" * 64, "its weights were 111111111111…, are now aaaaaaaaaaaa…"),
    "kernels": ({"dilations 3": "a" * 64}, "1 of the kernels of its plugin nodes, or their settings, have changed"),
    "tensorrt": ("11.4.0.106", "built by TensorRT 10.13.3.9, this is 11.4.0.106"),
    "gpu": ("NVIDIA H100", "built on NVIDIA A10 (8.6), this is NVIDIA H100 (8.6)"),
    "sm": ("9.0", "built on NVIDIA A10 (8.6), this is NVIDIA A10 (9.0)"),
    "driver": ("570", "built with driver 580 (CUDA 13), this is 570 (CUDA 13)"),
    "cuda_major": (12, "built with driver 580 (CUDA 13), this is 580 (CUDA 12)"),
    "profiles": (
        (Batches(1, 32, 64),),
        "built for batches of 1 to 16, best at 8, asked for batches of 1 to 64, best at 32",
    ),
    "flags": (("REFIT",), "built with flags none, asked for REFIT"),
    "hardware_compatibility": ("ampere+", "built for hardware 'none', asked for 'ampere+'"),
    "precision": ("int8", "built in fp16, asked for int8"),
    "workspace_bytes": (1024 << 20, "built with 4096 MiB of workspace, asked for 1024"),
    "optimization_level": (5, "built at optimisation level 3, asked for 5"),
}


def other(**changed: Any) -> EngineKey:
    return msgspec.structs.replace(KEY, **changed)


def test_every_read_entry_the_key_is_tried() -> None:
    assert OTHERS.keys() == set(EngineKey.__struct_fields__)


@pytest.mark.parametrize("entry", OTHERS)
def test_an_engine_is_not_found_where_one_entry_differs_and_it_is_said_which(entry: str, tmp_path: Path) -> None:
    value, said = OTHERS[entry]
    cache.store(tmp_path, KEY, b"plan", {})
    wanted = other(**{entry: value})
    assert cache.find(tmp_path, wanted) is None
    assert differences(KEY, wanted) == (said,)
    assert differences(KEY, KEY) == ()


def test_an_engine_of_the_same_key_is_found_and_read_whole(tmp_path: Path) -> None:
    path = cache.store(tmp_path, KEY, b"plan", {"fp16": 3})
    assert cache.find(tmp_path, other()) == path
    assert cache.read(path) == b"plan"
    assert cache.read_entry(path).layers == {"fp16": 3}
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".engine", ".json"]


def test_the_nearest_engine_is_compared_with_what_is_wanted(tmp_path: Path) -> None:
    assert cache.explain_miss(tmp_path, KEY) == f"{tmp_path} holds no engine of 'head' yet"
    cache.store(tmp_path, other(gpu="NVIDIA L4", tensorrt="11.0", precision="fp32"), b"far", {})
    cache.store(tmp_path, KEY, b"near", {})
    assert cache.explain_miss(tmp_path, other(gpu="NVIDIA H100", sm="9.0")) == (
        "the nearest engine of 'head' does not fit: built on NVIDIA A10 (8.6), this is NVIDIA H100 (9.0)"
    )


@pytest.mark.parametrize("content", [b"pla", b"plon"], ids=["cut short", "altered"])
def test_a_damaged_engine_is_refused(content: bytes, tmp_path: Path) -> None:
    path = cache.store(tmp_path, KEY, b"plan", {})
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r"engine .* is damaged: .*; delete it and start again"):
        cache.read(path)


def test_a_damaged_sidecar_is_reported_and_its_engine_not_taken_for_the_nearest(tmp_path: Path) -> None:
    path = cache.store(tmp_path, KEY, b"plan", {})
    path.with_suffix(".json").write_text("{")
    with pytest.raises(EngineError, match=r"\.json line 1, column 2: it ends too early; delete both and start again"):
        cache.read_entry(path)
    assert "holds no engine" in cache.explain_miss(tmp_path, other(gpu="x"))


def test_an_engine_without_its_sidecar_was_never_finished(tmp_path: Path) -> None:
    path = cache.store(tmp_path, KEY, b"plan", {})
    path.with_suffix(".json").unlink()
    assert cache.find(tmp_path, KEY) is None
    with pytest.raises(EngineError, match=r"No such file or directory; delete both"):
        cache.read_entry(path)


@pytest.mark.parametrize("entry", ["onnx_sha256", "weights_sha256", "kernels"])
def test_a_new_graph_takes_the_place_of_engines_of_the_old_one(entry: str, tmp_path: Path) -> None:
    old = cache.store(tmp_path, KEY, b"old", {})
    elsewhere = cache.store(tmp_path, other(part="fused"), b"fused", {})
    value, _ = OTHERS[entry]
    new = cache.store(tmp_path, other(**{entry: value}), b"new", {})
    assert not old.exists()
    assert not old.with_suffix(".json").exists()
    assert new.exists()
    assert elsewhere.exists()


def test_an_engine_of_another_gpu_stays_beside(tmp_path: Path) -> None:
    first = cache.store(tmp_path, KEY, b"first", {})
    cache.store(tmp_path, other(gpu="NVIDIA H100", sm="9.0"), b"second", {})
    assert cache.read(first) == b"first"


def test_what_tensorrt_refuses_is_explained_by_the_key_and_else_by_its_log(tmp_path: Path) -> None:
    path = cache.store(tmp_path, KEY, b"plan", {})
    assert "built on NVIDIA A10 (8.6), this is NVIDIA H100 (9.0); delete it" in cache.explain_refusal(
        path, other(gpu="NVIDIA H100", sm="9.0")
    )
    assert "the plan is undamaged and its key fits" in cache.explain_refusal(path, KEY)


def test_timings_are_kept_for_one_machine_and_one_set_of_kernels(tmp_path: Path) -> None:
    assert cache.read_timing_cache(tmp_path, KEY) == b""
    cache.write_timing_cache(tmp_path, KEY, b"timings")
    assert cache.read_timing_cache(tmp_path, KEY) == b"timings"
    assert cache.read_timing_cache(tmp_path, other(weights_sha256="a" * 64)) == b"timings"
    assert cache.read_timing_cache(tmp_path, other(gpu="NVIDIA H100")) == b""
    assert cache.read_timing_cache(tmp_path, KEY) == b"timings"


def test_timings_are_dropped_when_a_kernel_or_its_settings_changed(tmp_path: Path) -> None:
    for kernels in ({"dilations 3": "a" * 64}, {"dilations 6": "2" * 64}):
        cache.write_timing_cache(tmp_path, KEY, b"timings")
        assert cache.read_timing_cache(tmp_path, other(kernels=kernels)) == b""
        assert cache.read_timing_cache(tmp_path, KEY) == b""


def test_nothing_half_written_is_left_where_writing_fails(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(EngineError, match=r"cannot write .*taken: .*; free some space or choose another folder"):
        write_atomically(tmp_path / "taken", b"content")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_engines_go_into_the_users_cache_where_the_export_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.engine_folder(tmp_path) == tmp_path / "tensorrt"
    monkeypatch.setenv("POSESTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    one, two = cache.engine_folder(tmp_path / "one"), cache.engine_folder(tmp_path / "two")
    assert one.parent == two.parent == tmp_path / "cache" / "tensorrt"
    assert one != two
