"""Every network equals its published implementation on the tensors that implementation produced.

The bound is that of the reference: max |ours - theirs| <= 1e-4 max |theirs|, where the published graphs themselves
differ from float64 by 1e-6 (HRNet, DCPose, PoseWarper) to 1e-5 (FAMI-Pose, FaSRnet) of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.hub.checkpoint_names import rename_keys  # noqa: E402
from engines.layers.kp_nets import kp_net  # noqa: E402
from engines.losses.mutual_information import fami_released_terms  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPoseReleased  # noqa: E402
from engines.models.fasrnet_released import FaSRnetReleased  # noqa: E402
from engines.models.hrnet import W32, W48, HRNet  # noqa: E402
from engines.models.inspose_released import InsPoseReleased, decode_released, star_offsets  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from tests.engines.models import golden  # noqa: E402

BOUND = 1e-4
SIZES = [(256, 192), pytest.param((384, 288), marks=pytest.mark.large)]
MARGIN = torch.tensor([[1, 1], [1, 2]])
CURRENT_FIRST = [1, 0, 2]  # the published order is current, previous, next; ours is that of time
KEY_FIRST = [1, 2, 0, 3, 4]  # key, t-2, t-1, t+1, t+2
REFERENCE_FIRST = [2, 1, 0, 3, 4]  # key, t-1, t-2, t+1, t+2


def loaded(model: Any, folder: Path, network: str) -> Any:
    model.load_state_dict(rename_keys(network, golden.state_dict(folder, network, network)))
    return model.eval()


def window(size: tuple[int, int], frames: int, order: list[int]) -> Any:
    batch = 2 if size == (256, 192) else 1
    return golden.crops((batch, 3 * frames, *size)).reshape(batch, frames, 3, *size)[:, order]


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("config", "name", "count"), [(W32, "w32", 28_536_113), (W48, "w48", 63_595_745)])
def test_hrnet_equals_the_published_network(reference: Path, config: Any, name: str, count: int, size: Any) -> None:
    model = HRNet(config).eval()
    assert parameters(model) == count
    model.load_state_dict(golden.state_dict(reference, f"hrnet_{name}", "hrnet"))
    theirs = np.load(reference / f"golden_hrnet_{name}_{size[0]}x{size[1]}.npz")["out/heatmaps"]
    ours = model(golden.crops((len(theirs), 3, *size)))
    assert golden.relative_error(ours, theirs) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_dcpose_equals_the_published_network(reference: Path, size: Any) -> None:
    model = loaded(DCPose(), reference, "dcpose")
    assert parameters(model) == 65_198_798
    crops = window(size, 3, CURRENT_FIRST)
    theirs = np.load(reference / f"golden_dcpose_{size[0]}x{size[1]}.npz")["out/heatmaps"]
    ours = model.head(model.window_features(crops), MARGIN[: len(crops)])
    assert golden.relative_error(ours, theirs) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_posewarper_equals_the_published_network(reference: Path, size: Any) -> None:
    model = loaded(PoseWarper(), reference, "posewarper")
    assert parameters(model) == 71_154_350
    theirs = np.load(reference / f"golden_posewarper_{size[0]}x{size[1]}.npz")["out/heatmaps"]
    assert golden.relative_error(model(window(size, 5, REFERENCE_FIRST)), theirs) <= BOUND


@pytest.mark.large
def test_fasrnet_as_released_equals_the_published_network_at_the_larger_size(reference: Path) -> None:
    model = loaded(FaSRnetReleased(), reference, "fasrnet")
    theirs = np.load(reference / "golden_fasrnet_384x288.npz")
    refined, final = model.refine(model.window_features(window((384, 288), 3, CURRENT_FIRST)), MARGIN[:1])
    assert golden.relative_error(refined, theirs["out/hm_feature_refined"]) <= BOUND
    assert golden.relative_error(final, theirs["out/hm_final"]) <= BOUND


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "offset_maps"), [("fixedoffset", "matching"), ("persample", "flat")])
def test_fasrnet_equals_the_published_network(reference: Path, tag: str, offset_maps: Any) -> None:
    # Both references align the current feature, as the released code does.
    model = loaded(FaSRnetReleased(offset_maps=offset_maps), reference, "fasrnet")
    assert parameters(model) == 65_395_439
    theirs = np.load(reference / f"golden_fasrnet_256x192_{tag}.npz")
    refined, final = model.refine(model.window_features(window((256, 192), 3, CURRENT_FIRST)), MARGIN)
    assert golden.relative_error(refined, theirs["out/hm_feature_refined"]) <= BOUND
    assert golden.relative_error(final, theirs["out/hm_final"]) <= BOUND


@pytest.mark.slow
def test_fami_as_released_equals_the_published_network_and_its_six_terms(reference: Path) -> None:
    model = loaded(FAMIPoseReleased(), reference, "fami")
    assert parameters(model) == 64_655_204
    theirs = np.load(reference / "golden_fami_384x288.npz")
    features = model.features(model.window_features(window((384, 288), 5, KEY_FIRST)))
    assert golden.relative_error(features["heatmaps"], theirs["out/final_hm"]) <= BOUND
    assert golden.relative_error(model.hrnet.final_layer(features["key"]), theirs["out/kf_bb_hm"]) <= BOUND
    ours = [float(term) for term in fami_released_terms(features, model.hrnet.final_layer)]
    np.testing.assert_allclose(ours, theirs["out/mi_loss"], rtol=1e-3)  # the reference's own noise is 2e-5


@pytest.mark.large
def test_fami_as_released_equals_the_published_network_on_a_batch(reference: Path) -> None:
    model = loaded(FAMIPoseReleased(), reference, "fami")
    crops = golden.crops((2, 15, 384, 288)).reshape(2, 5, 3, 384, 288)[:, KEY_FIRST]
    theirs = np.load(reference / "golden_fami_384x288_b2.npz")["out/final_hm"]
    assert golden.relative_error(model(crops), theirs) <= BOUND


@pytest.fixture(scope="module")
def inspose(shared: Path) -> Any:
    """The released InsPose with the reference's weights, its predictions, and the reference."""
    folder = shared / "models"
    shapes = json.loads((folder / "keys_inspose_r50.json").read_text())["state_dict"]
    published = {
        key: torch.from_numpy(np.asarray(golden.draw(key, tuple(entry["shape"]), []))) for key, entry in shapes.items()
    }
    model = InsPoseReleased().eval()
    model.load_state_dict(rename_keys("inspose", published))
    noise = np.random.Generator(np.random.PCG64(0)).standard_normal((1, 3, 256, 320)).astype(np.float32)
    with torch.no_grad():
        return model, model(torch.from_numpy(noise)), np.load(folder / "golden_inspose_r50.npz")


