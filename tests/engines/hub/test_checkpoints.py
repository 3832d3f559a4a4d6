"""Small imitations of published checkpoints: what loads, and the errors."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.errors import EngineError  # noqa: E402
from engines.hub import checkpoints  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.models.inspose import InsPose  # noqa: E402
from engines.models.resnet_fpn import HRNetPyramid, ResNet  # noqa: E402
from engines.spec import cache  # noqa: E402

SMALL = HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1)


@pytest.fixture
def trained() -> Any:
    """A network whose weights are not those that any other begins with."""
    torch.manual_seed(7)
    model = HRNet(SMALL)
    for value in model.state_dict().values():
        if value.dtype.is_floating_point:
            torch.nn.init.normal_(value)
    return model


def are_equal(first: Any, second: Any) -> bool:
    """Two state dicts hold the same numbers under the same names."""
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


def load_error(model: Any, path: Path, layout: str = "hrnet") -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(EngineError) as caught:
        checkpoints.load_checkpoint(model, path, layout)
    assert are_equal(model.state_dict(), before), "the model was changed by a file that does not fit"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_loads_with_and_without_a_wrapper(tmp_path: Path, trained: Any, wrapper: str, prefix: str) -> None:
    weights = {prefix + key: value for key, value in trained.state_dict().items()}
    torch.save({wrapper: weights, "epoch": 3, "optimizer": {}} if wrapper else weights, tmp_path / "net.pth")
    model = HRNet(SMALL)
    assert checkpoints.load_checkpoint(model, tmp_path / "net.pth", "hrnet") == []
    assert are_equal(model.state_dict(), trained.state_dict())


def test_safetensors_load(tmp_path: Path, trained: Any) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(trained.state_dict(), tmp_path / "net.safetensors")
    model = HRNet(SMALL)
    checkpoints.load_checkpoint(model, tmp_path / "net.safetensors", "hrnet")
    assert are_equal(model.state_dict(), trained.state_dict())


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
def test_mmposes_layout_loads(tmp_path: Path, trained: Any, head: str) -> None:
    weights = {
        (f"{head}.{key}" if key.startswith("final_layer") else f"backbone.{key}"): value
        for key, value in trained.state_dict().items()
    }
    weights["data_preprocessor.mean"] = torch.zeros(3, 1, 1)
    torch.save({"meta": {"mmpose": "1"}, "state_dict": weights}, tmp_path / "net.pth")
    model = HRNet(SMALL)
    checkpoints.load_checkpoint(model, tmp_path / "net.pth", "hrnet-mmpose")
    assert are_equal(model.state_dict(), trained.state_dict())


def imagenet(path: Path) -> Any:
    """An ImageNet HRNet: every branch fused to the end, a classifier, no pose head."""
    torch.manual_seed(8)
    weights = HRNet(SMALL, all_branches=True).state_dict()
    others = (
        "incre_modules.0.0.conv1.weight",
        "downsamp_modules.0.0.weight",
        "final_layer.0.weight",
        "classifier.bias",
    )
    torch.save({**weights, **{key: torch.zeros(3) for key in others}}, path)
    return weights


def test_imagenet_weights_fill_a_pose_network_except_its_head(tmp_path: Path) -> None:
    weights = imagenet(tmp_path / "net.pth")
    model = HRNet(SMALL)
    assert checkpoints.load_checkpoint(model, tmp_path / "net.pth", "hrnet-imagenet") == [
        "final_layer.weight",
        "final_layer.bias",
    ]
    body = {key: value for key, value in model.state_dict().items() if not key.startswith("final_layer")}
    assert are_equal(body, {key: weights[key] for key in body})


def test_imagenet_weights_fill_all_branches_of_a_pyramid(tmp_path: Path) -> None:
    weights = imagenet(tmp_path / "net.pth")
    model = HRNetPyramid(SMALL)
    assert checkpoints.load_checkpoint(model, tmp_path / "net.pth", "hrnet-imagenet", into="hrnet") == []
    assert are_equal(model.hrnet.state_dict(), weights)


def test_a_resnet_of_imagenet_fills_insposes_backbone(tmp_path: Path) -> None:
    torch.manual_seed(8)
    weights = ResNet(50).state_dict()
    torch.save({**weights, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, tmp_path / "r50.pth")
    model = InsPose("r50")
    assert checkpoints.load_checkpoint(model, tmp_path / "r50.pth", "resnet-imagenet", into="backbone") == []
    assert are_equal(model.backbone.state_dict(), weights)


def test_a_backbone_is_filled_inside_a_temporal_network(tmp_path: Path, trained: Any) -> None:
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    model = FAMIPose(SMALL)
    checkpoints.load_checkpoint(model, tmp_path / "net.pth", "hrnet", into="hrnet")
    assert are_equal(model.hrnet.state_dict(), trained.state_dict())


def test_a_skipped_layer_keeps_its_weights_though_the_file_has_other_joints(tmp_path: Path, trained: Any) -> None:
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    model = HRNet(replace(SMALL, joints=14))
    before = model.final_layer.weight.clone()
    assert "final_layer" in load_error(model, tmp_path / "net.pth")
    checkpoints.load_checkpoint(model, tmp_path / "net.pth", "hrnet", skip=["final_layer"])
    assert torch.equal(model.final_layer.weight, before)
    assert torch.equal(model.conv1.weight, trained.conv1.weight)


def test_old_files_without_counters_load(tmp_path: Path, trained: Any) -> None:
    weights = {key: value for key, value in trained.state_dict().items() if "num_batches" not in key}
    torch.save(weights, tmp_path / "old.pth")
    assert checkpoints.load_checkpoint(HRNet(SMALL), tmp_path / "old.pth", "hrnet") == []


def test_a_missing_file_raises(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.pth"
    assert load_error(HRNet(SMALL), path) == f"checkpoint {str(path)!r}: there is no such file"


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_truncated_file_raises(tmp_path: Path, trained: Any, part: float) -> None:
    path = tmp_path / "net.pth"
    torch.save(trained.state_dict(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    assert load_error(HRNet(SMALL), path).startswith(f"checkpoint {str(path)!r} is damaged or no checkpoint: ")


def test_truncated_safetensors_raise(tmp_path: Path, trained: Any) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "net.safetensors"
    safetensors.save_file(trained.state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    assert load_error(HRNet(SMALL), path).startswith(f"checkpoint {str(path)!r} is damaged or no checkpoint: ")


class Malicious:
    """What runs when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_not_run(tmp_path: Path, trained: Any, zipped: bool) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "it ran"
    holds = {"state_dict": trained.state_dict(), "extra": Malicious(target)}
    if zipped:
        torch.save(holds, path)
    else:
        path.write_bytes(pickle.dumps({"extra": Malicious(target)}, protocol=2))
    message = load_error(HRNet(SMALL), path)
    assert not target.exists()
    assert message.startswith(f"checkpoint {str(path)!r} holds more than weights and was not opened")
    assert message.endswith("; save its state_dict alone")
    assert "GLOBAL" in message, "it says what it would run"


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html>" * 9, bytes(range(1, 250)), b"\0" * 400, b"news:x:9:9::/:/bin/false\n"],
    ids=["page", "noise", "zeros", "accounts"],
)
def test_what_is_no_checkpoint_is_not_said_to_hold_code(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    assert load_error(HRNet(SMALL), path) == (
        f"checkpoint {str(path)!r} is no checkpoint of PyTorch, which is a zip or a pickle; download it again"
    )


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_checkpoint_that_is_cut_off_is_damaged(tmp_path: Path, trained: Any, zipped: bool, share: float) -> None:
    path = tmp_path / "net.pth"
    torch.save(trained.state_dict(), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert load_error(HRNet(SMALL), path).startswith(f"checkpoint {str(path)!r} is damaged or no checkpoint: ")


def test_a_file_without_weights_raises_listing_its_content(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"epoch": 3, "note": "none"}, path)
    assert load_error(HRNet(SMALL), path) == (
        f"checkpoint {str(path)!r} holds no weights but ['epoch', 'note']; give a state_dict"
    )
    torch.save([1, 2], path)
    assert load_error(HRNet(SMALL), path).endswith("holds no weights but a list; give a state_dict")


def test_mismatches_are_listed(tmp_path: Path, trained: Any) -> None:
    path = tmp_path / "net.pth"
    weights = trained.state_dict()
    del weights["conv1.weight"]
    weights["surplus"] = torch.zeros(1)
    weights["final_layer.bias"] = torch.zeros(3)
    torch.save(weights, path)
    assert load_error(HRNet(SMALL), path) == (
        f"checkpoint {str(path)!r} (layout hrnet) does not fit HRNet: 1 missing (conv1.weight); "
        "1 unexpected (surplus); "
        "1 of another shape (final_layer.bias: (3,) in the file, (17,) here)"
    )


def test_only_the_first_few_mismatches_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"surplus": torch.zeros(1)}, path)
    message = load_error(HRNet(SMALL), path)
    assert "…" in message
    assert len(message) < 500


