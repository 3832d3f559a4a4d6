"""``check_learns`` accepts every temporal network, in micro size, and names what does not learn."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="networks are tested where PyTorch is installed (extra 'torch')")

from engines.models import fami  # noqa: E402
from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose, KeypointMotionEncoder  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.testing import check_learns  # noqa: E402
from engines.training.recipe import MutualInformation  # noqa: E402

MICRO = HRNetConfig(width=12, modules=(1, 1, 1), blocks=1, stem_width=8, bottlenecks=1, joints=6)
THREE = (-1, 0, 1)

NETWORKS: dict[str, Any] = {
    "dcpose": lambda: DCPose(MICRO, channels=16),
    "posewarper": lambda: PoseWarper(MICRO, channels=16, blocks=2),
    "fasrnet": lambda: FaSRnet(MICRO),
    "fami": lambda: FAMIPose(MICRO, THREE),
    "tdmi": lambda: TDMI(MICRO, THREE),
    "tdmi-st": lambda: TDMI(MICRO, THREE, spatiotemporal=True),
    "imapose": lambda: IMAPose(MICRO, 1, dilations=(1, 3)),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Small networks gain nothing by threads, which other tests need."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_temporal_network_learns(name: str) -> None:
    # TDMI's heatmap loss is two hundred times its information in the first steps; it takes its place after sixty.
    check_learns(NETWORKS[name](), steps=80 if name == "tdmi" else 40)


@pytest.mark.slow
def test_kernels_that_everybody_shares_are_named() -> None:
    class Shared(KeypointMotionEncoder):
        def forward(self, phi: Any) -> Any:
            return super().forward(phi).mean(0, keepdim=True).expand(len(phi), -1, -1, -1, -1)

    model = IMAPose(MICRO, 1, dilations=(1,))
    model.kme = Shared(MICRO.width, MICRO.joints)
    with pytest.raises(AssertionError) as caught:
        check_learns(model, steps=30)
    assert str(caught.value).startswith("exchanging phi among people multiplies the error by 1.000 after training")


def test_an_alignment_that_moves_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fami, "sample_affine", lambda support, _: support)
    with pytest.raises(AssertionError) as caught:
        check_learns(FAMIPose(MICRO, THREE, calibration=False), {}, steps=3)
    assert str(caught.value) == "no gradient reaches the weights of gtm"


STATED = MutualInformation(estimate="stated")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (
            lambda: IMAPose(MICRO, 1, dilations=(1, 3), std=0.001),
            {"steps": 16},
            "no gradient reaches the weights of phi, kme",
        ),
        (
            lambda: FAMIPose(MICRO, THREE),
            {"information": STATED, "steps": 16},
            "the gradient of mutual_information is [0-9]+ times",
        ),
        (lambda: TDMI(MICRO, THREE), {"information": STATED, "steps": 24}, "the term mutual_information fell to -"),
        (
            lambda: FaSRnet(MICRO, initial="gaussian"),
            {"steps": 16},
            r"no gradient reaches the weights of align\.",
        ),
    ],
    ids=["imapose", "fami", "tdmi", "fasrnet"],
)
def test_what_the_papers_state_does_not_learn(network: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_learns(network(), **options)
