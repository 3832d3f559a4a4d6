"""Temporal networks: features cached for each frame give the same heatmaps, in any order of arrival."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from engines.models.dcpose import DCPose  # noqa: E402
from engines.models.fami import FAMIPose, FAMIPoseReleased  # noqa: E402
from engines.models.fasrnet import FaSRnet  # noqa: E402
from engines.models.fasrnet_released import FaSRnetReleased  # noqa: E402
from engines.models.hrnet import HRNetConfig  # noqa: E402
from engines.models.imapose import IMAPose  # noqa: E402
from engines.models.posewarper import PoseWarper  # noqa: E402
from engines.models.tdmi import TDMI  # noqa: E402
from engines.models.temporal import TemporalModel  # noqa: E402
from engines.testing.models import check_model  # noqa: E402

SMALL = HRNetConfig(width=24, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1)

NETWORKS: dict[str, Any] = {
    "dcpose": lambda: DCPose(SMALL),
    "posewarper": lambda: PoseWarper(SMALL, channels=16, blocks=2),
    "fasrnet": lambda: FaSRnet(SMALL),
    "fasrnet as released": lambda: FaSRnetReleased(SMALL),
    "fami {-1}": lambda: FAMIPose(SMALL, (-1, 0)),
    "fami {-1, 1}": lambda: FAMIPose(SMALL, (-1, 0, 1)),
    "fami {-2, -1, 1}": lambda: FAMIPose(SMALL, (-2, -1, 0, 1)),
    "fami {-2, -1, 1, 2}": lambda: FAMIPose(SMALL),
    "fami, global transformation alone": lambda: FAMIPose(SMALL, (-1, 0, 1), calibration=False),
    "tdmi": lambda: TDMI(SMALL),
    "tdmi-st": lambda: TDMI(SMALL, spatiotemporal=True),
    "tdmi, last stage only": lambda: TDMI(SMALL, fusion="last", modulation=False, factorization="none"),
    "tdmi, concatenated": lambda: TDMI(SMALL, fusion="concatenate", factorization="split"),
    "tdmi, causal": lambda: TDMI(SMALL, (-2, -1, 0)),
    "imapose D=1": lambda: IMAPose(SMALL, 1),
    "imapose D=2": lambda: IMAPose(SMALL),
    "imapose D=3": lambda: IMAPose(SMALL, 3),
    "imapose, baseline": lambda: IMAPose(SMALL, dilations=(), motion="human", aggregate=False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_cached_features_give_the_same_heatmaps_in_any_order_of_arrival(name: str) -> None:
    check_model(NETWORKS[name](), (64, 64))


class Forgetful(TemporalModel):
    """A network whose head reads something outside the cached features."""

    def __init__(self) -> None:
        super().__init__((-1, 0))
        self.convolution = torch.nn.Conv2d(3, 17, 3, 4, 1)
        self.last: Any = None

    def backbone(self, crops: Any) -> Any:
        self.last = self.convolution(crops)
        return (self.last,)

    def head(self, window: Any) -> Any:
        return window[0][:, self.key] + self.last.mean()


class Mixing(Forgetful):
    """A network whose backbone mixes the frames of a batch."""

    def backbone(self, crops: Any) -> Any:
        return (self.convolution(crops - crops.mean(0, keepdim=True)),)

    def head(self, window: Any) -> Any:
        return window[0][:, self.key]


@pytest.mark.parametrize("broken", [Forgetful, Mixing])
def test_a_model_whose_cached_features_differ_is_caught(broken: Any) -> None:
    with pytest.raises(AssertionError, match="differ from the whole window's"):
        check_model(broken(), (64, 64))


def test_a_window_without_a_key_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"window \[-2, -1\]: give the frames in order of time, 0 \(the key frame\)"):
        FAMIPose(SMALL, (-2, -1))


def test_fami_as_released_refuses_other_crop_sizes() -> None:
    model = FAMIPoseReleased(HRNetConfig(width=48, modules=(1, 1, 1), blocks=1, stem_width=16, bottlenecks=1)).eval()
    with pytest.raises(ValueError, match="takes crops of 384x288 only, not 256x192; use FAMIPose instead"):
        model(torch.zeros(1, 5, 3, 256, 192))
