"""InsPose's losses: the released seven against the published code, the paper's four by hand."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.hub.checkpoint_names import rename_keys  # noqa: E402
from engines.layers.kp_nets import KEYPOINTS, PARAMETERS, STRIDES  # noqa: E402
from engines.losses.assignment import assign, pseudo_boxes  # noqa: E402
from engines.losses.inspose import (  # noqa: E402
    People,
    assignments,
    oks_targets,
    paper_losses,
    positives,
    released_losses,
)
from engines.models.inspose import InsPose, Predictions  # noqa: E402
from engines.models.inspose_released import InsPoseReleased  # noqa: E402
from tests.engines.models import golden  # noqa: E402

SIZE = (256, 320)


def truth_of(theirs: Any) -> list[People]:
    """The two images of the reference; areas are those of its rectangular masks."""
    people = []
    for image in range(2):
        boxes = torch.from_numpy(theirs[f"gt{image}_boxes"])
        whole = boxes.int()
        areas = ((whole[:, 3] - whole[:, 1]) * (whole[:, 2] - whole[:, 0])).float()
        people.append(People(torch.from_numpy(theirs[f"gt{image}_keypoints"]), boxes, areas))
    return people


def published(folder: Path) -> dict[str, Any]:
    """The reference's weights by their published names."""
    shapes = json.loads((folder / "keys_inspose_r50.json").read_text())["state_dict"]
    return {key: torch.from_numpy(np.asarray(golden.draw(key, tuple(it["shape"]), []))) for key, it in shapes.items()}


def noise() -> Any:
    numbers = np.random.Generator(np.random.PCG64(0)).standard_normal((2, 3, *SIZE))
    return torch.from_numpy(numbers.astype(np.float32))


@pytest.fixture(scope="module")
def released(shared: Path) -> tuple[Any, Any, Any]:
    """The released network with the reference's weights, its predictions for both images, and the reference."""
    model = InsPoseReleased().eval()
    model.load_state_dict(rename_keys("inspose", published(shared / "models")))
    with torch.no_grad():
        predictions = model(noise())
    return model, predictions, np.load(shared / "models" / "golden_inspose_r50.npz")


@pytest.mark.slow
def test_the_seven_released_losses_equal_the_published_ones(released: Any) -> None:
    _, predictions, theirs = released
    losses = released_losses(predictions, truth_of(theirs))
    ours = [float(losses[name]) for name in theirs["loss_names"]]
    np.testing.assert_allclose(ours, theirs["loss_eval"], rtol=1e-5)  # of the reference's table; its noise is 1.3e-7


def test_assignments_equal_the_published_ones(released: Any) -> None:
    _, predictions, theirs = released
    sizes = [(int(s.shape[2]), int(s.shape[3])) for s in predictions.scores]
    found = []
    for image, assignment in enumerate(assignments(predictions, truth_of(theirs))):
        for index in (assignment.person >= 0).nonzero()[:, 0].tolist():
            level, location = int(assignment.level[index]), int(assignment.location[index])
            # The reference numbers the locations of both images level by level.
            before = 2 * sum(h * w for h, w in sizes[:level]) + image * sizes[level][0] * sizes[level][1]
            found.append((before + location, int(assignment.person[index]), image))
    wanted = zip(*(theirs[f"assign_{name}_index"].tolist() for name in ("pos", "gt", "img")), strict=True)
    assert sorted(found) == sorted(wanted)


def test_oks_targets_equal_the_published_ones(released: Any) -> None:
    _, predictions, theirs = released
    people, targets = truth_of(theirs), []
    for image, assignment in enumerate(assignments(predictions, people)):
        targets += oks_targets(positives(predictions, image, assignment), people[image]).tolist()
    # The reference lists them level by level; as sets of numbers they are the same.
    np.testing.assert_allclose(sorted(targets), np.sort(theirs["cls_target_pos"]), rtol=1e-4, atol=1e-6)
    assert len(targets) + len(people) == int(theirs["cls_avg_factor"][0])


