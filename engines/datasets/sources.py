"""Data sets as recipes name them, and the clips they lead to. ``docs/datasets.md`` says how each must lie on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.datasets import coco, crowdpose, folder, hieve, jhmdb, ochuman, posetrack17, posetrack18
from engines.datasets.clips import Clip
from engines.datasets.detections import THRESHOLD, with_detections
from engines.datasets.windows import Border


class _Labelled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``root`` is the folder it lies in. ``border`` says what stands for the neighbours that a clip's ends lack."""

    root: str
    border: Border = "key-frame"

    @property
    def folder(self) -> Path:
        """The root, with ``~`` spelled out."""
        return Path(self.root).expanduser()


class PoseTrack(_Labelled, frozen=True, kw_only=True, tag="posetrack"):
    """PoseTrack of ``year`` 2017, 2018 or 2021, judged by the official AP, with true boxes, or with those of the file
    ``detections`` (under the root) that score at least ``least_score``."""

    year: Literal[2017, 2018, 2021]
    train: str = "train"
    judged: str = "val"
    detections: str = ""
    least_score: Annotated[float, Meta(ge=0)] = THRESHOLD

    def training(self) -> list[Clip]:
        """What is trained on."""
        return self._split(self.train)

    def truth(self) -> list[Clip]:
        """What is judged on."""
        return self._split(self.judged)

    def shown(self, truth: list[Clip]) -> list[Clip]:
        """The same clips with those people that the network is shown when it is judged."""
        if not self.detections:
            return truth
        return with_detections(truth, self.folder / self.detections, self.least_score)

    def _split(self, split: str) -> list[Clip]:
        if self.year == 2017:
            return posetrack17.read(self.folder, split)
        return posetrack18.read(self.folder, split, "annotations" if self.year == 2018 else "posetrack_data")


class Jhmdb(_Labelled, frozen=True, kw_only=True, tag="jhmdb"):
    """Sub-JHMDB, one of its three splits; papers report the mean over them. Judged by PCK at 0.2 of the box."""

    split: Annotated[int, Meta(ge=1, le=3)] = 1

    def training(self) -> list[Clip]:
        """What is trained on."""
        return jhmdb.read(self.folder, self.split, "train")

    def truth(self) -> list[Clip]:
        """What is judged on."""
        return jhmdb.read(self.folder, self.split, "test")


class Coco(_Labelled, frozen=True, kw_only=True, tag="coco"):
    """COCO keypoints; the same picture stands for every frame of a window."""

    train: str = "train2017"
    judged: str = "val2017"

    def training(self) -> list[Clip]:
        """What is trained on."""
        return coco.read(self.folder, self.train)

    def truth(self) -> list[Clip]:
        """What is judged on."""
        return coco.read(self.folder, self.judged)


class CrowdPose(_Labelled, frozen=True, kw_only=True, tag="crowdpose"):
    """CrowdPose, likewise."""

    train: str = "train"
    judged: str = "val"

    def training(self) -> list[Clip]:
        """What is trained on."""
        return crowdpose.read(self.folder, self.train)

    def truth(self) -> list[Clip]:
        """What is judged on."""
        return crowdpose.read(self.folder, self.judged)


class OCHuman(_Labelled, frozen=True, kw_only=True, tag="ochuman"):
    """OCHuman. Its authors mean it for judging; ``train`` is there for those who know better."""

    train: str = "val"
    judged: str = "test"

    def training(self) -> list[Clip]:
        """What is trained on."""
        return ochuman.read(self.folder, self.train)

    def truth(self) -> list[Clip]:
        """What is judged on."""
        return ochuman.read(self.folder, self.judged)


class HiEve(_Labelled, frozen=True, kw_only=True, tag="hieve"):
    """HiEve's public half: ``judged`` names the clips kept for judging, all others are trained on."""

    judged: tuple[str, ...]

    def training(self) -> list[Clip]:
        """What is trained on."""
        return [clip for clip in hieve.read(self.folder) if clip.name not in self.judged]

    def truth(self) -> list[Clip]:
        """What is judged on."""
        return hieve.read(self.folder, self.judged)


class Folder(_Labelled, frozen=True, kw_only=True, tag="folder"):
    """Anybody's own videos with JSON files of COCO's make, whose people have the joints of ``skeleton``."""

    train: str
    judged: str
    skeleton: str = "coco17"

    def training(self) -> list[Clip]:
        """What is trained on."""
        return folder.read(self.folder, self.train, self.skeleton)

    def truth(self) -> list[Clip]:
        """What is judged on."""
        return folder.read(self.folder, self.judged, self.skeleton)


Labelled = PoseTrack | Jhmdb | Coco | CrowdPose | OCHuman | HiEve | Folder
"""Every data set of pictures."""
