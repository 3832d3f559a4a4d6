"""The backend ``torch``: an export in PyTorch, compared with its graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from engines.backends.onnxrt import OnnxRuntime  # noqa: E402
from engines.backends.pytorch import backend, loading  # noqa: E402
from engines.backends.pytorch.execution import inference_mode  # noqa: E402
from engines.backends.pytorch.export_module import make_decoder, make_part  # noqa: E402
from engines.backends.pytorch.half_precision import DEFORMED, PRODUCTS, SAMPLERS, operator_name, to_mixed_precision  # noqa: E402
from engines.backends.registry import make_backend, make_feature_cache  # noqa: E402
from engines.errors import EngineError  # noqa: E402
from engines.spec.manifest import Manifest, Source, read_manifest, write_manifest  # noqa: E402
from engines.spec.network import HRNetSpec, NetworkSpec, build  # noqa: E402
from engines.spec.signature import Signature  # noqa: E402
from engines.testing.arrays import is_close, make_random_feeds  # noqa: E402
from engines.testing.backends import check_backend  # noqa: E402
from engines.testing.feature_caches import check_feature_cache  # noqa: E402

SIZE = (64, 64)
SPEC = NetworkSpec(
    model="fami.FAMIPose",
    input_size=SIZE,
    hrnet=HRNetSpec(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1),
    window=(-1, 0, 1),
    options={"frames": [-1, 0, 1]},
)
SIGNATURE = Signature(
    name="small",
    input_size=SIZE,
    skeleton="posetrack17",
    past=1,
    future=1,
    layout="nthwc",
    pixel="uint8",
    decode="points",
    keeps=((24, 16, 16),),
)


@pytest.fixture(scope="module")
def network() -> Any:
    """With weights as large as a trained network's, so that heatmaps have tops and offsets are pixels."""
    torch.manual_seed(0)
    model = build("small", SPEC)
    for parameter in model.parameters():
        fan = parameter[0].numel() if parameter.dim() > 1 else 1
        torch.nn.init.normal_(parameter, std=fan**-0.5 if parameter.dim() > 1 else 0.1)
    return model.eval().requires_grad_(False)


@pytest.fixture
def write(tmp_path: Path, network: Any) -> Callable[..., Path]:
    """Writes the export's folder without graphs, which PyTorch does not read; gives the path of its fused one."""

    def write(precision: Any = "fp32", **changed: Any) -> Path:
        safetensors.save_file(network.state_dict(), tmp_path / "weights.safetensors")
        manifest = Manifest(
            signature=msgspec.structs.replace(SIGNATURE, **changed),
            network=SPEC,
            precision=precision,
            graphs={"fused": "fused.onnx", "backbone": "backbone.onnx", "head": "head.onnx"},
            weights="weights.safetensors",
            files={},
            source=Source(),
            versions={},
            parity={},
            fingerprint="0" * 16,
            opset=20,
        )
        write_manifest(manifest, tmp_path)
        return tmp_path / "fused.onnx"

    return write


def open_error(path: Path, name: str = "torch:cpu") -> str:
    with pytest.raises(EngineError) as caught:
        make_backend(path, name).open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("part", ["fused", "backbone", "head"])
def test_each_part_of_an_export_passes_the_backend_checks(write: Callable[..., Path], part: str) -> None:
    path = write().with_name(f"{part}.onnx")
    check_backend(lambda: make_backend(path, "torch:cpu"))


@pytest.mark.parametrize("kept_type", ["float32", "float16"])
def test_its_feature_cache_passes_the_checks(write: Callable[..., Path], kept_type: str) -> None:
    path = write("fp32" if kept_type == "float32" else "fp16", kept_type=kept_type)
    parts = path.with_name("backbone.onnx"), path.with_name("head.onnx")
    cache = make_feature_cache(*parts, 4, "torch:cpu")
    assert isinstance(cache, backend.DeviceFeatureCache)
    check_feature_cache(
        lambda slots: make_feature_cache(*parts, slots, "torch:cpu"), lambda: make_backend(path, "torch:cpu")
    )


