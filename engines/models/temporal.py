"""A network that reads several frames, cut so that it can be streamed.

    features = model.backbone(crops)       # once a frame:      (N, 3, H, W)    -> tuple of maps (N, C, h, w)
    heatmaps = model.head(window)          # once a key frame:  (B, T, C, h, w) -> (B, J, h, w)

A window is in order of time; ``frames`` says which ones it holds, relative to the key frame, which is 0. The papers'
way, a whole window at once, is ``model(crops)`` with crops (B, T, 3, H, W), and by construction it is the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

Features = tuple[Tensor, ...]


class TemporalModel(nn.Module):
    """What every temporal network here promises."""

    def __init__(self, frames: Sequence[int]) -> None:
        super().__init__()
        if 0 not in frames or list(frames) != sorted(set(frames)):
            raise ValueError(f"window {list(frames)}: give the frames in order of time, 0 (the key frame) among them")
        self.frames = tuple(frames)
        self.key = self.frames.index(0)

    @property
    def past(self) -> int:
        """How many frames back the window reaches."""
        return -self.frames[0]

    @property
    def future(self) -> int:
        """How many frames the model waits for: its look-ahead."""
        return self.frames[-1]

    def backbone(self, crops: Tensor) -> Features:
        """What is kept of one frame: maps (N, C, h, w)."""
        raise NotImplementedError

    def head(self, window: Features) -> Tensor:
        """Heatmaps (B, J, h, w) of the key frame, from maps (B, T, C, h, w) in order of time."""
        raise NotImplementedError

    def features_of(self, crops: Tensor) -> Features:
        """The backbone over a whole window: (B, T, 3, H, W) -> maps (B, T, C, h, w)."""
        b, t = crops.shape[:2]
        return tuple(f.reshape(b, t, *f.shape[1:]) for f in self.backbone(crops.flatten(0, 1)))

    def forward(self, crops: Tensor) -> Tensor:
        return self.head(self.features_of(crops))


def neighbours(window: Tensor, key: int) -> list[Tensor]:
    """The frames of a window (B, T, …) that are not the key frame, in order of time."""
    return [window[:, t] for t in range(window.shape[1]) if t != key]


def initialise(module: nn.Module, std: float = 0.001) -> None:
    """Convolutions from N(0, std), biases 0, batch normalisation 1 and 0: so HRNet, DCPose, FaSRnet, IMAPose begin."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=std)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
