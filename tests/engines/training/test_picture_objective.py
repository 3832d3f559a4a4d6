"""A small InsPose learns drawn pictures by heart, by losses of one scale, with every parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from engines.errors import EngineError  # noqa: E402
from engines.losses.inspose import People  # noqa: E402
from engines.models.hrnet import HRNet, HRNetConfig  # noqa: E402
from engines.models.inspose import InsPose  # noqa: E402
from engines.models.inspose_released import InsPoseReleased  # noqa: E402
from engines.training.drawn_pictures import DrawnPictures  # noqa: E402
from engines.training.picture_objective import RELEASED_TERMS, PictureObjective  # noqa: E402
from engines.training.picture_samples import PictureBatch  # noqa: E402
from engines.training.picture_validation import find_people  # noqa: E402
from engines.training.recipe import Recipe, Synthetic  # noqa: E402
from tests.engines.training.whole_pictures import HRNET, SIZE, draw_pictures, make_model, make_samples  # noqa: E402


def whole_batch(pictures: DrawnPictures) -> PictureBatch:
    return make_samples(pictures).batch(np.arange(len(pictures)), None, np.random.default_rng(0))


def gradients(objective: PictureObjective, batch: PictureBatch) -> dict[str, float]:
    """The norm of each term's gradient."""
    learning = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    terms = objective(*batch.inputs)
    norms = {}
    for name in objective.names:
        found = torch.autograd.grad(terms[name], learning, retain_graph=True, allow_unused=True)
        norms[name] = float(torch.stack([each.square().sum() for each in found if each is not None]).sum().sqrt())
    return norms


def train(objective: PictureObjective, batch: PictureBatch, steps: int, rate: float = 2e-3) -> list[float]:
    optimiser = torch.optim.Adam([each for each in objective.parameters() if each.requires_grad], rate)
    totals = []
    for _ in range(steps):
        optimiser.zero_grad()
        total = objective(*batch.inputs)["total"]
        total.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 10.0)
        optimiser.step()
        totals.append(float(total.detach()))
    return totals


def test_a_small_network_learns_pictures_by_heart() -> None:
    pictures = draw_pictures()
    objective, batch = (
        PictureObjective("tiny", make_model().to(memory_format=torch.channels_last), {}),
        whole_batch(pictures),
    )
    start = gradients(objective, batch)
    totals = train(objective, batch, 40)
    middle = gradients(objective, batch)
    totals += train(objective, batch, 50) + train(objective, batch, 30, 5e-4)
    assert totals[-1] < 0.1 * totals[0]
    for norms in (start, middle):
        assert max(norms.values()) < 100 * min(norms.values()), norms
    for index, found in enumerate(find_people(objective, make_samples(pictures))):
        truth = pictures.read(index).joints
        known = truth[..., 2] > 0
        people = found.keypoints[found.scores > 0.5]
        distances = np.linalg.norm(people[:, None, :, :2] - 0.5 - truth[None, ..., :2], axis=3)
        mean = (distances * known).sum(2) / known.sum(1)  # of each person found to each true one, px
        assert len(people) == len(truth), found.scores
        assert (mean.min(0) < 2.5).all(), mean  # in pictures of 128x96


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"boxes": True},
        {"depth": 1},
        {"map_stride": 4},
        {"map_stride": 16},
        {"auxiliary": False, "disk_offset": False},
    ],
    ids=str,
)
def test_every_parameter_that_is_not_frozen_moves(options: dict[str, Any]) -> None:
    objective, batch = PictureObjective("tiny", make_model(**options), {}), whole_batch(draw_pictures())
    before = {name: value.clone() for name, value in objective.named_parameters()}
    train(objective, batch, 3)
    still = [name for name, value in objective.named_parameters() if torch.equal(value, before[name])]
    # The last fusion into the map of stride 4, which the pyramid does not read.
    assert all(name.startswith("model.backbone.hrnet.stage4.0.fuse_layers.0.") for name in still), still
    assert not any(value.requires_grad for name, value in objective.named_parameters() if name in still)


