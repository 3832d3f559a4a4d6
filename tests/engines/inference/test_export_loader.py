"""Exports as models: which graphs run, that both ways agree, and errors of damaged exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import engines
from engines.errors import EngineError
from engines.hub.lookup import find_model
from engines.inference.cached import CachedRunner
from engines.inference.engine import Crop, Engine, Keypoints, PersonWindows, load, load_signature
from engines.inference.full_window import FullWindowRunner
from engines.spec.manifest import MANIFEST, fingerprint_files, read_manifest, write_manifest
from tests.engines import exports


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exports.write_export(tmp_path_factory.mktemp("exports") / "drawn-fp32")


def stream(count: int, past: int = 2, future: int = 2) -> list[PersonWindows]:
    """Windows of two people who move, and of one without an id, on noise."""
    random = np.random.default_rng(3)
    pixels = [random.integers(0, 256, (120, 160, 3), np.uint8) for _ in range(past + count + future)]
    steps = random.normal(size=(count, 3, 2)).cumsum(axis=0)
    windows = []
    for key in range(count):
        corners = np.array([[20, 20], [60, 30], [90, 10]]) + steps[key]
        boxes = np.concatenate([corners, corners + np.array([36, 64])], axis=1).astype(np.float32)
        frames = tuple(pixels[key : key + past + 1 + future])
        keys = tuple(("hall", seq) for seq in range(key, key + len(frames)))
        windows.append(PersonWindows(frames, keys, boxes, np.array([1, 2, -1])))
    return windows


def run_engine(folder: Path, windows: list[PersonWindows], **how: Any) -> list[Keypoints]:
    with load(str(folder), **how) as engine:
        return [engine.estimate([window])[0] for window in windows]


def assert_close(found: list[Keypoints], wanted: list[Keypoints]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=exports.ATOL_PX)


def test_the_toy_network_reads_every_frame(export: Path) -> None:
    """Or the tests below could not fail."""
    (window,) = stream(1)
    (plain,) = run_engine(export, [window], crop="exact")
    for place in range(5):
        frames = list(window.frames)
        frames[place] = 255 - frames[place]
        (other,) = run_engine(
            export, [PersonWindows(tuple(frames), window.keys, window.boxes, window.ids)], crop="exact"
        )
        assert (np.abs(other - plain).max(axis=2) > 50 * exports.ATOL_PX).mean() > 0.5


def test_a_folder_is_a_model_with_the_name_and_fingerprint_of_its_manifest(export: Path) -> None:
    found = find_model(str(export), "pose")
    assert (found.name, found.path, found.signature) == ("drawn", export, exports.signature(2, 2))
    with load(str(export)) as engine:
        assert engine.signature == exports.signature(2, 2)
        assert engine.fingerprint == read_manifest(export).fingerprint


def test_engines_load_opens_an_export(export: Path) -> None:
    with engines.load(str(export)) as engine:
        assert engines.load_signature(str(export)) == engine.signature
    with pytest.raises(AttributeError, match="has no attribute 'unload'"):
        _ = engines.unload


def test_crop_lock_equals_whole_windows_of_the_same_crops(export: Path) -> None:
    windows = stream(24)
    assert_close(run_engine(export, windows, crop="lock"), exports.reference(export, windows, margin=0.15))
    assert_close(run_engine(export, windows, crop="lock", margin=0.4), exports.reference(export, windows, margin=0.4))


def test_exact_crops_are_the_same_in_one_graph_and_in_two(export: Path, tmp_path: Path) -> None:
    windows = stream(8)
    cut_only = exports.write_export(tmp_path / "cut", parts=("backbone", "head"))
    fused_only = exports.write_export(tmp_path / "fused", parts=["fused"])
    whole = run_engine(fused_only, windows)
    assert_close(run_engine(cut_only, windows, crop="exact"), whole)
    assert_close(run_engine(export, windows, crop="exact"), whole)


def test_windows_give_the_same_together_and_one_by_one(export: Path) -> None:
    windows = stream(12)
    with load(str(export)) as engine:
        together = engine.estimate(windows)
        assert engine.work.reused > 0.4  # one of three people has no id and saves nothing
    assert_close(together, run_engine(export, windows))


@pytest.mark.parametrize("batch", [1, 3])
def test_graphs_of_a_fixed_batch_are_padded(export: Path, tmp_path: Path, batch: int) -> None:
    windows = stream(5)
    fixed = exports.write_export(tmp_path / "fixed", batch=batch)
    for crop in ("lock", "exact"):
        assert_close(run_engine(fixed, windows, crop=crop), run_engine(export, windows, crop=crop))


def test_fewer_cached_people_change_nothing(export: Path) -> None:
    windows = stream(6)
    with load(str(export), people=1) as few, load(str(export)) as many:
        assert_close(few.estimate(windows), many.estimate(windows))
        assert few.work.computed >= many.work.computed


@pytest.mark.parametrize(
    ("parts", "past", "crop", "strategy"),
    [
        (exports.ALL, 2, "auto", CachedRunner),
        (exports.ALL, 2, "exact", FullWindowRunner),
        (("backbone", "head"), 2, "exact", CachedRunner),
        (("fused",), 2, "auto", FullWindowRunner),
        (("fused",), 0, "auto", FullWindowRunner),
        (exports.ALL, 0, "auto", FullWindowRunner),
    ],
)
def test_auto_locks_crops_if_features_can_be_reused(
    tmp_path: Path, parts: Any, past: int, crop: Crop, strategy: type
) -> None:
    folder = exports.write_export(tmp_path / "drawn", parts=parts, past=past, future=0)
    assert isinstance(load(str(folder), crop=crop)._runner, strategy)


# -- what cannot be run ------------------------------------------------------------------------------------------------


def error_message(call: Callable[[], object]) -> str:
    with pytest.raises(EngineError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_crop_lock_of_a_single_graph_raises(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn", parts=["fused"])
    wanted = (
        "model drawn: crop=lock needs an export with 'backbone' and 'head', but this one has one graph; "
        "export it again with both, or use crop=exact"
    )
    assert error_message(lambda: load_signature(str(folder), "lock")) == wanted
    assert error_message(lambda: load(str(folder), crop="lock")) == wanted


def test_crop_lock_of_a_single_frame_network_raises(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn", past=0, future=0)
    wanted = "crop=lock reuses features between frames, but the network reads single frames; leave crop=auto"
    assert error_message(lambda: load(str(folder), crop="lock")) == f"model drawn: {wanted}"
    assert error_message(lambda: load("hrnet-small", crop="lock")) == f"model hrnet-small-128x96: {wanted}"


def test_an_export_without_a_head_raises(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn", parts=["head"])
    assert error_message(lambda: load(str(folder))) == (
        "model drawn: its export has head, which is no whole network; export it again with 'fused', or with both "
        "'backbone' and 'head'"
    )


def test_a_truncated_file_raises_naming_both_sizes(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    whole = (folder / "head.onnx").read_bytes()
    (folder / "head.onnx").write_bytes(whole[:-100])
    text = error_message(lambda: load(str(folder)))
    assert text.startswith(
        f"export {folder}: head.onnx has {len(whole) - 100} bytes, its manifest says {len(whole)}; copy it again"
    )


def test_a_part_of_another_export_raises(tmp_path: Path) -> None:
    folder, other = (exports.write_export(tmp_path / name, seed=seed) for seed, name in enumerate(["one", "other"]))
    (folder / "head.onnx").write_bytes((other / "head.onnx").read_bytes())
    assert error_message(lambda: load(str(folder))).startswith(
        f"export {folder}: head.onnx is not the file that was exported (sha256 "
    )


def test_a_missing_file_raises(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    (folder / "backbone.onnx").unlink()
    assert error_message(lambda: load(str(folder))) == (
        f"export {folder}: its file backbone.onnx is missing; copy the whole folder, or export again"
    )


def test_a_signature_is_read_without_verifying_the_files(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    (folder / "backbone.onnx").unlink()
    assert load_signature(str(folder)).frames == 5


def test_a_damaged_manifest_raises(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:200])
    assert error_message(lambda: load_signature(str(folder))).startswith(f"export {folder}: manifest.json line ")


def test_a_folder_without_a_manifest_raises(tmp_path: Path) -> None:
    assert error_message(lambda: load_signature(str(tmp_path))) == (
        f"model '{tmp_path}': this folder holds no manifest.json; give one that 'posestream export' wrote, or the path "
        "of an .onnx"
    )
    assert "not the folder of an export and not one of fami-small, hrnet-small" in error_message(
        lambda: load_signature(str(tmp_path / "none"))
    )


def test_an_exported_pose_network_is_no_detector(export: Path) -> None:
    assert error_message(lambda: find_model(str(export), "detector")) == (
        f"model '{export}' is an exported pose network, but a detector network is wanted"
    )


def test_graphs_that_do_not_fit_the_signature_raise_naming_both(tmp_path: Path) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    original = read_manifest(folder)
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"input_size": (64, 64)},
            "its input 'crops' is (any, 64, 48, 3) uint8, but its Signature says (N, 64, 64, 3)",
        ),
        ({"skeleton": "posetrack15"}, "its output 'points' is (any, 17, 3) float32, but its Signature says (N, 15, 3)"),
        ({"past": 1}, "its head takes windows of 5 frames, but its Signature says 4 (past 1, future 2)"),
    ]
    for changes, words in cases:
        signature = msgspec.structs.replace(original.signature, **changes)
        network = msgspec.structs.replace(
            original.network, input_size=signature.input_size, skeleton=signature.skeleton, window=signature.offsets
        )
        write_manifest(msgspec.structs.replace(original, signature=signature, network=network), folder)
        assert f"model drawn: {words}" in error_message(lambda: load(str(folder)).open())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skeleton": "posetrack17"}, "has skeleton posetrack17, the network coco17"),
        ({"input_size": (64, 48)}, "has input_size (64, 48), the network (48, 64)"),
        ({"past": 1}, "has frames (-1, 0, 1, 2), the network (-2, -1, 0, 1, 2)"),
    ],
)
def test_a_signature_that_says_something_else_than_the_network_raises(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    original = read_manifest(folder)
    signature = msgspec.structs.replace(original.signature, **changes)
    write_manifest(msgspec.structs.replace(original, signature=signature), folder)
    assert error_message(lambda: load_signature(str(folder))) == (
        f"export {folder}: the signature in its manifest {words}; it was changed by hand; export the network again"
    )


@pytest.mark.parametrize("name", ["head.onnx", "weights.safetensors"])
def test_a_file_that_the_manifest_does_not_list_raises(tmp_path: Path, name: str) -> None:
    folder = exports.write_export(tmp_path / "drawn")
    original = read_manifest(folder)
    files = {file: known for file, known in original.files.items() if file != name}
    write_manifest(msgspec.structs.replace(original, files=files, fingerprint=fingerprint_files(files)), folder)
    assert error_message(lambda: load(str(folder))) == (
        f"export {folder}: its manifest does not list {name!r}, which the network is read from, so nothing vouches for "
        "it; export the network again"
    )


def test_a_backbone_and_a_head_that_do_not_fit_raise(tmp_path: Path, monkeypatch: Any) -> None:
    folder = exports.write_export(tmp_path / "drawn", parts=["backbone"])
    monkeypatch.setattr(exports, "CHANNELS", 8)
    exports.write_export(folder, parts=["head"])
    original = exports.manifest(folder, exports.signature(2, 2), ("backbone", "head"))
    write_manifest(original, folder)
    assert error_message(lambda: load(str(folder)).open()) == (
        "the backbone returns (any, 4, 16, 12) float32, but the head takes (any, 5, 8, 16, 12) float32; "
        "they must be of the same export"
    )


def test_the_first_estimate_opens_the_engine_and_it_can_be_closed_twice(export: Path) -> None:
    engine: Engine = load(str(export))
    (first,) = engine.estimate(stream(1))
    engine.close()
    engine.close()
    (again,) = engine.estimate(stream(1))
    np.testing.assert_array_equal(first, again)
