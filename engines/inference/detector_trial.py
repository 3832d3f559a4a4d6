"""Recognition of a detector's family: by the shapes of its outputs and by what it returns for a trial picture.

Shapes leave several readings: 85 columns may be YOLOX's before or after decoding, or YOLOv5's; four numbers may be
corners or centre and size. So the network is run on a picture with one person at a known place. A reading whose boxes
and scores are impossible is out; the one that finds the person there is right, and so are colours and scaling. If that
leaves several, the error has the keys that decide; if one that finds no person, a warning says what is assumed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np

from engines.errors import EngineError
from engines.inference.detector_families import (
    FAMILIES,
    Family,
    Floats,
    Outputs,
    Preprocessing,
    Size,
    get_family,
)
from engines.inference.detector_readings import list_readings
from engines.spec.detector_signature import DetectorSignature
from engines.vision.boxes import compute_iou
from engines.vision.trial_picture import SMALLER, UNITS, draw_person

_log = logging.getLogger(__name__)

Run = Callable[[Preprocessing, int], Outputs]
"""Runs the network on the trial picture of so many units, see :func:`engines.vision.trial_picture.draw_person`."""

TRIALS = (UNITS, SMALLER)
"""The pictures in which the person is sought until it is found."""

SURE = 0.25
"""The least score of the drawn person that is evidence."""

CERTAIN = 0.6
"""With this score of the drawn person, no other preprocessing is tried."""

CLEAR = 0.5
"""A reading is out if its evidence is below this share of the best."""

MIN_IOU = 0.5
FAR_PX = 1e5

PREPROCESSING_KEYS = ("colour", "mean", "std")
READING_KEYS = ("family", "boxes", "units", "scores", "person")


@dataclass(frozen=True)
class Reading:
    """A complete signature, and the ``evidence`` for it: the score in 0..1 that it gives the drawn person."""

    signature: DetectorSignature
    evidence: float

    @property
    def family(self) -> Family:
        return get_family(self.signature.family)


@dataclass(frozen=True)
class Network:
    """A network: its name, input ``size`` px, ``outputs`` in words, names of ``classes`` if known, how to run it."""

    name: str
    size: Size
    outputs: str
    classes: Sequence[str]
    run: Run
    is_integer: bool = False
    takes_any_size: bool = False


def recognise(network: Network, given: DetectorSignature) -> DetectorSignature:
    """``given`` with every field filled.

    Raises :class:`EngineError` with the outputs and the keys to write if several readings are left. Logs a warning if
    the network does not find the drawn person, so that its preprocessing is assumed.
    """
    runs = lru_cache(network.run)
    first = _list_preprocessing(
        network, given, FAMILIES["yolov8"] if given.family == "auto" else get_family(given.family)
    )
    options = list_readings(runs(first[0], UNITS), network.size, network.classes, given)
    if not options:
        raise EngineError(_say_unknown(network))
    readings = _try(network, options, runs)
    best = max(reading.evidence for reading in readings)
    likely = [reading for reading in readings if best < SURE or reading.evidence >= CLEAR * best]
    # The same numbers read in the same way, with the preprocessing of different families: the first is the usual one.
    if len({(reading.family.decode, _select(reading.signature, READING_KEYS[1:4])) for reading in likely}) > 1:
        choices = [_select(reading.signature, READING_KEYS) for reading in likely]
        raise EngineError(_say_unsure(network, "can be read in several ways, and", choices))
    return _check(network, given, likely[0])


def _try(network: Network, options: Sequence[DetectorSignature], run: Run) -> list[Reading]:
    """The readings for the first trial picture in which one of them finds the drawn person, else for the last."""
    readings: list[Reading] = []
    for units in TRIALS:
        readings = [_read(network, option, run, units) for option in options]
        if max(reading.evidence for reading in readings) >= SURE:
            break
    return readings


def _read(network: Network, option: DetectorSignature, run: Run, units: int) -> Reading:
    """The reading ``option`` with the preprocessing for which it finds the drawn person: the usual one if it does."""
    family = get_family(option.family)
    tried = []
    for preprocessing in _list_preprocessing(network, option, family):
        person = draw_person(network.size, units)[1]
        found = _find_drawn_person(network, family, option, run(preprocessing, units), person)
        tried.append(Reading(_fill(option, preprocessing, found), found.score))
        if found.score >= CERTAIN:
            break
    best = max(reading.evidence for reading in tried)
    return next(reading for reading in tried if best < SURE or reading.evidence >= CLEAR * best)


def _list_preprocessing(network: Network, given: DetectorSignature, family: Family) -> list[Preprocessing]:
    """What published networks want, the family's first, with what the signature states; integers are not normalised.

    ``fit`` and ``pad`` are always the family's: the trial picture has the input's size.
    """
    first, found = family.preprocessing[0], []
    for usual in family.preprocessing:
        mean, std = ((0, 0, 0), (1, 1, 1)) if network.is_integer else (usual.mean, usual.std)
        pad = first.pad if given.pad is None else given.pad
        colour = given.colour or usual.colour
        found.append(Preprocessing(given.fit or first.fit, pad, colour, given.mean or mean, given.std or std))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Drawn:
    """The boxes at the drawn person's place: their best ``score``, its class, and whether there are several."""

    score: float
    person: int
    is_repeated: bool


