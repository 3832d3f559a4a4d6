"""A network judged on a data set by the field's yardstick: who is shown to it, what it finds, what that is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engines.datasets import crowdpose
from engines.datasets.clips import Clip
from engines.datasets.cocolike import CocoFile, read_coco
from engines.datasets.detections import with_detections
from engines.datasets.posetrack_frames import JOINTS
from engines.datasets.rows import Row, rows_of
from engines.datasets.sources import CrowdPose, Folder, HiEve, Labelled, OfCocosMake, PoseTrack
from engines.errors import EngineError
from engines.evaluation import coco, results, scores
from engines.evaluation.oks import oks
from engines.evaluation.pck import Found
from engines.evaluation.scores import Columns, Verdict
from engines.skeletons import COCO_SIGMAS, SKELETONS, convert
from engines.spec.signature import Signature

SIGMAS: Final = {"coco17": COCO_SIGMAS, "crowdpose14": coco.CROWD_SIGMAS}
"""Constants of OKS, where somebody has defined them."""


@dataclass(frozen=True)
class Shown:
    """The clips of the ``truth``, and in ``rows`` the people whom the network is shown: true boxes, or ``detected``;
    the first clips only where there is a ``limit``."""

    truth: Sequence[Clip]
    rows: Sequence[Row]
    detected: bool = False
    limited: bool = False


def shown(
    data: Labelled, skeleton: str, detections: Path | None = None, least: float | None = None, limit: int | None = None
) -> Shown:
    """Whom a network with the joints of ``skeleton`` is judged on: people in true boxes who have one of its joints, or
    everybody of the file ``detections`` who scores at least ``least``.

    Raises :class:`EngineError` for a data set that is broken, or that cannot be judged so.
    """
    path, threshold = _detections(data, detections, least)
    check_judged(data, is_detected=path is not None)
    if path is None:
        if least is not None:
            raise EngineError(
                f"a least score of {least:g} is for a detector's boxes, but the true ones are shown; leave it out"
            )
        truth = data.truth()[:limit]
        return Shown(truth, rows_of(truth, skeleton), limited=limit is not None)
    clips = (data.pictures() if isinstance(data, OfCocosMake) else data.truth())[:limit]
    rows = rows_of(with_detections(clips, path, threshold), skeleton, annotated=False)
    return Shown(clips, rows, detected=True, limited=limit is not None)


def _detections(data: Labelled, path: Path | None, least: float | None) -> tuple[Path | None, float]:
    """The file and its limit: as asked for, else as a recipe has them. The published limit is PoseTrack's alone."""
    if isinstance(data, PoseTrack):
        told = data.folder / data.detections if data.detections else None
        return path or told, data.least_score if least is None else least
    return path, least or 0.0


def check_judged(data: Labelled, *, is_detected: bool) -> None:
    """Raises :class:`EngineError` for what has no measure, and where what computes it is not installed."""
    if has_ap(data):
        coco.check_installed()
    elif is_detected and not isinstance(data, PoseTrack):
        raise EngineError(
            f"data set {kind_of(data)} ({data.folder}): it is judged by PCK, which needs to know whose joint is whose; "
            "leave the detections out, and it is judged with its true boxes"
        )


def kind_of(data: Labelled) -> str:
    """What recipes call it."""
    return f"posetrack{data.year % 100}" if isinstance(data, PoseTrack) else type(data).__name__.lower()


def has_ap(data: Labelled) -> bool:
    """Whether it is judged by OKS."""
    return isinstance(data, OfCocosMake) and (not isinstance(data, Folder) or data.skeleton in SIGMAS)


# -- judging ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """The verdict, and by name the result files that lead to it."""

    verdict: Verdict
    files: dict[str, Any]


def judge(data: Labelled, people: Shown, found: Sequence[Found], signature: Signature) -> Judged:
    """What ``found``, (K, 3) for each of the rows of ``people``, is worth. Raises :class:`EngineError`."""
    if isinstance(data, PoseTrack):
        return _posetrack(data, people, found, signature.skeleton)
    if isinstance(data, OfCocosMake) and has_ap(data):
        return _of_cocos_make(data, people, found, signature)
    verdict = scores.by_pck(people.rows, found, signature.skeleton, scores.alpha_of(data))
    further = scores.further_lines(data, people.rows, found, signature.skeleton)
    return Judged(
        Verdict(verdict.measure, verdict.mean, {**verdict.lines, **further}), {"results": _plain(people, found)}
    )


