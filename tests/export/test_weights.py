"""Weights: a checkpoint's layout is found out where it can be, and what is only a part of a network is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.errors import EngineError  # noqa: E402
from engines.hub import catalogue  # noqa: E402
from engines.spec import cache  # noqa: E402
from engines.spec.network import Checkpoint, HRNetSpec, NetworkSpec, build  # noqa: E402
from engines.training.checkpoint import save_weights  # noqa: E402
from export.weights import Choice, list_layouts, load_network, randomise  # noqa: E402

SMALL = HRNetSpec(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1)
SPEC = NetworkSpec(model="dcpose.DCPose", input_size=(64, 96), window=(-1, 0, 1), hrnet=SMALL, options={"channels": 8})
ALONE = NetworkSpec(model="hrnet.HRNet", input_size=(64, 96), hrnet=SMALL)
BATCH = torch.randn(2, 3, 3, 96, 64)


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))


def saved(model: Any, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


def message_of(spec: NetworkSpec, choice: Choice) -> str:
    with pytest.raises(EngineError) as caught:
        load_network("small", spec, choice, BATCH)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_our_own_names_are_recognised(tmp_path: Path) -> None:
    path = saved(build("small", SPEC), tmp_path / "own.pth")
    model, source, trained_on = load_network("small", SPEC, Choice(weights=path), BATCH)
    assert (source.file, source.layout, len(source.sha256)) == ("own.pth", "ours", 64)
    assert trained_on == ""
    assert not model.training


def test_published_names_are_recognised(tmp_path: Path) -> None:
    state = build("small", ALONE).state_dict()
    head = {"final_layer.weight": "head.final_layer.weight", "final_layer.bias": "head.final_layer.bias"}
    torch.save({head.get(name, f"backbone.{name}"): value for name, value in state.items()}, tmp_path / "mm.pth")
    _, source, trained_on = load_network("small", ALONE, Choice(weights=tmp_path / "mm.pth"), BATCH)
    assert (source.layout, trained_on) == ("hrnet-mmpose", "real people")


def test_layouts_of_a_network_are_ours_its_family_and_what_its_entry_lists() -> None:
    listed = (
        Checkpoint(layout="fami", file="a", where="b", licence="c"),
        Checkpoint(layout="hrnet-imagenet", file="a", where="b", licence="c", into="hrnet"),
    )
    spec = NetworkSpec(model="dcpose.DCPose", input_size=(64, 96), window=(-1, 0, 1), checkpoints=listed)
    assert list_layouts(spec) == ["ours", "fami", "dcpose"]


def test_a_checkpoint_of_another_network_says_what_does_not_fit(tmp_path: Path) -> None:
    path = saved(torch.nn.Linear(2, 3), tmp_path / "other.pth")
    result = message_of(SPEC, Choice(weights=path))
    assert result.startswith(f"checkpoint {str(path)!r} (layout ours) does not fit DCPose: ")
    assert "2 unexpected (weight, bias)" in result


def test_a_checkpoint_of_another_size_says_which_shapes_differ(tmp_path: Path) -> None:
    wide = NetworkSpec(model="hrnet.HRNet", input_size=(64, 96), hrnet=HRNetSpec(width=32, modules=(1, 1, 1), blocks=1))
    path = saved(build("wide", wide), tmp_path / "wide.pth")
    assert "of another shape (conv1.weight: (64, 3, 3, 3) in the file, (16, 3, 3, 3) here" in message_of(
        ALONE, Choice(weights=path)
    )


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
def test_a_truncated_file_is_reported(name: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path, model = tmp_path / name, build("small", ALONE)
    torch.save(model.state_dict(), path) if path.suffix == ".pth" else save_file(model.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert message_of(ALONE, Choice(weights=path)).startswith(f"checkpoint {str(path)!r} is damaged or no checkpoint: ")


def test_a_file_that_holds_only_a_part_is_refused(tmp_path: Path) -> None:
    state = {name: value for name, value in build("small", ALONE).state_dict().items() if "final_layer" not in name}
    torch.save(state, tmp_path / "imagenet.pth")
    result = message_of(ALONE, Choice(weights=tmp_path / "imagenet.pth", layout="hrnet-imagenet"))
    assert result == (
        f"checkpoint {str(tmp_path / 'imagenet.pth')!r} (layout hrnet-imagenet) leaves 2 weights of HRNet as they were "
        "(final_layer.weight, …): it holds only a part of the network; train the rest, and give that checkpoint"
    )


def test_a_layout_that_does_not_exist_is_answered_with_those_that_do(tmp_path: Path) -> None:
    path = saved(build("small", ALONE), tmp_path / "net.pth")
    assert message_of(ALONE, Choice(weights=path, layout="caffe")).startswith(
        "no checkpoint layout 'caffe'; there are ours, hrnet"
    )


def test_a_network_without_published_weights_asks_for_a_checkpoint() -> None:
    assert message_of(ALONE, Choice()) == (
        "network 'small': its weights are not on this machine; give a checkpoint of your own with --weights FILE, "
        "or --random-weights for a test"
    )


def test_a_network_with_published_weights_says_how_to_get_them_and_takes_them_once_there(tmp_path: Path) -> None:
    listed = Checkpoint(layout="hrnet", file="published.pth", where="a shared folder", licence="theirs")
    spec = NetworkSpec(model="hrnet.HRNet", input_size=(64, 96), hrnet=SMALL, checkpoints=(listed,))
    assert message_of(spec, Choice()) == (
        "network 'small': its weights are not on this machine; 'posestream pull small' fetches its published "
        "weights, or says what to put where; or --weights FILE, or --random-weights for a test"
    )
    path = catalogue.checkpoint_path(listed)
    path.parent.mkdir(parents=True)
    saved(build("small", spec), path)
    _, source, trained_on = load_network("small", spec, Choice(), BATCH)
    assert (source.file, source.layout, trained_on) == ("published.pth", "hrnet", "real people")


def test_a_training_says_what_its_weights_were_trained_on(tmp_path: Path) -> None:
    save_weights(build("small", SPEC), tmp_path / "best.safetensors", "drawn people")
    _, _, trained_on = load_network("small", SPEC, Choice(weights=tmp_path / "best.safetensors"), BATCH)
    assert trained_on == "drawn people"


def test_random_weights_keep_activations_of_order_one_and_are_reported() -> None:
    model, source, trained_on = load_network("small", SPEC, Choice(random=True), BATCH)
    assert source.note.startswith("random weights")
    assert trained_on == "nothing: random weights"
    with torch.no_grad():
        deviation = float(model(BATCH).std())
    assert 0.05 < deviation < 5


def test_random_weights_are_the_same_each_time() -> None:
    first, second = (randomise(build("small", ALONE), BATCH[:, 0]).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