@pytest.mark.slow
def test_gradients_of_the_released_losses_equal_the_published_ones(shared: Path) -> None:
    theirs = np.load(shared / "models" / "golden_inspose_r50.npz")
    model = InsPoseReleased().train()
    model.load_state_dict(rename_keys("inspose", published(shared / "models")))
    for frozen in (model.backbone.conv1, model.backbone.bn1, model.backbone.get_submodule("layer1")):
        frozen.eval().requires_grad_(False)  # as the reference trains
    losses = released_losses(model(noise()), truth_of(theirs))
    values = [losses[name].item() for name in theirs["loss_names"]]
    np.testing.assert_allclose(values, theirs["loss_train"], rtol=1e-4)  # tolerances of the reference's table
    sum(losses.values()).backward()
    parameters = dict(model.named_parameters())
    for name, wanted in zip(theirs["grad_names"], theirs["grad_l2"], strict=True):
        (ours,) = rename_keys("inspose", {str(name): None})
        gradient = parameters[ours].grad
        assert (gradient is None) == (wanted == -1), name
        if gradient is not None:
            assert gradient.norm().item() == pytest.approx(wanted, rel=1e-2), name
    np.testing.assert_allclose(model.regress.bias.grad, theirs["grad_kpt_offset_bias"], atol=5e-3)


# One person in a picture of 64x64 px with two labelled keypoints, whose rectangle is (20, 20, 44, 44). Its centre
# region at stride 8 holds the cells at 28 and 36 px, both ways: four locations; its size suits no other level.
CELLS = [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]


def one_person() -> People:
    keypoints = torch.zeros(1, KEYPOINTS, 3)
    keypoints[0, 0] = torch.tensor([20.0, 20.0, 2.0])
    keypoints[0, 16] = torch.tensor([44.0, 44.0, 2.0])
    return People.of(keypoints)


def undecided() -> Predictions:
    """Predictions that are 0 everywhere."""
    return Predictions(
        scores=[torch.zeros(1, 1, h, w) for h, w in CELLS],
        theta=[torch.zeros(1, PARAMETERS, h, w) for h, w in CELLS],
        f_kp=torch.zeros(1, 8, 8, 8),
        disk=torch.zeros(1, 2 * KEYPOINTS, 8, 8),
        heatmaps=torch.zeros(1, KEYPOINTS, 8, 8),
    )


def test_four_locations_are_assigned_to_the_person() -> None:
    found = assign(CELLS, one_person().boxes)
    chosen = found.person >= 0
    assert found.points[chosen].tolist() == [[28.0, 28.0], [36.0, 28.0], [28.0, 36.0], [36.0, 36.0]]
    assert found.level[chosen].tolist() == [0] * 4
    assert found.strides[chosen].tolist() == [STRIDES[0]] * 4


def test_a_picture_without_people_has_no_positive_location() -> None:
    assert int((assign(CELLS, torch.zeros(0, 4)).person >= 0).sum()) == 0


def test_the_papers_classification_is_the_focal_loss_worked_by_hand() -> None:
    cells = sum(h * w for h, w in CELLS)
    # -α (1-p)² log p with p = 1/2: α is 1/4 for the four positives and 3/4 for all others; divided by the positives.
    expected = (4 * 0.25 + (cells - 4) * 0.75) * 0.25 * log(2) / 4
    assert float(paper_losses(undecided(), [one_person()])["classification"]) == pytest.approx(expected)


def test_the_papers_keypoint_loss_is_the_entropy_of_a_uniform_map() -> None:
    # The mean over two labelled keypoints, each a uniform distribution over 64 cells.
    assert float(paper_losses(undecided(), [one_person()])["keypoint"]) == pytest.approx(log(64))