def _posetrack(data: PoseTrack, people: Shown, found: Sequence[Found], skeleton: str) -> Judged:
    verdict = scores.posetrack(people.rows, found, skeleton, people.truth)
    further = {} if people.detected else scores.further_lines(data, people.rows, found, skeleton)
    files = dict(results.posetrack_documents(people.truth, people.rows, found, skeleton))
    return Judged(Verdict(verdict.measure, verdict.mean, {**verdict.lines, **further}), files)


def _of_cocos_make(data: OfCocosMake, people: Shown, found: Sequence[Found], signature: Signature) -> Judged:
    skeleton = people.truth[0].skeleton
    aliases = crowdpose.ALIASES if isinstance(data, CrowdPose) else None
    truth = read_coco(data.truth_file, skeleton, aliases)
    told = results.coco_results(people.rows, found, signature, truth, SIGMAS[skeleton])
    numbers = _numbers(data, told, people, truth)
    lines: dict[str, Columns] = {_TITLES[kind_of(data)]: {name: 100 * value for name, value in numbers.items()}}
    if not people.detected:
        by_pck = scores.by_pck(people.rows, found, signature.skeleton, scores.alpha_of(data))
        lines |= {**by_pck.lines, "mean OKS": {"Mean": 100 * mean_oks(people.rows, found, signature.skeleton)}}
    return Judged(Verdict("AP", numbers["AP"], lines), {"results": told})


_TITLES: Final = {"coco": "COCO", "crowdpose": "CrowdPose", "ochuman": "OCHuman", "folder": "COCO"}


def _numbers(data: OfCocosMake, told: Sequence[results.Told], people: Shown, truth: CocoFile) -> dict[str, float]:
    images = {frame.id for clip in people.truth for frame in clip.frames} if people.limited else None
    if isinstance(data, CrowdPose):
        return coco.crowdpose(data.truth_file, told, images)
    # In the file's own order of joints, which may be any in files of one's own.
    sigmas = np.array(SIGMAS[truth.skeleton])[np.argsort(truth.order)]
    return coco.coco(data.truth_file, told, images, sigmas.tolist())


def mean_oks(rows: Sequence[Row], found: Sequence[Found], skeleton: str) -> float:
    """Of everybody with themselves, over all joints that are annotated: no score has a say in it."""
    return float(np.nanmean([_oks(row, one, skeleton) for row, one in zip(rows, found, strict=True)]))


def _oks(row: Row, found: Found, skeleton: str) -> float:
    person, of = row.person, row.clip.skeleton
    area = float(np.prod(person.box[2:])) * coco.BODY_OF_BOX if person.area is None else person.area
    return float(oks(convert(found[None], skeleton, of), person.joints, area, SIGMAS[of])[0])


def _plain(people: Shown, found: Sequence[Found]) -> list[results.Told]:
    """What a data set without a format of its own gets: a line for everybody, with the joints of the network."""
    return [
        {
            "image_id": row.frame.name if row.frame.id is None else row.frame.id,
            "category_id": results.PERSON,
            "keypoints": np.asarray(joints, np.float64).ravel().tolist(),
            "score": float(joints[:, 2].mean()),
            "bbox": row.person.box.tolist(),
        }
        for row, joints in zip(people.rows, found, strict=True)
    ]


# -- what a reader has to know ----------------------------------------------------------------------------------------


def notes_on(data: Labelled, people: Shown, skeleton: str) -> list[str]:
    """In what these numbers are not those of the papers' tables."""
    told = [
        _on_boxes(data, people),
        _on_joints(data, people.truth[0].skeleton, skeleton),
        f"only the first of the clips or pictures: {len(people.truth)}" if people.limited else "",
        _on_measure(data),
    ]
    return [note for note in told if note]


def _on_boxes(data: Labelled, people: Shown) -> str:
    if people.detected or not (isinstance(data, PoseTrack) or has_ap(data)):
        return ""
    return "true boxes: most papers are judged with a detector's, which gives less (--detections FILE)"


def _on_joints(data: Labelled, wanted: str, skeleton: str) -> str:
    joints = JOINTS if isinstance(data, PoseTrack) else SKELETONS[wanted].joints
    missing = [joint for joint in joints if joint not in SKELETONS[skeleton].joints]
    if not missing:
        return ""
    by_ap = isinstance(data, PoseTrack) or has_ap(data)
    counted = "AP counts them as missed, PCK leaves them out" if by_ap else "they are left out"
    return f"its skeleton {skeleton} has no {', '.join(missing)}: {counted}"


def _on_measure(data: Labelled) -> str:
    if isinstance(data, HiEve):
        return "HiEve's own w_AP is not published in full; docs/how-to/evaluation.md says what is missing"
    if isinstance(data, Folder) and not has_ap(data):
        return f"nobody has defined OKS for skeleton {data.skeleton}: no AP"
    return ""