@pytest.mark.slow
def test_inspose_as_released_equals_the_published_maps(inspose: Any) -> None:
    model, predictions, theirs = inspose
    assert parameters(model) == 50_107_888
    # Bounds of the reference's own table: ten times the noise it measured.
    for level in range(5):
        np.testing.assert_allclose(predictions.scores[level][0, 0], theirs[f"cls_{level}"], atol=1e-4)
        np.testing.assert_allclose(predictions.regressed[level][0], theirs[f"offset_{level}"], atol=1e-4)
    np.testing.assert_allclose(predictions.f_kp[0], theirs["shared_feat"], atol=1e-4)
    np.testing.assert_allclose(predictions.disk[0, :, ::4, ::4], theirs["disk_offset_s"], atol=1e-4)
    np.testing.assert_allclose(predictions.heatmaps[0, :, ::4, ::4], theirs["heatmap_logit_s"], atol=1e-4)
    np.testing.assert_allclose(predictions.tags[0, :, ::4, ::4], theirs["ae_tag_s"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("A", {"size": (256, 320)}),
        ("B", {"size": (251, 313), "scale": torch.tensor([1.25, 1.2])}),
        ("C", {"size": (256, 320), "min_score": 0.55, "soft": False}),
        ("D", {"size": (256, 320), "max_people": 600}),
    ],
)
def test_inspose_as_released_finds_the_same_people_in_the_same_order(
    inspose: Any, variant: str, options: dict[str, Any]
) -> None:
    _, predictions, theirs = inspose
    found = decode_released(predictions, **options)
    np.testing.assert_array_equal(found.level, theirs[f"{variant}_level"])
    np.testing.assert_array_equal(found.location, theirs[f"{variant}_loc_index"])
    np.testing.assert_allclose(found.scores, theirs[f"{variant}_boxes_scores"][:, 4], atol=2e-5)
    np.testing.assert_allclose(found.boxes, theirs[f"{variant}_boxes_scores"][:, :4], atol=5e-3)
    keypoints = theirs[f"{variant}_keypoints"][..., :2]
    clear = theirs[f"{variant}_peak_margin_top10"] > 2e-3  # a tie between two cells may fall either way
    difference = np.abs(found.keypoints.numpy()[: len(keypoints)] - keypoints).max(2)
    assert difference[: len(clear)][clear].max() <= 5e-3


def test_the_kp_net_and_the_star_equal_the_published_functions(inspose: Any) -> None:
    _, _, theirs = inspose
    theta = torch.from_numpy(theirs["unit_kpnet_theta"]).reshape(1, -1)
    point = torch.from_numpy(theirs["unit_kpnet_point"]).reshape(1, 2)
    norm = float(theirs["unit_kpnet_norm"].ravel()[0])
    feature = torch.from_numpy(theirs["unit_kpnet_feat"])
    feature = feature.reshape(feature.shape[-3:])
    maps = kp_net(theta, feature, point, torch.tensor([norm / 8]))
    np.testing.assert_allclose(maps[0], theirs["unit_kpnet_out"].reshape(maps[0].shape), atol=1e-4)
    star = star_offsets(torch.from_numpy(theirs["unit_star_in"]))
    np.testing.assert_allclose(star, theirs["unit_star_out"], atol=1e-6)
