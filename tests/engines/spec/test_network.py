"""Architectures: every network of the catalogue builds at the stated cost; errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import engines
from engines.errors import EngineError
from engines.hub import catalogue
from engines.spec import network
from engines.spec.network import HRNetSpec, NetworkSpec

NETWORKS = catalogue.list_names("network")
COMPACT = [name for name in NETWORKS if "compact" in name]
PAPERS = ("dcpose", "fami", "fasrnet", "hrnet", "imapose", "inspose", "posewarper", "tdmi", "tdmi-st")


def find_spec(name: str) -> NetworkSpec:
    return catalogue.find_network(name)[1]


def build_error(spec: NetworkSpec) -> str:
    with pytest.raises(EngineError) as caught:
        network.build("mine", spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_builds_at_the_stated_cost_and_has_the_modules_of_its_checkpoints(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from engines.hub.checkpoints import LAYOUTS
    from engines.testing.costs import measure_cost

    for draw in ("kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_", "constant_", "ones_", "zeros_"):
        monkeypatch.setattr(torch.nn.init, draw, lambda weights, *_, **__: weights)  # nine tenths of the time
    spec = find_spec(name)
    with torch.device("meta"):  # shapes only: weights of 64 million parameters are not needed to count them
        model = engines.create(name)
        assert measure_cost(model, spec.input_size) == spec.cost
    for checkpoint in spec.checkpoints:
        assert checkpoint.layout in LAYOUTS
        assert model.get_submodule(checkpoint.into) is not None


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_has_a_configuration(paper: str) -> None:
    assert any(name.startswith(f"{paper}-") and "compact" not in name for name in NETWORKS)


@pytest.mark.parametrize("name", COMPACT)
def test_a_compact_network_takes_at_most_three_gmac_with_cached_features(name: str) -> None:
    gmac = find_spec(name).gmac
    assert gmac is not None
    assert gmac <= 3.0


@pytest.mark.parametrize("name", [name for name in NETWORKS if find_spec(name).takes == "crop"])
def test_a_signature_has_the_window_and_the_shapes_of_features(name: str) -> None:
    spec = find_spec(name)
    signature = spec.signature(name)
    assert signature.offsets == spec.window
    assert (signature.past, signature.future) == (spec.past, spec.future)
    assert spec.cost is not None
    assert signature.keeps == spec.cost.keeps
    assert (signature.kept_bytes > 0) == (len(spec.window) > 1)
    width, height = spec.input_size
    assert signature.input_shape == (
        (len(spec.window), 3, height, width) if len(spec.window) > 1 else (3, height, width)
    )


def test_cached_features_are_counted_in_bytes_per_person() -> None:
    # FAMI-Pose keeps one map of 48 channels of 96x72 float32 a frame, of five frames.
    assert find_spec("fami-w48-384x288").signature("fami").kept_bytes == 5 * 48 * 96 * 72 * 4


def test_cached_features_leave_one_backbone_run_per_window() -> None:
    spec = find_spec("fami-w48-384x288")
    assert spec.gmac == pytest.approx(35.301 + 8.985)
    assert spec.window_gmac == pytest.approx(5 * 35.301 + 8.985)


def test_a_single_stage_network_has_no_signature_of_crops() -> None:
    with pytest.raises(EngineError) as caught:
        find_spec("inspose-r50").signature("inspose-r50")
    assert str(caught.value) == ("network 'inspose-r50' takes whole pictures; only a network of crops has a Signature")


def test_an_unknown_name_raises_with_the_nearest_ones() -> None:
    with pytest.raises(EngineError) as caught:
        engines.create("fami-w48-384x228")
    message = str(caught.value)
    assert message.startswith("network 'fami-w48-384x228' is not known; did you mean 'fami-w48-384x288' or ")
    assert message.count(" or ") == 2


def test_a_name_unlike_any_raises_listing_all() -> None:
    with pytest.raises(EngineError) as caught:
        engines.create("zzz")
    assert str(caught.value) == f"network 'zzz' is not known; there are {', '.join(NETWORKS)}"


def test_ready_made_weights_raise() -> None:
    with pytest.raises(EngineError) as caught:
        engines.create("rtmpose-s")
    assert str(caught.value) == "network 'rtmpose-s' is ready-made weights for pose; 'engines.load' opens those"


def test_unknown_options_raise() -> None:
    pytest.importorskip("torch")
    spec = find_spec("fami-compact-256x192")
    wrong = msgspec.structs.replace(spec, options={"colour": "blue"})
    assert build_error(wrong).startswith("network 'mine' (fami.FAMIPose): ")
    assert "colour" in build_error(wrong)


def test_a_window_that_the_class_does_not_read_raises() -> None:
    pytest.importorskip("torch")
    spec = msgspec.structs.replace(find_spec("dcpose-w48-384x288"), hrnet="compact16", window=(-2, 0))
    assert build_error(spec) == "network 'mine': its entry has window [-2, 0], but dcpose.DCPose reads [-1, 0, 1]"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("octopus.Octopus", "there is no file octopus.py in engines/models"),
        ("dcpose.Octopus", "engines/models/dcpose.py has no class 'Octopus'"),
    ],
)
def test_a_missing_class_raises(model: str, words: str) -> None:
    pytest.importorskip("torch")
    assert build_error(NetworkSpec(model=model, input_size=(192, 256))) == f"network 'mine': {words}"


def test_without_pytorch_it_raises_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    for module in [name for name in sys.modules if name.startswith("engines.models")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(EngineError) as caught:
        engines.create("hrnet-compact-256x192")
    assert str(caught.value) == (
        "network 'hrnet-compact-256x192' needs PyTorch; in a clone of posestream: pip install '.[torch]'"
    )


def test_a_custom_entry_is_built_from_its_path(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "small.yaml"
    path.write_text(
        "kind: network\ntitle: mine\nlicence: mine\nnetwork:\n  model: dcpose.DCPose\n  input_size: [32, 32]\n"
        "  window: [-1, 0, 1]\n  hrnet: {width: 16, modules: [1, 1, 1], blocks: 1, stem_width: 16, bottlenecks: 1}\n"
    )
    with torch.no_grad():
        assert engines.create(str(path)).eval()(torch.zeros(1, 3, 3, 32, 32)).shape == (1, 17, 8, 8)


def test_listing_networks_imports_no_torch() -> None:
    script = (
        "import sys; from engines.hub import catalogue; catalogue.find_network('fami-w48-384x288')[1].signature('x');"
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_network_has_a_heatmap_for_each_joint_of_its_skeleton() -> None:
    pytest.importorskip("torch")
    small = HRNetSpec(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1)
    spec = NetworkSpec(model="hrnet.HRNet", hrnet=small, input_size=(64, 64), skeleton="jhmdb15")
    assert network.build("mine", spec).get_submodule("final_layer").bias.numel() == 15
    message = build_error(msgspec.structs.replace(spec, skeleton="jhmdb"))
    assert message.startswith("network 'mine' (hrnet.HRNet): skeleton 'jhmdb' is not known; there are coco17, ")