def test_an_export_for_normalised_crops_takes_them(write: Callable[..., Path]) -> None:
    path = write(layout="ntchw", pixel="float32")
    backend = make_backend(path, "torch:cpu")
    check_backend(lambda: backend)
    backend.open()
    assert backend.describe().inputs[0].shape == (None, 3, 3, 64, 64)


@pytest.mark.slow
def test_points_equal_those_of_the_exported_graph(write: Callable[..., Path], network: Any) -> None:
    graphs, to_onnx = pytest.importorskip("export.graph.wrappers"), pytest.importorskip("export.to_onnx")
    editing = pytest.importorskip("export.graph.editing")
    path = write().with_name("head.onnx")
    *_, head = graphs.make_graphs(
        network, SIGNATURE, make_decoder(SIGNATURE)
    )  # the smallest part that samples and decodes
    model = to_onnx.to_onnx(head)
    editing.remove_output(model, "heatmaps")
    path.write_bytes(model.SerializeToString())
    ours, theirs = make_backend(path, "torch:cpu"), OnnxRuntime(path)
    ours.open()
    theirs.open()
    assert ours.describe().inputs == theirs.describe().inputs
    assert ours.describe().outputs == theirs.describe().outputs
    feeds = make_random_feeds(ours.describe(), batch=3)
    # Both round each sum of some hundred terms at 6e-8 of it; a point is a cell times 4, and a score.
    assert is_close(ours.run(feeds)["points"], theirs.run(feeds)["points"], 1e-5)


def test_the_device_names_mode_and_dtype(write: Callable[..., Path]) -> None:
    # A processor runs fp16 exports in float32: it computes float16 slowly, or not at all.
    backend = make_backend(write("fp16", kept_type="float16"), "torch:cpu")
    backend.open()
    assert backend.describe().device == "cpu, float32"


def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    with inference_mode(before + 1):
        assert torch.get_num_threads() == before + 1
        assert torch.is_inference_mode_enabled()
    assert torch.get_num_threads() == before


def test_read_only_pixels_are_accepted(write: Callable[..., Path]) -> None:
    backend = make_backend(write(), "torch:cpu")
    backend.open()
    feeds = make_random_feeds(backend.describe())
    wanted = backend.run(feeds)
    feeds["crops"].setflags(write=False)
    assert is_close(backend.run(feeds)["points"], wanted["points"], 0)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_graph_without_a_manifest_raises_with_the_remedy(tmp_path: Path) -> None:
    message = open_error(tmp_path / "plain.onnx")
    assert message.startswith(f"backend 'torch': {tmp_path} is no export (no manifest.json)")
    assert message.endswith("make one with 'posestream export', or run the .onnx with backend=onnxrt")


def test_weights_of_another_network_raise(write: Callable[..., Path]) -> None:
    path = write()
    safetensors.save_file({"surplus": torch.zeros(1)}, path.parent / "weights.safetensors")
    message = open_error(path)
    assert "is not the weights of FAMIPose (Error(s) in loading state_dict" in message
    assert message.endswith("export it again")


def test_truncated_weights_raise(write: Callable[..., Path]) -> None:
    path = write()
    weights = path.parent / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "is not the weights of FAMIPose" in open_error(path)


def test_a_file_that_is_no_graph_of_the_export_raises(write: Callable[..., Path]) -> None:
    path = write().with_name("tail.onnx")
    message = open_error(path)
    assert message.endswith("is not a graph of its export, which has fused.onnx, backbone.onnx, head.onnx")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("abacus", "there is no mode 'abacus'; there are compiled, cudagraphs, cuda and cpu"),
        ("compiled+cudagraphs", "compiled and cudagraphs exclude each other"),
        ("cuda+cpu", "cpu and cuda exclude each other"),
    ],
)
def test_an_invalid_mode_raises(tmp_path: Path, mode: str, words: str) -> None:
    assert words in open_error(tmp_path / "any.onnx", f"torch:{mode}")


@pytest.mark.parametrize("mode", ["cuda", "cudagraphs"])
def test_a_missing_gpu_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    message = open_error(tmp_path / "any.onnx", f"torch:{mode}")
    assert message.startswith(f"backend 'torch:{mode}': PyTorch {torch.__version__} finds no CUDA GPU on this machine")


