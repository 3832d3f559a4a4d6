"""InsPose with outputs of fixed shape, compared with the network's own decoding."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.backends.pytorch import single_stage_module  # noqa: E402
from engines.backends.pytorch.single_stage_module import Pictures  # noqa: E402
from engines.layers.nms import nms, soft_nms  # noqa: E402
from engines.models.inspose import InsPose, decode  # noqa: E402
from engines.models.inspose_released import InsPoseReleased, decode_released  # noqa: E402

SIZE = (96, 160)
"""Height and width: 12·20 + 6·10 + 3·5 + 2·3 + 1·2 locations."""

LOCATIONS = 323


def randomise(model: Any) -> Any:
    """Weights as large as those of a trained network; seeded."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            fan = parameter[0].numel() if parameter.dim() > 1 else 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (fan**-0.5 if fan > 1 else 0.1))
    return model.eval()


@pytest.fixture(scope="module", params=["paper", "boxes", "released"])
def found(request: pytest.FixtureRequest) -> Any:
    """A network, what it predicts of two pictures, and its candidates."""
    makers = {
        "paper": lambda: InsPose("hrnet-compact", width=64),
        "boxes": lambda: InsPose("hrnet-compact", width=64, boxes=True),
        "released": lambda: InsPoseReleased(width=64),
    }
    # In float64 no two scores and no two cells of a map tie.
    model = randomise(makers[request.param]()).double()
    fixed = Pictures(model, candidates=1000).double()
    shown = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return model, model(fixed.normalise(shown)), fixed(shown), shown


def test_all_locations_are_candidates_if_there_are_few(found: Any) -> None:
    _, _, (points, scores, boxes), _ = found
    assert (points.shape, scores.shape, boxes.shape) == ((2, LOCATIONS, 17, 3), (2, LOCATIONS), (2, LOCATIONS, 4))
    assert (scores.diff(dim=1) <= 0).all()
    assert torch.equal(points[..., 2], scores[..., None].expand(-1, -1, 17))


def test_people_equal_those_of_the_own_decoding(found: Any) -> None:
    model, predictions, (points, scores, boxes), _ = found
    for image in range(2):
        kept, left, own = _people(model, predictions, image, boxes[image], scores[image])
        torch.testing.assert_close(left, own.scores)
        torch.testing.assert_close(_clip(boxes[image][kept]), _clip(own.boxes))
        torch.testing.assert_close(points[image][kept][..., :2], own.keypoints)
        assert len(own.scores) > 5


def _people(model: Any, predictions: Any, image: int, boxes: Any, scores: Any) -> Any:
    if isinstance(model, InsPose):
        # With random weights joints are all over the image, and almost all people would be suppressed.
        own = decode(predictions, image, min_score=0.0, top=1000, threshold=0.97, max_people=1000)
        kept = nms(boxes, scores, 0.97)
        return kept, scores[kept], own
    own = decode_released(predictions, SIZE, image, min_score=0.0, max_people=1000)
    kept, left = soft_nms(_clip(boxes), scores, 0.3, 1e-3)
    return kept, left, own


def _clip(boxes: Any) -> Any:
    return torch.minimum(boxes.clamp(min=0), torch.tensor([SIZE[1], SIZE[0], SIZE[1], SIZE[0]]))


def test_fewer_candidates_are_the_best_ones(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, whole, shown = found
    monkeypatch.setattr(single_stage_module, "MAX_CELLS", 7 * 240)  # in runs, the last of which is shorter
    with torch.no_grad():
        some = Pictures(model, candidates=40).double()(shown)
    for few, many in zip(some, whole, strict=True):
        torch.testing.assert_close(few, many[:, :40])


def test_an_image_does_not_depend_on_others_in_the_batch(found: Any) -> None:
    model, _, whole, shown = found
    with torch.no_grad():
        alone = Pictures(model, candidates=1000).double()(shown[1:])
    torch.testing.assert_close(alone[1], whole[1][1:])


def test_pixels_are_converted_to_rgb_and_normalised() -> None:
    fixed = Pictures(InsPose("hrnet-compact", width=64), mean=(1, 2, 3), std=(2, 4, 8))
    blue = torch.tensor([3 + 8, 2 + 4 * 2, 1 + 2 * 3], dtype=torch.uint8).expand(1, 2, 2, 3)
    assert fixed.normalise(blue)[0, :, 0, 0].tolist() == [3, 2, 1]


def test_the_state_dict_is_that_of_the_network() -> None:
    model = InsPose("hrnet-compact", width=64)
    assert {name.removeprefix("model.") for name in Pictures(model).state_dict()} == set(model.state_dict())
