"""The DetectorSignature: what a detector is fed; one JSON file beside an ``.onnx`` of a detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.spec.signature import Colour, Fit, Pixels, Triple


class DetectorSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one detector is fed; every field that is left out is its family's habit.

    ``input_size`` (width, height) matters only for files that take any size. ``mean`` and ``std`` are in grey levels,
    in the order of ``colour``. ``person`` is the class that is a person.
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
    """The signature in a JSON file. Raises :class:`EngineError` naming the file and the fault."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=DetectorSignature)
    except (msgspec.DecodeError, ValueError) as error:
        raise EngineError(f"Signature {path}: {error}") from error