def _find_drawn_person(
    network: Network, family: Family, option: DetectorSignature, outputs: Outputs, person: Floats
) -> _Drawn:
    """What ``outputs`` have at the box ``person`` (4,) px, read as ``option``."""
    try:
        boxes, scores = family.read(outputs, network.size, option)
    except (IndexError, StopIteration, ValueError) as error:
        raise EngineError(
            f"detector {network.name}: its outputs {network.outputs} are not of family {option.family!r} for an input "
            f"of {network.size[0]}x{network.size[1]}; leave family out, or correct input_size"
        ) from error
    finite = np.where(np.isfinite(boxes), np.clip(boxes, -FAR_PX, FAR_PX), 0)
    place = compute_iou(person[None], finite)[0] >= MIN_IOU
    found = [_score(scores[place], index) for index in _list_person_classes(option, network.classes, scores)]
    return max(found, key=lambda drawn: drawn.score)  # the first of equals


def _score(scores: Floats, person: int) -> _Drawn:
    column = scores[:, person] if person < scores.shape[1] else scores[:0, 0]
    possible = column[(column >= 0) & (column <= 1)]
    best = float(possible.max(initial=0))
    return _Drawn(best, person, is_repeated=best >= SURE and int((possible >= CLEAR * best).sum()) > 1)


def _list_person_classes(option: DetectorSignature, classes: Sequence[str], scores: Floats) -> list[int]:
    """Where the person may be, the likeliest first: COCO's 80 classes begin with it, its 91 have nothing at 0."""
    if option.person is not None:
        return [option.person]
    if "person" in classes:
        return [classes.index("person")]
    return [1, 0] if scores.shape[1] in (90, 91) else [0, 1]


def _fill(option: DetectorSignature, preprocessing: Preprocessing, drawn: _Drawn) -> DetectorSignature:
    is_overlapping = get_family(option.family).overlapping or drawn.is_repeated
    return msgspec.structs.replace(
        option,
        fit=preprocessing.fit,
        pad=preprocessing.pad,
        colour=preprocessing.colour,
        mean=preprocessing.mean,
        std=preprocessing.std,
        person=drawn.person,
        suppress=is_overlapping if option.suppress is None else option.suppress,
    )


def _check(network: Network, given: DetectorSignature, reading: Reading) -> DetectorSignature:
    """Raise if the preprocessing stays open; warn if it is only the usual one."""
    own = reading.signature
    if reading.evidence >= SURE or all(getattr(given, key) is not None for key in PREPROCESSING_KEYS):
        return own
    others = _list_preprocessing(network, given, reading.family)
    if own.family == "dets-labels" and len(others) > 1:  # as common for RTMDet as for YOLOX
        keys = ("family", "person", *PREPROCESSING_KEYS)
        found = [_fill(own, one, _Drawn(0, own.person or 0, is_repeated=False)) for one in others]
        why = f"look like those of family {own.family}, but"
        raise EngineError(_say_unsure(network, why, [_select(one, keys) for one in found]))
    _log.warning(
        "detector %s: read as family=%s, but it finds no person in the drawn trial picture, so its preprocessing is "
        "assumed; write %s.json to be sure: %s",
        network.name,
        own.family,
        network.name,
        _select(own, ("family", "fit", *PREPROCESSING_KEYS)),
    )
    return own


def _select(signature: DetectorSignature, keys: Sequence[str]) -> str:
    """These keys as JSON, without those that are empty."""
    values = {key: getattr(signature, key) for key in keys}
    return msgspec.json.encode({key: value for key, value in values.items() if value is not None}).decode()


def _say_unknown(network: Network) -> str:
    size = f", write input_size into {network.name}.json if it was made for another" if network.takes_any_size else ""
    return (
        f"detector {network.name}: its outputs {network.outputs} for an input of {network.size[0]}x{network.size[1]} "
        f"are of no family ({', '.join(FAMILIES)}); export it with outputs boxes (1, n, 4) and scores (1, n), or use "
        f"posedetect if it returns keypoints too{size}"
    )


def _say_unsure(network: Network, why: str, choices: Sequence[str]) -> str:
    return (
        f"detector {network.name}: its outputs {network.outputs} for an input of {network.size[0]}x{network.size[1]} "
        f"{why} it finds no person in a trial picture that would tell; write into {network.name}.json beside it the "
        f"right one of: {' or '.join(dict.fromkeys(choices))}"
    )
