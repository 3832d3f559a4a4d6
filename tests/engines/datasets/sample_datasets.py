"""Tiny data sets for tests: a few frames of synthetic people, in the layout and format of each data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.datasets.synthetic.scene import Picture, Scene
from engines.skeletons import SKELETONS, convert

SIZE = (320, 240)
FRAMES = 4


@lru_cache
def render_frames() -> tuple[Picture, ...]:
    """A few frames of two people."""
    scene = Scene(7, 2, *SIZE)
    return tuple(scene.at(1.0 + 0.1 * number, number) for number in range(FRAMES))


def write_pictures(folder: Path, first: int, digits: int, suffix: str = ".jpg") -> None:
    """Write the frames under their numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(render_frames(), first):
        assert cv2.imwrite(str(folder / f"{number:0{digits}d}{suffix}"), picture.pixels)


def convert_joints(picture: Picture, skeleton: str) -> np.ndarray:
    """(N, K, 3): joints that synthetic people lack are put beside the nose, so that none is missing."""
    joints = convert(picture.keypoints, "coco17", skeleton)
    for person, joint in zip(*np.nonzero(joints[..., 2] == 0), strict=True):
        joints[person, joint] = *(picture.keypoints[person, 0, :2] + joint), 1
    return joints


def coco_people(picture: Picture, image: Any, skeleton: str) -> Iterator[dict[str, Any]]:
    """The people of a frame as COCO-style annotations."""
    for number, joints in enumerate(convert_joints(picture, skeleton)):
        left, top, right, bottom = (float(value) for value in picture.boxes[number])
        x, y = (float(value) for value in joints[0, :2])
        yield {
            "id": 1000 * int(image) + number, "image_id": image, "category_id": 1, "track_id": int(picture.ids[number]),
            "keypoints": [float(value) for value in joints.reshape(-1)], "num_keypoints": len(joints), "iscrowd": 0,
            "bbox": [left, top, right - left, bottom - top], "area": 0.53 * (right - left) * (bottom - top),
            "bbox_head": [x - 9, y - 12, 18.0, 24.0],
        }  # fmt: skip


def coco_document(skeleton: str, names: list[str], labelled: tuple[int, ...] = (0, 1, 2, 3)) -> dict[str, Any]:
    """A COCO-style document for frames of these file names; people in those ``labelled``."""
    images = [
        {"id": n, "file_name": name, "width": SIZE[0], "height": SIZE[1], "is_labeled": n in labelled}
        for n, name in enumerate(names)
    ]
    people = [person for number in labelled for person in coco_people(render_frames()[number], number, skeleton)]
    category = {"id": 1, "name": "person", "keypoints": list(SKELETONS[skeleton].joints)}
    return {"images": images, "annotations": people, "categories": [category]}


