"""One command makes a folder of a checkpoint; every graph in it computes what the checkpoint computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import engines  # noqa: E402
from engines.backends.registry import make_backend, make_feature_cache  # noqa: E402
from engines.spec.manifest import read_manifest, verify_files  # noqa: E402
from export import calibration  # noqa: E402
from export.weights import randomise  # noqa: E402
from stream.__main__ import execute  # noqa: E402

HRNET = "{width: 24, modules: [1, 1, 1], blocks: 1, stem_width: 16, bottlenecks: 1}"
ENTRY = """kind: network
title: a small one
licence: mine
network:
  model: {model}
  input_size: [64, 96]
  window: {window}
  options: {options}
  hrnet: {hrnet}
"""
FAMILIES = {
    "hrnet": ("hrnet.HRNet", [0], {}),
    "dcpose": ("dcpose.DCPose", [-1, 0, 1], {"channels": 8}),
    "posewarper": ("posewarper.PoseWarper", [-2, -1, 0, 1, 2], {"channels": 16, "blocks": 2}),
    "fasrnet": ("fasrnet.FaSRnet", [-1, 0, 1], {}),
    "fasrnet-released": ("fasrnet_released.FaSRnetReleased", [-1, 0, 1], {}),
    "fami": ("fami.FAMIPose", [-1, 0], {"frames": [-1, 0]}),
    "tdmi": ("tdmi.TDMI", [-2, -1, 0, 1, 2], {}),
    "tdmi-st": ("tdmi.TDMI", [-2, -1, 0, 1, 2], {"spatiotemporal": True}),
    "imapose": ("imapose.IMAPose", [-1, 0, 1], {"radius": 1}),
}


def entry(folder: Path, family: str) -> Path:
    model, window, options = FAMILIES[family]
    path = folder / f"small-{family}.yaml"
    path.write_text(ENTRY.format(model=model, window=window, options=json.dumps(options), hrnet=HRNET))
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Path]:
    """An entry, its network with weights, and the file of those."""
    folder = tmp_path_factory.mktemp("checkpoint")
    path = entry(folder, "fami")
    torch.manual_seed(0)
    model = randomise(engines.create(str(path)), torch.randn(2, 2, 3, 96, 64))
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, folder / "mine.pth")
    return path, model, folder / "mine.pth"


@pytest.fixture(scope="module")
def folder(checkpoint: tuple[Path, Any, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of it."""
    place = tmp_path_factory.mktemp("exports") / "fami"
    assert execute(["export", str(checkpoint[0]), "--weights", str(checkpoint[2]), "--out", str(place)]) == 0
    return place


def windows(folder: Path, count: int) -> Any:
    return calibration.draw_windows(read_manifest(folder).signature, count)


def make_decoder(folder: Path, crops: Any) -> Any:
    backend = make_backend(folder / "fused.onnx")
    backend.open()
    return backend.run({"crops": crops})["points"]


def by_hand(model: Any, crops: Any, signature: Any) -> Any:
    """PyTorch, and the published decoding in numpy."""
    from engines.vision import heatmaps

    with torch.no_grad():
        maps = model(torch.from_numpy(calibration.normalise(crops, signature))).numpy()
    cells, scores = heatmaps.decode(maps)
    return np.concatenate([cells * 4, scores[..., None]], axis=2)


