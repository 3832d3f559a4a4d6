"""The signature of a detector: how a frame is prepared for it. A JSON file beside the detector's ``.onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.spec.signature import Colour, Fit, Pixels, Triple, Units

BoxKind = Literal["corners", "centres"]
ScoreKind = Literal["probabilities", "logits", "softmax"]


class DetectorSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input, outputs and class of one detector; fields left out take what its ``family`` and a trial picture say.

    ``family`` is a name of :data:`engines.inference.detector_families.FAMILIES`, or ``auto`` to recognise it by its
    outputs. ``input_size`` (width, height) px is used only if the network takes any size; 640x640 without it. ``fit``
    and ``pad`` (a grey level) are as in :func:`engines.vision.letterbox.fit_frame`; ``mean`` and ``std`` are grey
    levels in the order of ``colour``. ``boxes`` are ``corners`` (x1, y1, x2, y2) or ``centres`` (x, y, width, height),
    in ``units`` of pixels or fractions of the input's size. ``scores`` are ``probabilities`` in 0..1 or ``logits``, or
    logits for a ``softmax`` whose last class is nothing. ``person`` is the index of the person class. ``suppress`` says
    that boxes of one person overlap, of which only the best is kept. ``trained_on`` is as in a Signature.
    """

    name: str = ""
    family: str = "auto"
    input_size: tuple[Pixels, Pixels] | None = None
    fit: Fit | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] | None = None
    colour: Colour | None = None
    mean: Triple | None = None
    std: Triple | None = None
    boxes: BoxKind | None = None
    units: Units | None = None
    scores: ScoreKind | None = None
    person: Annotated[int, Meta(ge=0)] | None = None
    suppress: bool | None = None
    trained_on: str = ""
    licence: str = ""
    source: str = ""


def read_detector_signature(path: Path) -> DetectorSignature:
    """The detector signature in a JSON file. Raises :class:`EngineError` naming file and field."""
    try:
        return read_json(path, DetectorSignature)
    except FormatError as error:
        raise EngineError(error.within(f"Signature {path}")) from error