def test_an_unknown_layout_raises_listing_the_known_ones(tmp_path: Path, trained: Any) -> None:
    torch.save(trained.state_dict(), tmp_path / "net.pth")
    assert load_error(HRNet(SMALL), tmp_path / "net.pth", "caffe") == (
        f"no checkpoint layout 'caffe'; there are {', '.join(checkpoints.LAYOUTS)}"
    )


ENTRY = """kind: network
title: small
licence: mine
network:
  model: hrnet.HRNet
  input_size: [32, 32]
  hrnet: {width: 24, modules: [1, 1, 1], blocks: 1, stem_width: 16, bottlenecks: 1}
  checkpoints:
  - {layout: hrnet-mmpose, file: first.pth, where: nowhere, licence: none}
  - {layout: hrnet, file: folder/second.pth, where: here, licence: none}
"""


def test_the_first_checkpoint_on_this_machine_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Any
) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    entry = tmp_path / "small.yaml"
    entry.write_text(ENTRY)
    with pytest.raises(EngineError) as caught:
        checkpoints.load_pretrained(str(entry))
    assert str(caught.value) == (
        "network 'small': none of its published weights are on this machine; "
        "'posestream pull small' fetches them, or says what to put where"
    )
    (tmp_path / "models").mkdir()
    torch.save(trained.state_dict(), tmp_path / "models" / "second.pth")
    assert are_equal(checkpoints.load_pretrained(str(entry)).state_dict(), trained.state_dict())
