"""Which joints the comparison of temporal networks counts, and the backbone that all of them share."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from benchmarks.shipped_weights import GRAPH, load_shipped  # noqa: E402
from benchmarks.temporal_people import FOREARM, PASSING, STREAKED, select_joints  # noqa: E402
from engines.hub import catalogue  # noqa: E402
from engines.metrics import HIDDEN, VISIBLE  # noqa: E402
from engines.spec import network  # noqa: E402
from engines.training.batches import normalise  # noqa: E402
from engines.training.synthetic_samples import Tracks  # noqa: E402


def tracks(visibility: list[int], speed_px: float = 0.0) -> Tracks:
    """A person of 100 px whose first joint has this visibility in five frames and moves along x, px a frame."""
    joints = np.full((1, 5, 17, 3), VISIBLE, np.float32)
    joints[..., :2] = 50
    joints[0, :, 0, 0] += speed_px * np.arange(5)
    joints[0, :, 0, 2] = visibility
    return Tracks(np.zeros((1, 5, 8, 8, 3), np.uint8), joints, np.array([100], np.float32))


@pytest.mark.parametrize(
    ("visibility", "counted"),
    [
        ([VISIBLE, VISIBLE, HIDDEN, VISIBLE, VISIBLE], True),
        ([HIDDEN, VISIBLE, HIDDEN, VISIBLE, HIDDEN], True),
        ([VISIBLE, HIDDEN, HIDDEN, VISIBLE, VISIBLE], False),
        ([VISIBLE, VISIBLE, VISIBLE, VISIBLE, VISIBLE], False),
        ([VISIBLE, VISIBLE, 0, VISIBLE, VISIBLE], False),
    ],
)
def test_joints_hidden_in_the_key_frame_only_are_counted(visibility: list[int], counted: bool) -> None:
    chosen = select_joints(tracks(visibility), PASSING)
    assert chosen["unknown"][0].tolist() == [counted] + [False] * 16
    assert chosen["hidden"][0, 0] == (visibility[2] == HIDDEN)


def test_joints_whose_streak_is_longer_than_a_forearm_are_counted() -> None:
    # In 60 ms of the 67 ms from frame to frame a joint goes nine tenths of its way.
    slow, fast = (
        select_joints(tracks([VISIBLE] * 5, FOREARM * 100 / 0.9 * factor), STREAKED) for factor in (0.99, 1.01)
    )
    assert not slow["unknown"].any()
    assert fast["unknown"][0].tolist() == [True] + [False] * 16


def test_the_weights_that_ship_give_pytorch_the_scores_of_their_graph() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = network.build("shipped", catalogue.find_network("hrnet-small-128x96")[1]).eval()
    load_shipped(model)
    crops = np.random.default_rng(0).integers(0, 256, (2, 1, 128, 96, 3), np.uint8)
    (points,) = onnxruntime.InferenceSession(str(GRAPH)).run(None, {"crops": crops})
    with torch.no_grad():
        maps = model(normalise(crops)[:, 0])
    np.testing.assert_allclose(maps.amax((2, 3)).numpy(), points[..., 2], rtol=2e-4)
