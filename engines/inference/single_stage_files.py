"""Single-stage networks as others export them: recognition by a trial picture, and an adapter for the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.inference.detector import USUAL_SIZE, read_size
from engines.inference.detector_families import Outputs, Preprocessing
from engines.inference.detector_trial import CERTAIN, CLEAR, FAR_PX, MIN_IOU, SURE, TRIALS
from engines.inference.image_input import ImageInput, format_tensors, get_image_input
from engines.inference.signature_inference import USUAL
from engines.inference.single_stage_families import FAMILIES, Candidates
from engines.skeletons import SHIPPED, SKELETONS
from engines.spec.model_files import fingerprint_model
from engines.spec.picture_signature import INPUT, OUTPUTS, describe_graph
from engines.spec.signature import Units
from engines.spec.single_stage_signature import SingleStageSignature, read_single_stage_signature
from engines.spec.tensors import Array, Description
from engines.vision.boxes import compute_iou
from engines.vision.trial_picture import draw_person


class PictureAdapter:
    """A network of others as a graph of :class:`engines.spec.picture_signature.PictureSignature`; a backend.

    ``signature`` must have every field filled, see :func:`resolve`.
    """

    def __init__(self, backend: Backend, signature: SingleStageSignature) -> None:
        self.signature = signature
        self._backend = backend
        self._image: ImageInput | None = None

    def open(self) -> None:
        self._backend.open()
        self._image = get_image_input(f"model {self.signature.name}", self._backend.describe())

    def describe(self) -> Description:
        own = self._backend.describe()
        found = describe_graph(self.signature.to_picture_signature(), own.device)
        pictures = found.inputs[0]
        shape = (self._get_image().tensor.shape[0], *pictures.shape[1:])
        return replace(
            found,
            inputs=(replace(pictures, shape=shape),),
            max_batch=own.max_batch,
            best_batch=own.best_batch,
            side_by_side=own.side_by_side,
        )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        signature = self.signature
        outputs = _run(self._backend, self._get_image(), feeds[INPUT], _get_preprocessing(signature))
        size, units = signature.input_size or USUAL_SIZE, signature.units or "pixels"
        candidates = FAMILIES[signature.family].read(outputs, size, units)
        points = np.concatenate([candidates.points[..., :2], np.clip(candidates.points[..., 2:], 0, 1)], axis=3)
        finite = np.isfinite(points).all(axis=3, keepdims=True)
        arrays = np.where(finite, points, 0), candidates.scores, candidates.boxes
        return dict(zip(OUTPUTS, arrays, strict=True))

    def close(self) -> None:
        self._backend.close()
        self._image = None

    def _get_image(self) -> ImageInput:
        if self._image is None:
            raise EngineError(f"model {self.signature.name}: it is not open; call open() first")
        return self._image


class Resolved(NamedTuple):
    """A ``signature`` with every field filled, and a ``warning`` of what it assumes, empty if that was measured."""

    signature: SingleStageSignature
    warning: str = ""


def resolve(path: Path, given: SingleStageSignature | None = None) -> Resolved:
    """The signature of the network at ``path``, by its outputs for a trial picture, for which it is opened once.

    What is ``given``, or else stated by the ``.json`` beside it, is kept. Raises :class:`EngineError` with outputs and
    the keys to write if they are of no family, or of an unusual number of joints. If the network does not find the
    drawn person, the usual preprocessing is assumed, with a warning.
    """
    beside = path.with_suffix(".json")
    if given is None:
        given = read_single_stage_signature(beside) if beside.is_file() else SingleStageSignature()
    return _resolve_once(path, fingerprint_model(path), msgspec.structs.replace(given, name=given.name or path.stem))


@lru_cache(maxsize=16)
def _resolve_once(path: Path, fingerprint: str, given: SingleStageSignature) -> Resolved:  # noqa: ARG001 - a key
    backend = make_backend(path)
    backend.open()
    try:
        return _recognise(path, backend, given)
    finally:
        backend.close()


def _recognise(path: Path, backend: Backend, given: SingleStageSignature) -> Resolved:
    image = get_image_input(f"model {path}", backend.describe())
    usual = given.input_size or read_size(backend.describe()) or USUAL_SIZE
    size = (image.size[0] or usual[0], image.size[1] or usual[1])
    given = msgspec.structs.replace(given, input_size=size)
    first = FAMILIES["yolo-pose" if given.family == "auto" else given.family]
    outputs = _run(
        backend, image, draw_person(size)[0][None], _fill_preprocessing(given, image, first.preprocessing[0])
    )
    family, joints = _find_family(path, backend, given, outputs)
    given = msgspec.structs.replace(given, family=family, skeleton=_find_skeleton(path, backend, given, family, joints))
    tried = _try(backend, image, given, size)
    best = max(one.score for one in tried)
    chosen = next(one for one in tried if best < SURE or one.score >= CLEAR * best)
    fit = given.fit or FAMILIES[family].preprocessing[0].fit
    scaling = _get_scaling(chosen.preprocessing)
    signature = msgspec.structs.replace(given, fit=fit, pad=chosen.preprocessing.pad, units=chosen.units, **scaling)
    if best >= SURE or None not in (given.colour, given.mean, given.std):
        return Resolved(signature)
    keys = _to_keys({"family": family, "fit": fit, "units": chosen.units, **scaling})
    return Resolved(
        signature,
        f"model {path}: read as family={family}, but it finds no person in the drawn trial picture, so its "
        f"preprocessing is assumed; write {beside_name(path)} to be sure: {keys}",
    )


class _Trial(NamedTuple):
    """The ``score`` of the drawn person with a preprocessing, and the units that boxes then seem to have."""

    score: float
    preprocessing: Preprocessing
    units: Units


def _try(backend: Backend, image: ImageInput, given: SingleStageSignature, size: tuple[int, int]) -> list[_Trial]:
    """Every usual preprocessing, with the first trial picture in which the drawn person is found, else the last."""
    found: list[_Trial] = []
    for scale in TRIALS:
        found = []
        for usual in FAMILIES[given.family].preprocessing:
            found.append(_try_one(backend, image, given, _fill_preprocessing(given, image, usual), size, scale))
            if found[-1].score >= CERTAIN:
                break
        if max(one.score for one in found) >= SURE:
            break
    return found


def _try_one(
    backend: Backend,
    image: ImageInput,
    given: SingleStageSignature,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    scale: int,
) -> _Trial:
    picture, person = draw_person(size, scale)
    outputs, family = _run(backend, image, picture[None], preprocessing), FAMILIES[given.family]
    units = given.units or family.find_units(outputs, size)
    return _Trial(_find_drawn_person(family.read(outputs, size, units), person), preprocessing, units)


def beside_name(path: Path) -> str:
    """The name of the signature's file."""
    return path.with_suffix(".json").name