def test_the_folder_holds_every_part_and_no_trace_of_its_making(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    graphs = {"fused.onnx", "backbone.onnx", "head.onnx"}
    assert names == {"manifest.json", "weights.data", "weights.safetensors", *graphs}
    assert [path.name for path in folder.parent.iterdir()] == ["fami"]
    for graph in graphs:
        assert b"/" + str(Path(__file__).parts[1]).encode() + b"/" not in (folder / graph).read_bytes()


def test_the_manifest_vouches_for_the_folder(folder: Path, checkpoint: tuple[Path, Any, Path]) -> None:
    manifest = read_manifest(folder)
    verify_files(manifest, folder)
    assert (manifest.source.file, manifest.source.layout) == ("mine.pth", "ours")
    assert manifest.signature.keeps == ((24, 24, 16),)
    assert set(manifest.versions) >= {"posestream", "torch", "onnx", "onnxscript", "onnxruntime", "python"}
    assert set(manifest.parity) == {"fused", "backbone", "head"}
    for account in manifest.parity.values():
        assert account.windows == 6
        assert account.heatmap_error <= account.bound_heatmap
    # Rounding alone, and never none at all: what was compared was two computations.
    assert 0 < manifest.parity["fused"].heatmap_error < 1e-3


@pytest.mark.parametrize("people", [1, 3])
def test_any_number_of_people_gives_what_pytorch_gives(
    folder: Path, checkpoint: tuple[Path, Any, Path], people: int
) -> None:
    crops = windows(folder, people)
    wanted = by_hand(checkpoint[1], crops, read_manifest(folder).signature)
    given = make_decoder(folder, crops)
    assert given.shape == (people, 17, 3)
    # Cells and quarters are the same; a score is the value of a heatmap of order 1, in float32.
    np.testing.assert_array_equal(given[..., :2], wanted[..., :2])
    np.testing.assert_allclose(given[..., 2], wanted[..., 2], atol=1e-3)


def test_what_is_cut_gives_what_is_whole(folder: Path) -> None:
    crops = windows(folder, 3)
    ring = make_feature_cache(folder / "backbone.onnx", folder / "head.onnx", slots=6)
    ring.open()
    slots = np.arange(6, dtype=np.intp).reshape(3, 2)
    for frame in range(2):
        ring.store(slots[:, frame], np.ascontiguousarray(crops[:, frame]))
    # The same operations in the same order, on a batch of another size.
    np.testing.assert_allclose(ring.read(slots)["points"], make_decoder(folder, crops), atol=1e-4)


def test_weights_are_stored_once_for_all_graphs(folder: Path) -> None:
    places: dict[int, int] = {}
    read = 0
    for name in ("fused", "backbone", "head"):
        for tensor in onnx.load(str(folder / f"{name}.onnx"), load_external_data=False).graph.initializer:
            result = {item.key: item.value for item in tensor.external_data}
            if result:
                assert int(result["offset"]) % 64 == 0
                places[int(result["offset"])] = int(result["length"])
                read += int(result["length"])
    size = (folder / "weights.data").stat().st_size
    assert sum(places.values()) <= size < sum(places.values()) + 64 * len(places)
    assert read > 1.9 * size


def test_batch_normalisation_has_gone_into_the_weights(folder: Path) -> None:
    for name in ("fused", "backbone", "head"):
        model = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False)
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
        assert next(output.name for output in model.graph.output) in ("points", "maps_0")


def test_the_checkpoint_lies_in_it_under_our_names(folder: Path, checkpoint: tuple[Path, Any, Path]) -> None:
    from safetensors.torch import load_file

    state, wanted = load_file(folder / "weights.safetensors"), checkpoint[1].state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_a_second_export_of_the_same_gives_the_same_bytes_of_graph(folder: Path) -> None:
    # What identifies an export must not depend on when it was made: nothing random and no time is written down.
    model = onnx.load(str(folder / "fused.onnx"), load_external_data=False)
    assert not model.metadata_props
    assert all(not node.metadata_props and not node.doc_string for node in model.graph.node)


def test_an_export_that_is_there_is_kept(
    folder: Path, checkpoint: tuple[Path, Any, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "manifest.json").read_bytes()
    assert execute(["export", str(checkpoint[0]), "--weights", str(checkpoint[2]), "--out", str(folder)]) == 1
    assert capsys.readouterr().err == (
        f"posestream: export into {str(folder)!r}: it is an export already; "
        "replace it with --force, or choose another folder with --out\n"
    )
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.large
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_networks_is_exported_in_every_precision(family: str, precision: str, tmp_path: Path) -> None:
    path = entry(tmp_path, family)
    words = ["--random-weights", "--precision", precision, "--out", str(tmp_path / "out")]
    assert execute(["export", str(path), *words]) == 0
    assert read_manifest(tmp_path / "out").precision == precision
    assert make_decoder(tmp_path / "out", windows(tmp_path / "out", 1)).shape == (1, 17, 3)