def test_the_papers_disk_offsets_are_judged_within_the_disk() -> None:
    # Both keypoints lie between four cells. Within two cells of each are four at (±0.5, ±0.5), eight at (±1.5, ±0.5).
    expected = (4 * 1.0 + 8 * 2.0) / (12 * 2)
    # The divisor carries 1e-4 against an empty picture.
    assert float(paper_losses(undecided(), [one_person()])["disk_offset"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("stride", "cells"), [(16, 16), (4, 256), (2, 1024)])
def test_keypoint_maps_of_another_resolution_have_its_cells(stride: int, cells: int) -> None:
    predictions = undecided()
    predictions.cell_px, side = stride, 64 // stride
    predictions.disk = torch.zeros(1, 2 * KEYPOINTS, side, side)
    terms = paper_losses(predictions, [one_person()])
    assert float(terms["keypoint"]) == pytest.approx(log(cells))
    # Offsets are in cells of that resolution: both keypoints, at 20 and 44 px, lie a quarter or half a cell off.
    assert 0 < float(terms["disk_offset"]) < 1.5


def test_a_box_head_is_trained_by_its_overlap_with_the_boxes_of_people() -> None:
    predictions, people = undecided(), one_person()
    # Each of the four locations predicts sides of 8 px: boxes of 16 px inside the true one of 24, of which two sides or
    # corners coincide; the hull is the true box.
    predictions.boxes = [torch.full((1, 4, h, w), 8.0) for h, w in CELLS]
    assert float(paper_losses(predictions, [people])["box"]) == pytest.approx(1 - 16**2 / 24**2)
    assert "box" not in paper_losses(undecided(), [people])


def test_the_papers_heatmap_loss_is_the_focal_loss_worked_by_hand() -> None:
    sigma = 5 / 6  # (2·2 + 1)/6 for a radius of two cells
    around = [(dx, dy) for dx in range(-2, 3) for dy in range(-2, 3) if (dx, dy) != (0, 0)]
    near = sum((1 - exp(-(dx**2 + dy**2) / (2 * sigma**2))) ** 4 for dx, dy in around)
    # Two peaks; the keypoint cells (2, 2) and (5, 5) have their whole window inside the map.
    elsewhere = KEYPOINTS * 64 - 2 * (len(around) + 1)
    expected = 0.25 * log(2) * (2 + 2 * near + elsewhere) / 2
    assert float(paper_losses(undecided(), [one_person()])["heatmap"]) == pytest.approx(expected)


def test_the_papers_losses_fall_when_the_network_is_trained_on_one_picture() -> None:
    torch.manual_seed(0)
    model = InsPose("hrnet-compact", width=64).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    picture, truth = torch.randn(1, 3, 64, 64), [one_person()]
    totals = []
    for _ in range(6):
        optimizer.zero_grad()
        total: Any = sum(paper_losses(model(picture), truth).values())
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.8 * totals[0]


def test_losses_are_computed_on_the_device_of_the_predictions() -> None:
    people, predictions = one_person(), undecided()
    predictions.boxes = [torch.ones(1, 4, h, w) for h, w in CELLS]
    expected = paper_losses(predictions, [people])
    # Any tensor that is made without a device would now be on another one, and PyTorch refuses to mix them.
    with torch.device("meta"):
        found = paper_losses(predictions, [people])
    assert {name: float(value) for name, value in found.items()} == {k: float(v) for k, v in expected.items()}


def test_losses_without_auxiliary_heatmaps_are_an_error() -> None:
    predictions = undecided()
    predictions.heatmaps = None
    with pytest.raises(ValueError, match=r"call model\.train\(\) before the forward pass"):
        paper_losses(predictions, [one_person()])


def test_the_released_losses_refuse_predictions_of_the_papers_network() -> None:
    predictions = undecided()
    predictions.regressed = [torch.zeros(1, 2 * KEYPOINTS, h, w) for h, w in CELLS]
    people = one_person()
    people.areas = torch.tensor([576.0])
    with pytest.raises(ValueError, match="these have no heatmaps and tags"):
        released_losses(predictions, [people])


def test_the_released_losses_need_areas() -> None:
    predictions = undecided()
    predictions.regressed = [torch.zeros(1, 2 * KEYPOINTS, h, w) for h, w in CELLS]
    with pytest.raises(ValueError, match="the released InsPose loss needs segmentation areas"):
        released_losses(predictions, [one_person()])


def test_a_person_without_labels_has_an_empty_rectangle() -> None:
    assert pseudo_boxes(torch.zeros(1, KEYPOINTS, 3)).tolist() == [[0.0] * 4]