def _find_family(path: Path, backend: Backend, given: SingleStageSignature, outputs: Outputs) -> tuple[str, int]:
    """The family and its number of joints: of three columns each, no two families fit the same table."""
    size = given.input_size or USUAL_SIZE
    names = FAMILIES if given.family == "auto" else [given.family]
    found = [(name, joints) for name in names if (joints := FAMILIES[name].count_joints(outputs, size))]
    if not found:
        raise EngineError(
            f"model {path}: its outputs {_describe(backend, size)} are of no family of whole pictures "
            f"({', '.join(FAMILIES)}); export it as one of these, or use 'detect' for networks that return boxes and "
            "'pose' for those of single people"
        )
    return found[0]


def _find_skeleton(path: Path, backend: Backend, given: SingleStageSignature, family: str, joints: int) -> str:
    size = given.input_size or USUAL_SIZE
    if given.skeleton:
        if len(SKELETONS[given.skeleton]) != joints:
            raise EngineError(
                f"model {path}: its outputs {_describe(backend, size)} have {joints} joints, but skeleton "
                f"{given.skeleton!r} has {len(SKELETONS[given.skeleton])}; correct {beside_name(path)}"
            )
        return given.skeleton
    if joints in USUAL:
        return USUAL[joints]
    known = [{"family": family, "skeleton": name} for name in SHIPPED if len(SKELETONS[name]) == joints]
    names = [f"joint_{number}" for number in range(joints)]
    own = [{"family": family, "skeleton": f"{path.stem}{joints}", "joint_names": names}]
    raise EngineError(
        f"model {path}: its outputs {_describe(backend, size)} have {joints} joints, of no usual skeleton; write "
        f"{path.with_suffix('.json')}: {' or '.join(map(_to_keys, known or own))}"
    )


def _find_drawn_person(found: Candidates, person: NDArray[np.float32]) -> float:
    """The score of the candidate at the box ``person`` (4,) px, 0 if there is none."""
    boxes = np.where(np.isfinite(found.boxes[0]), np.clip(found.boxes[0], -FAR_PX, FAR_PX), 0)
    at_place = found.scores[0][compute_iou(person[None], boxes)[0] >= MIN_IOU]
    return float(at_place[(at_place >= 0) & (at_place <= 1)].max(initial=0))


def _run(
    backend: Backend, image: ImageInput, pictures: NDArray[np.uint8], preprocessing: Preprocessing
) -> dict[str, Array]:
    """All outputs for ``pictures`` (N, H, W, 3); a fixed batch is filled up with the last one, and its rows are cut."""
    batch = image.tensor.shape[0] or len(pictures)
    filled = [*pictures, *([pictures[-1]] * (batch - len(pictures)))]
    fed = image.make(filled, preprocessing.colour, preprocessing.mean, preprocessing.std)
    outputs = backend.run({image.tensor.name: fed})
    return {tensor.name: outputs[tensor.name][: len(pictures)] for tensor in backend.describe().outputs}


def _fill_preprocessing(given: SingleStageSignature, image: ImageInput, usual: Preprocessing) -> Preprocessing:
    mean, std = ((0, 0, 0), (1, 1, 1)) if image.is_integer else (usual.mean, usual.std)
    pad = usual.pad if given.pad is None else given.pad
    return Preprocessing(
        given.fit or usual.fit, pad, given.colour or usual.colour, given.mean or mean, given.std or std
    )


def _get_preprocessing(signature: SingleStageSignature) -> Preprocessing:
    own = FAMILIES[signature.family].preprocessing[0]
    return Preprocessing(
        signature.fit or own.fit,
        signature.pad or 0,
        signature.colour or own.colour,
        signature.mean or own.mean,
        signature.std or own.std,
    )


def _get_scaling(preprocessing: Preprocessing) -> dict[str, object]:
    return {"colour": preprocessing.colour, "mean": preprocessing.mean, "std": preprocessing.std}


def _to_keys(fields: Mapping[str, object]) -> str:
    return msgspec.json.encode(fields).decode()


def _describe(backend: Backend, size: tuple[int, int]) -> str:
    return f"{format_tensors(backend.describe().outputs)} for an input of {size[0]}x{size[1]}"
