"""Data sets of still pictures: COCO, CrowdPose and OCHuman. In a window, the picture is repeated.

    COCO        ROOT/annotations/person_keypoints_train2017.json            ROOT/train2017/000000000036.jpg
    CrowdPose   ROOT/json/crowdpose_trainval.json                           ROOT/images/100000.jpg
    OCHuman     ROOT/ochuman_coco_format_val_range_0.00_1.00.json           ROOT/images/000001.jpg

CrowdPose (Li et al., CVPR 2019) has people close together and 14 joints, OCHuman (Zhang et al., CVPR 2019) people who
occlude each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.datasets.clips import Clip, Frame, Person, PictureFile
from engines.datasets.coco_json import CocoFile, JsonObject, image_size, read_coco
from engines.datasets.files import check_pictures
from engines.datasets.pictures import picture_size


@dataclass(frozen=True)
class StillLayout:
    """The layout of a data set under its root; ``{split}`` stands for the split in ``annotations`` and ``pictures``.

    ``aliases`` maps names of joints in the file to those of ``skeleton``.
    """

    annotations: str
    pictures: str
    skeleton: str = "coco17"
    aliases: Mapping[str, str] = field(default_factory=dict)

    def annotation_file(self, root: Path, split: str) -> Path:
        """The annotation file of a split."""
        return root / self.annotations.format(split=split)

    def read_annotations(self, root: Path, split: str) -> CocoFile:
        """The annotations of a split. Raises :class:`EngineError` if they are missing or broken."""
        return read_coco(self.annotation_file(root, split), self.skeleton, self.aliases)

    def read(self, root: Path, split: str, *, with_empty: bool = False, with_unlabelled: bool = False) -> list[Clip]:
        """The pictures of a split that have people, one clip each; ``with_empty`` adds those without.

        ``with_unlabelled`` adds people without labelled joints.

        Raises :class:`EngineError` naming what is missing or broken.
        """
        file, folder = self.read_annotations(root, split), root / self.pictures.format(split=split)
        people = ((image, file.people(image, with_unlabelled=with_unlabelled)) for image in file.images)
        frames = ((str(image["file_name"]), _frame(folder, image, each, with_empty)) for image, each in people)
        chosen = [(name, frame) for name, frame in frames if frame.people or with_empty]
        present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set[str]()
        check_pictures(file.path, root, [name for name, _ in chosen], present)
        return [Clip(name, self.skeleton, {0: PictureFile(folder / name)}, (frame,)) for name, frame in chosen]


def _frame(folder: Path, image: JsonObject, people: tuple[Person, ...], with_empty: bool) -> Frame:
    name = str(image["file_name"])
    size = image_size(image) or (picture_size(folder / name) if people or with_empty else (0, 0))
    return Frame(0, name, size, people, id=image["id"])


COCO = StillLayout("annotations/person_keypoints_{split}.json", "{split}")
CROWDPOSE = StillLayout(
    "json/crowdpose_{split}.json", "images", "crowdpose14", {"head": "head_top", "top_head": "head_top"}
)
OCHUMAN = StillLayout("ochuman_coco_format_{split}_range_0.00_1.00.json", "images")
