"""Data sets by the names that recipes use, and their clips; ``docs/how-to/datasets.md`` gives the layout of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.datasets import coco, crowdpose, folder, hieve, jhmdb, ochuman, posetrack17, posetrack18
from engines.datasets.clips import Clip
from engines.datasets.detections import THRESHOLD, with_detections
from engines.datasets.windows import Border
from engines.errors import EngineError


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

    def pictures(self) -> list[Clip]:
        """The same with the pictures that have nobody in them: a detector may think otherwise."""
        return coco.read(self.folder, self.judged, empty=True)

    @property
    def truth_file(self) -> Path:
        """What it is judged against."""
        return coco.truth_file(self.folder, self.judged)


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

    def pictures(self) -> list[Clip]:
        """The same with the pictures that have nobody in them: a detector may think otherwise."""
        return crowdpose.read(self.folder, self.judged, empty=True)

    @property
    def truth_file(self) -> Path:
        """What it is judged against."""
        return crowdpose.truth_file(self.folder, self.judged)


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

    def pictures(self) -> list[Clip]:
        """The same with the pictures that have nobody in them: a detector may think otherwise."""
        return ochuman.read(self.folder, self.judged, empty=True)

    @property
    def truth_file(self) -> Path:
        """What it is judged against."""
        return ochuman.truth_file(self.folder, self.judged)


class HiEve(_Labelled, frozen=True, kw_only=True, tag="hieve"):
    """HiEve's public half: ``judged`` names the clips kept for judging, all others are trained on; without a name all
    are judged on."""

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

    def pictures(self) -> list[Clip]:
        """The same: frames that have nobody in them are among them."""
        return self.truth()

    @property
    def truth_file(self) -> Path:
        """What it is judged against."""
        return self.folder / self.judged


Labelled = PoseTrack | Jhmdb | Coco | CrowdPose | OCHuman | HiEve | Folder
"""Every data set of pictures."""

OfCocosMake = Coco | CrowdPose | OCHuman | Folder
"""Those whose truth is one JSON file of COCO's make."""

Name = Literal["posetrack17", "posetrack18", "posetrack21", "jhmdb", "coco", "crowdpose", "ochuman", "hieve", "folder"]
"""What they are called where no recipe describes them."""


def named(name: Name, root: Path, split: str = "", skeleton: str = "coco17") -> Labelled:
    """The data set ``name`` that lies in ``root``. ``split`` is what is judged on: the name of a split, 1 to 3 for
    Sub-JHMDB, clips with commas between for HiEve, the JSON file for a plain folder; each has its usual one without it.
    ``skeleton`` is of a plain folder. Raises :class:`EngineError` for a split that cannot be."""
    where = str(root)
    if name == "jhmdb":
        if split not in ("", "1", "2", "3"):
            raise EngineError(f"data set jhmdb: split {split!r} is none of its three; give 1, 2 or 3")
        return Jhmdb(root=where, split=int(split or 1))
    if name == "hieve":
        return HiEve(root=where, judged=tuple(filter(None, split.split(","))))
    if name == "folder":
        if not split:
            raise EngineError(f"data set folder: which JSON file under {where} has the truth? name it (--split FILE)")
        return Folder(root=where, train=split, judged=split, skeleton=skeleton)
    if name in _YEARS:
        return PoseTrack(root=where, year=_YEARS[name], judged=split or "val")
    still = _STILLS[name](root=where)
    return msgspec.structs.replace(still, judged=split) if split else still


_YEARS: dict[str, Literal[2017, 2018, 2021]] = {"posetrack17": 2017, "posetrack18": 2018, "posetrack21": 2021}
_STILLS: dict[str, type[Coco | CrowdPose | OCHuman]] = {"coco": Coco, "crowdpose": CrowdPose, "ochuman": OCHuman}