def write_json(path: Path, content: Any) -> Path:
    """Write ``content`` to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


# -- each data set ----------------------------------------------------------------------------------------------------


def posetrack18(root: Path, annotations: str = "annotations") -> None:
    """One sequence each for training and validation; of four frames the second and third are labelled."""
    for split in ("train", "val"):
        write_pictures(root / f"images/{split}/000001_test", 0, 6)
        names = [f"images/{split}/000001_test/{number:06d}.jpg" for number in range(FRAMES)]
        document = coco_document("posetrack17", names, labelled=(1, 2))
        for person in document["annotations"]:
            person["keypoints"][3 * 3 : 5 * 3] = [0, 0, 0] * 2  # ears are never annotated
        write_json(root / annotations / split / "000001_test.json", document)


def posetrack17(root: Path) -> None:
    """The same in ``annolist`` files."""
    for split in ("train", "val"):
        folder = f"images/bonn_{split}/00001_test"
        write_pictures(root / folder, 1, 8)
        frames = [_annorect(f"{folder}/{n + 1:08d}.jpg", render_frames()[n]) for n in (1, 2)]
        write_json(root / "annotations" / split / "00001_test.json", {"annolist": frames})


def _annorect(name: str, picture: Picture) -> dict[str, Any]:
    people: list[dict[str, Any]] = []
    for joints in convert_joints(picture, "posetrack15"):
        points = [{"id": [k], "x": [float(x)], "y": [float(y)]} for k, (x, y, _) in enumerate(joints)]
        x, y = (float(value) for value in joints[13, :2])
        head = {"x1": [x - 9], "y1": [y - 12], "x2": [x + 9], "y2": [y + 12], "track_id": [len(people)]}
        people.append({**head, "annopoints": [{"point": points}]})
    return {"image": [{"name": name}], "annorect": people}


def coco(root: Path) -> None:
    """Still pictures."""
    for split in ("train2017", "val2017"):
        write_pictures(root / split, 0, 12)
        document = coco_document("coco17", [f"{number:012d}.jpg" for number in range(FRAMES)])
        write_json(root / f"annotations/person_keypoints_{split}.json", document)


def crowdpose(root: Path) -> None:
    """Still pictures with 14 joints, one of which has another name in the files."""
    write_pictures(root / "images", 100000, 6)
    for split in ("train", "val"):
        document = coco_document("crowdpose14", [f"{100000 + number}.jpg" for number in range(FRAMES)])
        document["categories"][0]["keypoints"][12] = "top_head"
        write_json(root / f"json/crowdpose_{split}.json", document)


def ochuman(root: Path) -> None:
    """Still pictures."""
    write_pictures(root / "images", 1, 6)
    for split in ("val", "test"):
        document = coco_document("coco17", [f"{number + 1:06d}.jpg" for number in range(FRAMES)])
        write_json(root / f"ochuman_coco_format_{split}_range_0.00_1.00.json", document)


def jhmdb(root: Path) -> None:
    """A clip in JSON, counted from 1."""
    write_pictures(root / "Rename_Images/catch/clip", 1, 5, ".png")
    for half in ("train", "test"):
        document = coco_document("jhmdb15", [f"catch/clip/{number + 1:05d}.png" for number in range(FRAMES)])
        write_json(root / f"annotations/Sub1_{half}.json", document)


def jhmdb_mat(root: Path) -> None:
    """The same clip in the authors' own files, for training and for testing."""
    from scipy.io import savemat  # type: ignore[import-untyped, unused-ignore]

    lines = []
    for half, name in ((1, "clip"), (2, "other")):
        write_pictures(root / f"Rename_Images/catch/{name}", 1, 5, ".png")
        path = root / f"joint_positions/catch/{name}/joint_positions.mat"
        path.parent.mkdir(parents=True)
        joints = np.stack([convert_joints(picture, "jhmdb15")[0, :, :2] for picture in render_frames()])
        savemat(path, {"pos_img": joints.transpose(2, 1, 0).astype(np.float64) + 1})
        lines.append(f"{name}.avi {half}")
    (root / "sub_splits").mkdir()
    (root / "sub_splits/catch_test_split_1.txt").write_text("\n".join(lines) + "\n")


def hieve(root: Path) -> None:
    """Two clips: one a video, one a folder of pictures."""
    write_video(root / "videos/hall.mp4")
    write_pictures(root / "images/yard", 0, 6)
    for name in ("hall", "yard"):
        (root / "annotations" / name).mkdir(parents=True)
        for number, picture in enumerate(render_frames()):
            (root / f"annotations/{name}/{number:06d}.xml").write_text(_xml(picture))


def _xml(picture: Picture) -> str:
    flags = {2: 0, 1: 1, 0: -1}
    objects = []
    for track, (box, joints) in enumerate(zip(picture.boxes, convert_joints(picture, "hieve14"), strict=True)):
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        names = (joint.replace("_", "-").capitalize() for joint in SKELETONS["hieve14"].joints)
        points = zip(names, joints, strict=True)
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in corners)
        inner += "".join(f"<{name}>{x},{y},{flags[int(v)]}</{name}>" for name, (x, y, v) in points)
        objects.append(f"<object><name>P-{track + 1}</name><bndbox>{inner}</bndbox></object>")
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>"


def folder(root: Path) -> None:
    """A video and its annotations."""
    write_video(root / "walk.mp4")
    for split in ("train", "test"):
        document = coco_document("coco17", [f"walk.mp4/{number:06d}" for number in range(FRAMES)])
        document["images"] = document["images"][1:3]
        document["annotations"] = [person for person in document["annotations"] if person["image_id"] in (1, 2)]
        write_json(root / f"{split}.json", document)


def write_video(path: Path) -> None:
    """Write the frames as MPEG-4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE)
    for picture in render_frames():
        writer.write(picture.pixels)
    writer.release()