def test_an_exception_of_pytorch_becomes_an_engine_error(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend(write(), "torch:cpu")
    backend.open()

    def fail(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory\nwith a stack below it")

    monkeypatch.setattr(backend, "_call", fail)
    with pytest.raises(EngineError) as caught:
        backend.run(make_random_feeds(backend.describe()))
    assert str(caught.value) == ("fused.onnx: PyTorch could not run it: DefaultCPUAllocator: not enough memory")


# -- half precision: what is traced and retyped for CUDA, on the processor ---------------------------------------------


@pytest.fixture(scope="module")
def mixed(network: Any) -> Any:
    crops = torch.randint(0, 256, (2, 3, 64, 64, 3), dtype=torch.uint8)
    return to_mixed_precision(make_part("fused", network, SIGNATURE), (crops,))


@pytest.mark.slow
def test_most_products_are_float16(mixed: Any) -> None:
    products = [node for node in mixed.graph.nodes if operator_name(node) in PRODUCTS]
    half = [node for node in products if node.all_input_nodes[0].meta["val"].dtype == torch.float16]
    # All but φ's three linear layers and einsum, a convolution each before φ's mean, the offsets and the heatmaps.
    assert 0.75 < len(half) / len(products) < 1


def test_coordinates_are_computed_in_float32(mixed: Any) -> None:
    samplers = [node for node in mixed.graph.nodes if operator_name(node) in SAMPLERS]
    assert {operator_name(node) for node in samplers} == {"deform_conv2d", "grid_sampler"}
    for sampler in samplers:
        given = [node.meta["val"].dtype for node in sampler.all_input_nodes]
        assert set(given) == {torch.float32}


@pytest.mark.slow
def test_the_kernel_gets_float16_maps_and_float32_offsets(network: Any) -> None:
    maps = torch.zeros(2, 3, 24, 16, 16)
    traced = to_mixed_precision(make_part("head", network, SIGNATURE), (maps,), deform_dtype=torch.float16)
    deform_dtype = [node for node in traced.graph.nodes if operator_name(node) in DEFORMED]
    assert deform_dtype
    for node in deform_dtype:
        types = [given.meta["val"].dtype for given in node.args[:5]]
        assert types == [torch.float16, torch.float32, torch.float32, torch.float16, torch.float16]


def test_mixed_precision_gives_nearly_the_same_points_for_any_batch(mixed: Any, network: Any) -> None:
    whole = make_part("fused", network, SIGNATURE)
    for people in (1, 3):
        crops = torch.randint(0, 256, (people, 3, 64, 64, 3), dtype=torch.uint8)
        (wanted,), (points,) = whole(crops), mixed(crops)
        assert points.dtype == torch.float32
        # Scores are tops of heatmaps: float16 is good to 5e-4 and a network of some 30 layers adds that up.
        assert is_close(points[..., 2].numpy(), wanted[..., 2].numpy(), 2e-2)
        moved = (points - wanted)[..., :2].abs().amax(-1)
        # A top that is hardly higher than another may lose; most have to stay.
        assert float((moved < 2.1).float().mean()) > 0.9


def test_the_original_network_stays_float32(mixed: Any, network: Any) -> None:
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


# -- compiled ---------------------------------------------------------------------------------------------------------


@pytest.mark.large
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_passes_the_backend_checks(write: Callable[..., Path]) -> None:
    path = write()
    check_backend(lambda: make_backend(path, "torch:compiled+cpu"))


def test_a_network_that_cannot_be_compiled_raises_with_the_remedy(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(module: object, examples: object) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nin a long story")

    monkeypatch.setattr(loading, "compile_module", fail)
    message = open_error(write(), "torch:compiled+cpu")
    assert "torch.compile cannot compile it here (InvalidCxxCompiler: No working C++ compiler found)" in message
    assert message.endswith("choose backend=torch")


def test_the_manifest_selects_the_decoding(write: Callable[..., Path]) -> None:
    path = write(notes={"decoding": "dark"})
    assert make_decoder(read_manifest(path.parent).signature).how == "dark"