def test_the_released_network_is_trained_by_its_seven_terms() -> None:
    torch.manual_seed(0)
    objective, batch = PictureObjective("released", InsPoseReleased(width=64), {}), whole_batch(draw_pictures(1))
    terms = objective(*batch.inputs)
    assert terms.keys() == {*RELEASED_TERMS, "total"}
    torch.testing.assert_close(terms["total"], torch.stack([terms[name] for name in RELEASED_TERMS]).sum())
    terms["total"].backward()
    assert all(float(value.grad.abs().max()) > 0 for value in objective.parameters())
    (found,) = objective.find(batch.pictures, [SIZE])
    assert found.keypoints.shape[1:] == (17, 2)


def test_people_without_labels_are_background_to_the_paper_and_weak_positives_to_the_release() -> None:
    box = torch.tensor([[8.0, 8.0, 56.0, 56.0]])
    unlabelled = People(torch.zeros(1, 17, 3), box, torch.tensor([1000.0]))
    pictures = torch.zeros(1, 3, 64, 64)
    released = PictureObjective("released", InsPoseReleased(width=64), {}).eval()
    absent = People(torch.zeros(0, 17, 3), torch.zeros(0, 4), torch.zeros(0))
    with torch.no_grad():
        assert released(pictures, (unlabelled,))["loss_cls"] != released(pictures, (absent,))["loss_cls"]
        paper = PictureObjective("tiny", make_model(), {}).eval()
        torch.testing.assert_close(paper(pictures, (unlabelled,)), paper(pictures, (absent,)))


def test_an_ablation_has_no_term_of_the_branch_it_lacks() -> None:
    assert PictureObjective("tiny", make_model(auxiliary=False, disk_offset=False, boxes=True), {}).names == (
        "classification",
        "keypoint",
        "box",
    )


def test_weights_scale_terms_in_the_total() -> None:
    model, batch = make_model(), whole_batch(draw_pictures())
    plain = PictureObjective("tiny", model, {})(*batch.inputs)
    weighted = PictureObjective("tiny", model, {"keypoint": 0.5, "heatmap": 0.0})(*batch.inputs)
    expected = plain["total"] - 0.5 * plain["keypoint"] - plain["heatmap"]
    torch.testing.assert_close(weighted["total"], expected)


def test_a_picture_without_people_trains_the_classification_alone() -> None:
    nothing = People(torch.zeros(0, 17, 3), torch.zeros(0, 4), torch.zeros(0))
    terms = PictureObjective("tiny", make_model(boxes=True, map_stride=4), {})(torch.randn(1, 3, 64, 64), (nothing,))
    assert float(terms["classification"].detach()) > 0
    assert [float(terms[name].detach()) for name in ("keypoint", "disk_offset", "box")] == [0, 0, 0]
    terms["total"].backward()


def recipe(**changes: Any) -> Recipe:
    return Recipe(network="tiny", data=Synthetic(), **changes)


def test_an_unknown_term_is_an_error_that_lists_the_terms() -> None:
    with pytest.raises(EngineError) as caught:
        PictureObjective.from_recipe(recipe(terms={"mutual_information": 1.0}), make_model())
    assert str(caught.value) == (
        "network 'tiny' has no loss term 'mutual_information'; it has classification, keypoint, disk_offset, heatmap"
    )


def test_the_loss_of_crops_is_refused() -> None:
    with pytest.raises(EngineError, match="loss 'cross-entropy' is for networks of crops; leave it out"):
        PictureObjective.from_recipe(recipe(loss="cross-entropy"), make_model())


def test_a_network_of_crops_is_refused() -> None:
    with pytest.raises(EngineError, match="network 'tiny': HRNet has no loss for whole pictures"):
        PictureObjective.from_recipe(recipe(), HRNet(HRNetConfig(**HRNET)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 5}, "depth=5 of the KP-Nets is not one of 1 to 4"),
        ({"map_stride": 3}, "map_stride=3 is not one of 16"),
    ],
)
def test_an_ablation_that_does_not_exist_is_an_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        InsPose(hrnet=HRNetConfig(**HRNET), width=64, **options)  # type: ignore[arg-type]
