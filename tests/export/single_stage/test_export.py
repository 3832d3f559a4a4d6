"""InsPose leaves PyTorch as one graph of standard operators, and finds the same people in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import torch  # noqa: E402

from engines.backends.onnxrt import OnnxRuntime  # noqa: E402
from engines.backends.pytorch.half_precision import to_mixed_precision  # noqa: E402
from engines.backends.pytorch.single_stage_module import RELEASED, Pictures  # noqa: E402
from engines.backends.registry import make_backend  # noqa: E402
from engines.errors import EngineError  # noqa: E402
from engines.hub import catalogue  # noqa: E402
from engines.hub.checkpoint_names import rename_keys  # noqa: E402
from engines.inference.nms import suppress  # noqa: E402
from engines.inference.single_stage import load_picture_engine  # noqa: E402
from engines.layers.nms import nms  # noqa: E402
from engines.models import inspose  # noqa: E402
from engines.models.inspose_released import InsPoseReleased  # noqa: E402
from engines.models.resnet_fpn import FPN  # noqa: E402
from engines.spec.manifest import read_picture_manifest, verify_files  # noqa: E402
from engines.spec.picture_signature import OUTPUTS, Suppression  # noqa: E402
from export.calibration import Samples  # noqa: E402
from export.exporter import export_network  # noqa: E402
from export.graph.wrappers import Graph  # noqa: E402
from export.single_stage.export import MeasuredPictures, make_samples  # noqa: E402
from export.single_stage.parity import BOUNDS, MEASURED, judge, run_graph  # noqa: E402
from export.stages import Request, trace  # noqa: E402
from export.to_onnx import to_onnx  # noqa: E402
from export.weights import Choice, randomise  # noqa: E402
from tests.engines.models import golden  # noqa: E402

# The exporter itself uses what PyTorch and Python have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SIZE = (160, 96)
CANDIDATES = 64
NAME = "inspose-compact"


class Small(torch.nn.Module):
    """A backbone of four convolutions, in an HRNet's place: tracing takes a second for every hundred layers."""

    channels = (24, 48, 96, 192)

    def __init__(self) -> None:
        super().__init__()
        sizes = zip((3, *self.channels), self.channels, (4, 2, 2, 2), strict=False)
        self.stages = torch.nn.ModuleList(torch.nn.Conv2d(a, b, s + 1, s, s // 2) for a, b, s in sizes)

    def forward(self, x: Any) -> list[Any]:
        maps = []
        for stage in self.stages:
            x = torch.relu(stage(x))
            maps.append(x)
        return maps


@pytest.fixture(scope="module")
def small() -> Iterator[pytest.MonkeyPatch]:
    """Networks of the catalogue with a small backbone, traced once."""
    graphs: list[bytes] = []

    def once(*given: Any) -> Any:
        if not graphs:
            graphs.append(trace(*given).SerializeToString())
        return onnx.load_from_string(graphs[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspose, "build_backbone", lambda _: Small())
        patch.setattr("export.single_stage.export.trace", once)
        yield patch


def request(folder: Path, **wishes: Any) -> Request:
    wishes = {"choice": Choice(random=True), "size": SIZE, "candidates": CANDIDATES, "threads": 1, **wishes}
    return Request(NAME, out=folder, **wishes)


@pytest.fixture(scope="module")
def folder(small: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_network(request(tmp_path_factory.mktemp("exports") / "fp32"))


def pictures_of(folder: Path) -> Pictures:
    """The network in PyTorch, with the weights that lie in the folder."""
    from safetensors.torch import load_file

    from engines.spec import network

    manifest = read_picture_manifest(folder)
    model: Any = network.build(NAME, manifest.network)
    assert manifest.weights is not None
    model.load_state_dict(load_file(folder / manifest.weights))
    return Pictures(model.eval(), manifest.signature.candidates)


@pytest.mark.slow
def test_the_folder_says_what_it_is(folder: Path) -> None:
    manifest = read_picture_manifest(folder)
    verify_files(manifest, folder)
    result = manifest.signature
    assert (result.name, result.input_size, result.candidates) == (NAME, SIZE, CANDIDATES)
    assert result.suppression == Suppression(kind="hard", iou=0.6, min_score=0.1)
    assert set(manifest.graphs) == {"fused"}


@pytest.mark.slow
def test_the_graph_is_of_standard_operators_for_any_number_of_pictures(folder: Path) -> None:
    graph = onnx.load(folder / "fused.onnx")
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 20)]
    sizes = {
        entry.name: [size.dim_value for size in entry.type.tensor_type.shape.dim]  # 0 where any goes
        for entry in (*graph.graph.input, *graph.graph.output)
    }
    assert sizes == {
        "pictures": [0, SIZE[1], SIZE[0], 3],
        "points": [0, CANDIDATES, 17, 3],
        "scores": [0, CANDIDATES],
        "boxes": [0, CANDIDATES, 4],
    }


@pytest.mark.slow
def test_its_parity_stands_in_the_manifest(folder: Path) -> None:
    parity = read_picture_manifest(folder).parity["fused"]
    assert 0 < parity.heatmap_error <= parity.bound_heatmap == 1e-3
    assert parity.shift_px_max <= parity.bound_px == 0.1
    assert parity.inputs.startswith("3 pictures of drawn people, 1 of noise;")
    assert parity.windows == 4


@pytest.mark.slow
def test_the_people_of_the_line_are_those_of_pytorch(folder: Path) -> None:
    frame = make_samples(SIZE).crops[0]
    with load_picture_engine(str(folder)) as engine, torch.no_grad():
        (found,) = engine.estimate([frame])
        points, scores, boxes = (one[0] for one in pictures_of(folder)(torch.from_numpy(frame[None])))
    limit = torch.tensor([*SIZE, *SIZE])
    inside = torch.minimum(boxes.clamp(min=0), limit)[scores > 0.1]
    kept = nms(inside, scores[scores > 0.1], 0.6)
    assert len(found.scores) == len(kept) > 0
    # Rounding of float32 in another order; a pixel here is one of the frame.
    np.testing.assert_allclose(found.scores, scores[kept], atol=1e-5)
    np.testing.assert_allclose(found.boxes, inside[kept], atol=1e-2)
    np.testing.assert_allclose(found.keypoints[..., :2], points[kept][..., :2] + 0.5, atol=1e-2)


@pytest.mark.slow
def test_half_precision_keeps_joints_and_types_of_inputs_and_outputs(folder: Path, tmp_path: Path) -> None:
    half = export_network(request(tmp_path / "fp16", precision="fp16"))
    manifest = read_picture_manifest(half)
    assert manifest.precision == "fp16"
    parity = manifest.parity["fused"]
    # That it is no float32 in disguise says the lower bound.
    assert 1e-5 < parity.heatmap_error <= parity.bound_heatmap == 0.2
    backend = OnnxRuntime(half / "fused.onnx")
    backend.open()
    described = backend.describe()
    assert [tensor.dtype for tensor in (*described.inputs, *described.outputs)] == ["uint8"] + 3 * ["float32"]
    sizes = [read_picture_manifest(one).files["weights.data"].bytes for one in (half, folder)]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.slow
def test_pytorch_runs_the_export_as_the_graph_does(folder: Path) -> None:
    backends = [make_backend(folder / "fused.onnx", name) for name in ("onnxrt:cpu", "torch:cpu")]
    for backend in backends:
        backend.open()
    first, second = (backend.describe() for backend in backends)
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    graph, torchs = (backend.run({"pictures": make_samples(SIZE).crops}) for backend in backends)
    np.testing.assert_allclose(graph["scores"], torchs["scores"], atol=1e-4)
    points, theirs = graph["points"], torchs["points"]
    np.testing.assert_allclose(points[..., 2], theirs[..., 2], atol=1e-4)
    # Maps of random weights are noise: two of a map's cells may tie within float32's rounding, and which of them is
    # higher depends on the processor. 1 of 4352 keypoints moved on one, none on another. Its box moves with it.
    has_moved = np.abs(points[..., :2] - theirs[..., :2]).max(axis=-1) > 1e-2
    same = ~has_moved.any(axis=-1)
    np.testing.assert_allclose(graph["boxes"][same], torchs["boxes"][same], atol=1e-2)  # pixels
    assert has_moved.mean() <= 1e-3


@pytest.mark.slow
def test_half_precision_in_pytorch_keeps_joints_too(folder: Path) -> None:
    network, picture = pictures_of(folder), make_samples(SIZE).crops[1]
    halved = to_mixed_precision(
        MeasuredPictures(network).eval(), (torch.zeros(2, SIZE[1], SIZE[0], 3, dtype=torch.uint8),)
    )
    with torch.no_grad():
        outputs = halved(torch.from_numpy(picture[None]))
    found = judge(network, picture, dict(zip((*OUTPUTS, *MEASURED), (one.numpy() for one in outputs), strict=True)))
    # As the export's own fp16; the lower bound says that it is no float32 in disguise.
    assert 1e-5 < found.error <= BOUNDS["fp16"].heatmap_error
    assert found.shifts_px.max() <= BOUNDS["fp16"].shift_px


def spoil_kp_nets(model: Any) -> None:
    model.controller.weight[:80] *= -1


def spoil_scores(model: Any) -> None:
    model.classify[-1].bias += 0.01


def spoil_offsets(model: Any) -> None:
    model.disk_offset[-1].bias += 0.1


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [spoil_kp_nets, spoil_scores, spoil_offsets])
def test_a_graph_that_computes_something_else_breaks_its_bound(folder: Path, spoil: Callable[[Any], None]) -> None:
    wrong, picture = pictures_of(folder), make_samples(SIZE).crops[0]
    with torch.no_grad():
        spoil(wrong.model)
        outputs = MeasuredPictures(wrong)(torch.from_numpy(picture[None]))
    named = dict(zip((*OUTPUTS, *MEASURED), (one.numpy() for one in outputs), strict=True))
    found = judge(pictures_of(folder), picture, named)
    assert found.error > BOUNDS["fp32"].heatmap_error or found.shifts_px.max() > BOUNDS["fp32"].shift_px


def refusal(wanted: Request) -> str:
    with pytest.raises(EngineError) as caught:
        export_network(wanted)
    return str(caught.value)


def test_a_size_that_does_not_suit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    assert refusal(request(tmp_path / "export", size=(640, 360))) == (
        "network 'inspose-compact': input size 640x360 px is invalid; "
        "width and height must be multiples of 32, such as 640x384"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wish", "option"), [({"decoding": "dark"}, "--decode dark"), ({"pixel": "float32"}, "--input float32")]
)
def test_choices_of_networks_of_crops_are_refused(tmp_path: Path, wish: dict[str, Any], option: str) -> None:
    assert refusal(request(tmp_path / "export", **wish)) == (
        f"{option}: network 'inspose-compact' takes whole pictures; only networks of crops of people have this "
        "option, leave it out"
    )


def test_networks_of_crops_have_no_picture_size(tmp_path: Path) -> None:
    wanted = Request("fami-compact-256x192", Choice(random=True), size=SIZE, out=tmp_path / "export")
    assert refusal(wanted) == (
        "--size: network 'fami-compact-256x192' takes crops of people; only networks of whole pictures have this "
        "option, leave it out"
    )


def test_the_users_own_frames_are_fitted_to_the_size(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    for place in range(5):
        cv2.imwrite(str(tmp_path / f"{place}.png"), np.full((48, 48, 3), 10 * place, np.uint8))
    shown = make_samples(SIZE, tmp_path)
    assert shown.description == f"3 pictures of {tmp_path.name}, 1 of noise"
    assert shown.crops.shape == (4, SIZE[1], SIZE[0], 3)
    assert [int(picture[0, 0, 0]) for picture in shown.crops[:3]] == [0, 20, 40]


# -- as released ------------------------------------------------------------------------------------------------------


def write(pictures: Pictures, example: Any, path: Path) -> Path:
    graph = to_onnx(Graph("fused", MeasuredPictures(pictures).eval(), (example,), ("pictures",), (*OUTPUTS, *MEASURED)))
    onnx.save(graph, str(path))
    return path


@pytest.mark.slow
def test_the_released_network_finds_the_same_with_deformable_stars_in_the_graph(tmp_path: Path) -> None:
    model: Any = InsPoseReleased(width=32)
    model.backbone = Small()
    model.neck = FPN(Small.channels[1:], 32)
    shown = make_samples(SIZE).crops[1:]
    network = Pictures(randomise(model, torch.zeros(1, 3, *SIZE[::-1])), CANDIDATES).eval()
    path = write(network, torch.zeros(2, *SIZE[::-1], 3, dtype=torch.uint8), tmp_path / "released.onnx")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("DeformConv") == 10  # two stars at five levels
    assert "Resize" in kinds  # the pyramid's; maps of KP-Nets are doubled by a convolution
    outputs = run_graph(path, Samples(shown, ""), threads=1)
    judgements = [judge(network, picture, row) for picture, row in zip(shown, outputs, strict=True)]
    # Rounding of float32; a joint regressed from a cell of 128 px feels it 128-fold.
    assert max(one.error for one in judgements) <= 1e-4
    assert max(float(one.shifts_px.max()) for one in judgements) <= 0.05


class Planes(Pictures):
    """Fed with what is normalised already."""

    def normalised(self, pictures: Any) -> Any:
        return pictures


@pytest.mark.large
@pytest.mark.timeout(1800)
def test_the_exported_released_network_finds_the_published_people(shared: Path, tmp_path: Path) -> None:
    """Scores, boxes and joints of the public code, through ONNX Runtime and suppression in numpy."""
    model = InsPoseReleased()
    shapes = json.loads((shared / "models" / "keys_inspose_r50.json").read_text())["state_dict"]
    drawn = {key: torch.from_numpy(golden.draw(key, tuple(entry["shape"]), [])) for key, entry in shapes.items()}
    model.load_state_dict(rename_keys("inspose", drawn))
    noise = np.random.Generator(np.random.PCG64(0)).standard_normal((1, 3, 256, 320)).astype(np.float32)
    # All locations: with weights that were drawn, nearly all pass the threshold.
    path = write(Planes(model.eval(), 2000), torch.zeros(2, 3, 256, 320), tmp_path / "released.onnx")
    backend = OnnxRuntime(path)
    backend.open()
    outputs = backend.run({"pictures": noise})
    theirs = np.load(shared / "models" / "golden_inspose_r50.npz")
    for variant, result in (("A", RELEASED), ("C", Suppression(kind="hard", iou=0.3, min_score=0.55))):
        _check_people(outputs, theirs, variant, result)


def _check_people(outputs: Any, theirs: Any, variant: str, result: Suppression) -> None:
    points, scores, boxes = (outputs[name][0] for name in OUTPUTS)
    sure = scores > result.min_score
    inside = np.clip(boxes[sure], 0, np.array([320, 256, 320, 256], np.float32))
    kept, left = suppress(inside, scores[sure], result)
    kept, left = kept[:100], left[:100]
    # Bounds of the reference's own table: ten times the noise it measured.
    np.testing.assert_allclose(left, theirs[f"{variant}_boxes_scores"][:, 4], atol=2e-5)
    np.testing.assert_allclose(inside[kept], theirs[f"{variant}_boxes_scores"][:, :4], atol=5e-3)
    keypoints = theirs[f"{variant}_keypoints"][:10, :, :2]
    clear = theirs[f"{variant}_peak_margin_top10"] > 2e-3  # a tie between two cells may fall either way
    difference = np.abs(points[sure][kept][:10, :, :2] - keypoints).max(2)
    assert difference[clear].max() <= 5e-3


@pytest.mark.slow
def test_an_ablation_of_the_paper_is_exported_with_its_own_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspose, "build_backbone", lambda _: Small())
    monkeypatch.setattr("export.single_stage.export.trace", trace)
    _, entry = catalogue.find_entry(NAME)
    assert entry.network is not None
    options = {**entry.network.options, "depth": 2, "map_stride": 4, "disk_offset": False, "boxes": True}
    changed = msgspec.structs.replace(entry, network=msgspec.structs.replace(entry.network, options=options, cost=None))
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(msgspec.to_builtins(changed, enc_hook=str)))
    folder = export_network(replace(request(tmp_path / "out"), network=str(tmp_path / "ablation.yaml")))
    assert read_picture_manifest(folder).parity["fused"].heatmap_error < 1e-4
    with load_picture_engine(str(folder)) as engine:
        (found,) = engine.estimate([make_samples(SIZE).crops[0]])
    # Without disk offsets, keypoints lie in the centres of cells of 4 px; the index of a pixel's centre is its own.
    places = found.keypoints[..., :2] - 0.5
    np.testing.assert_allclose(places % 4, 2, atol=1e-3)
