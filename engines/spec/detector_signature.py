"""The signature of a detector: how a frame is prepared for it. A JSON file beside the detector's ``.onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.spec.signature import Colour, Fit, Pixels, Triple


class DetectorSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input and class of one detector; fields left out take the defaults of its ``family``.

    ``family`` is a name of :data:`engines.inference.detector_families.FAMILIES`, or ``auto`` to recognise it by its
    outputs. ``input_size`` (width, height) px is used only if the network takes any size. ``fit`` and ``pad`` (a grey
    level) are as in :func:`engines.vision.letterbox.fit_frame`; ``mean`` and ``std`` are grey levels in the order of
    ``colour``. ``person`` is the index of the person class.
    """

    name: str = ""
    family: str = "auto"
    input_size: tuple[Pixels, Pixels] = (640, 640)
    fit: Fit | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] | None = None
    colour: Colour | None = None
    mean: Triple | None = None
    std: Triple | None = None
    person: Annotated[int, Meta(ge=0)] = 0
    licence: str = ""
    source: str = ""


def read_detector_signature(path: Path) -> DetectorSignature:
    """The detector signature in a JSON file. Raises :class:`EngineError` naming file and field."""
    try:
        return read_json(path, DetectorSignature)
    except FormatError as error:
        raise EngineError(error.within(f"Signature {path}")) from error
