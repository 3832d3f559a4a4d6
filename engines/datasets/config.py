"""Data sets as configured in recipes, and the clips they contain; ``docs/how-to/datasets.md`` describes the layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from engines.datasets import folder, hieve, jhmdb, posetrack17, posetrack18
from engines.datasets.clips import Clip
from engines.datasets.coco_json import CocoFile, read_coco
from engines.datasets.detections import MIN_SCORE, replace_people
from engines.datasets.stills import COCO, CROWDPOSE, OCHUMAN, StillLayout
from engines.datasets.windows import Border
from engines.errors import EngineError


class _Dataset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``root`` is its folder. ``border`` determines the pictures in windows that reach beyond a clip."""

    root: str
    border: Border = "key-frame"

    @property
    def folder(self) -> Path:
        """The root with ``~`` expanded."""
        return Path(self.root).expanduser()


class PoseTrack(_Dataset, frozen=True, kw_only=True, tag="posetrack"):
    """PoseTrack of ``year`` 2017, 2018 or 2021, evaluated by the official AP with true boxes, or with those of the file
    ``detections`` (under the root) whose score is at least ``min_score``."""

    year: Literal[2017, 2018, 2021]
    train: str = "train"
    validation: str = "val"
    detections: str = ""
    min_score: Annotated[float, Meta(ge=0)] = MIN_SCORE

    def training_clips(self) -> list[Clip]:
        """The clips to train on."""
        return self._read(self.train)

    def validation_clips(self) -> list[Clip]:
        """The clips to evaluate on."""
        return self._read(self.validation)

    def input_clips(self, clips: list[Clip]) -> list[Clip]:
        """The same clips with the people that the network is given when it is evaluated."""
        if not self.detections:
            return clips
        return replace_people(clips, self.folder / self.detections, self.min_score)

    def _read(self, split: str) -> list[Clip]:
        if self.year == 2017:
            return posetrack17.read(self.folder, split)
        return posetrack18.read(self.folder, split, "annotations" if self.year == 2018 else "posetrack_data")


class Jhmdb(_Dataset, frozen=True, kw_only=True, tag="jhmdb"):
    """One of the three splits of Sub-JHMDB; papers report their mean. Evaluated by PCK at 0.2 of the box."""

    split: Annotated[int, Meta(ge=1, le=3)] = 1

    def training_clips(self) -> list[Clip]:
        """The clips to train on."""
        return jhmdb.read(self.folder, self.split, "train")

    def validation_clips(self) -> list[Clip]:
        """The clips to evaluate on."""
        return jhmdb.read(self.folder, self.split, "test")


class _Stills(_Dataset, frozen=True, kw_only=True):
    """Still pictures, repeated for every frame of a window. ``unlabelled``: whether to train on people without labelled
    joints too, which only networks of whole pictures can."""

    layout: ClassVar[StillLayout]
    train: str
    validation: str
    unlabelled: bool = False

    def training_clips(self) -> list[Clip]:
        """The pictures to train on."""
        return self.layout.read(self.folder, self.train, with_unlabelled=self.unlabelled)

    def validation_clips(self, *, with_empty: bool = False) -> list[Clip]:
        """The pictures to evaluate on; ``with_empty`` adds those without people, in which a detector may find some."""
        return self.layout.read(self.folder, self.validation, with_empty=with_empty)

    @property
    def annotation_file(self) -> Path:
        """The file to evaluate against."""
        return self.layout.annotation_file(self.folder, self.validation)

    def read_annotations(self) -> CocoFile:
        """The annotations to evaluate against."""
        return self.layout.read_annotations(self.folder, self.validation)


class Coco(_Stills, frozen=True, kw_only=True, tag="coco"):
    """COCO keypoints."""

    layout = COCO
    train: str = "train2017"
    validation: str = "val2017"


class CrowdPose(_Stills, frozen=True, kw_only=True, tag="crowdpose"):
    """CrowdPose."""

    layout = CROWDPOSE
    train: str = "train"
    validation: str = "val"


class OCHuman(_Stills, frozen=True, kw_only=True, tag="ochuman"):
    """OCHuman. Its authors intend it for evaluation only; ``train`` defaults to its validation split."""

    layout = OCHUMAN
    train: str = "val"
    validation: str = "test"


class HiEve(_Dataset, frozen=True, kw_only=True, tag="hieve"):
    """HiEve's public half. ``validation`` names the clips to evaluate on, all others are trained on; if it is empty,
    all clips are evaluated."""

    validation: tuple[str, ...]

    def training_clips(self) -> list[Clip]:
        """The clips to train on."""
        return [clip for clip in hieve.read(self.folder) if clip.name not in self.validation]

    def validation_clips(self) -> list[Clip]:
        """The clips to evaluate on."""
        return hieve.read(self.folder, self.validation)


class Folder(_Dataset, frozen=True, kw_only=True, tag="folder"):
    """Your own videos or pictures with COCO-style JSON files, whose people have the joints of ``skeleton``."""

    train: str
    validation: str
    skeleton: str = "coco17"

    def training_clips(self) -> list[Clip]:
        """The clips to train on."""
        return folder.read(self.folder, self.train, self.skeleton)

    def validation_clips(self, *, with_empty: bool = False) -> list[Clip]:  # noqa: ARG002 - as for stills
        """The clips to evaluate on; frames without people are always among them."""
        return folder.read(self.folder, self.validation, self.skeleton)

    @property
    def annotation_file(self) -> Path:
        """The file to evaluate against."""
        return self.folder / self.validation

    def read_annotations(self) -> CocoFile:
        """The annotations to evaluate against."""
        return read_coco(self.annotation_file, self.skeleton)


Dataset = PoseTrack | Jhmdb | Coco | CrowdPose | OCHuman | HiEve | Folder
"""A labelled data set."""

CocoStyle = Coco | CrowdPose | OCHuman | Folder
"""A data set whose annotations are one COCO-style JSON file."""

DatasetName = Literal[
    "posetrack17", "posetrack18", "posetrack21", "jhmdb", "coco", "crowdpose", "ochuman", "hieve", "folder"
]
"""The names of data sets on the command line."""


def configure(name: DatasetName, root: Path, split: str = "", skeleton: str = "coco17") -> Dataset:
    """The data set ``name`` in ``root``, to be evaluated on ``split``.

    ``split`` is the name of a split, 1 to 3 for Sub-JHMDB, comma-separated clips for HiEve, the JSON file for a folder,
    by default the only one in it. ``skeleton`` is that of a folder. Raises :class:`EngineError` for an
    invalid split.
    """
    where = str(root)
    if name == "jhmdb":
        if split not in ("", "1", "2", "3"):
            raise EngineError(f"data set jhmdb: there is no split {split!r}; give 1, 2 or 3")
        return Jhmdb(root=where, split=int(split or 1))
    if name == "hieve":
        return HiEve(root=where, validation=tuple(filter(None, split.split(","))))
    if name == "folder":
        file = split or folder.find_annotations(root)
        return Folder(root=where, train=file, validation=file, skeleton=skeleton)
    if name in _YEARS:
        return PoseTrack(root=where, year=_YEARS[name], validation=split or "val")
    stills = _STILLS[name](root=where)
    return msgspec.structs.replace(stills, validation=split) if split else stills


_YEARS: dict[str, Literal[2017, 2018, 2021]] = {"posetrack17": 2017, "posetrack18": 2018, "posetrack21": 2021}
_STILLS: dict[str, type[Coco | CrowdPose | OCHuman]] = {"coco": Coco, "crowdpose": CrowdPose, "ochuman": OCHuman}
