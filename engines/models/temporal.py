"""The interface of networks that read several frames, split into two functions so that it can be streamed.

    features = model.backbone(crops)       # once a frame:      (N, 3, H, W)    -> tuple of maps (N, C, h, w)
    heatmaps = model.head(window)          # once a key frame:  (B, T, C, h, w) -> (B, J, h, w)

A window is in order of time; ``frames`` lists its frames relative to the key frame, which is 0. ``model(crops)`` with
crops (B, T, 3, H, W) computes a whole window at once, as the papers do, and by construction gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

Features = tuple[Tensor, ...]


class TemporalModel(nn.Module):
    """The interface that every temporal network implements."""

    def __init__(self, frames: Sequence[int]) -> None:
        super().__init__()
        if 0 not in frames or list(frames) != sorted(set(frames)):
            raise ValueError(f"window {list(frames)}: give the frames in order of time, 0 (the key frame) among them")
        self.frames = tuple(frames)
        self.key = self.frames.index(0)

    @property
    def past(self) -> int:
        """The number of frames before the key frame."""
        return -self.frames[0]

    @property
    def future(self) -> int:
        """The number of frames after the key frame: the look-ahead."""
        return self.frames[-1]

    def backbone(self, crops: Tensor) -> Features:
        """The features of one frame, to be cached: maps (N, C, h, w)."""
        raise NotImplementedError

    def head(self, window: Features) -> Tensor:
        """Heatmaps (B, J, h, w) of the key frame, from maps (B, T, C, h, w) in order of time."""
        raise NotImplementedError

    def window_features(self, crops: Tensor) -> Features:
        """The backbone over a whole window: (B, T, 3, H, W) -> maps (B, T, C, h, w)."""
        b, t = crops.shape[:2]
        return tuple(f.reshape(b, t, *f.shape[1:]) for f in self.backbone(crops.flatten(0, 1)))

    def forward(self, crops: Tensor) -> Tensor:
        return self.head(self.window_features(crops))


def neighbours(window: Tensor, key: int) -> list[Tensor]:
    """The frames of a window (B, T, …) that are not the key frame, in order of time."""
    return [window[:, t] for t in range(window.shape[1]) if t != key]


def initialise(module: nn.Module, std: float | None = 0.001) -> None:
    """Initialise convolutions from N(0, std), biases 0, batch normalisation 1 and 0, as HRNet, DCPose, FaSRnet and
    IMAPose do. ``std`` None: convolutions that keep the scale of their input, as He et al., ICCV 2015, Eq. 10."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            if std is None:
                nn.init.kaiming_normal_(layer.weight)
            else:
                nn.init.normal_(layer.weight, std=std)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
