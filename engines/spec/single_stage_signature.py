"""The signature of a single-stage pose network as others export it: a JSON file beside its ``.onnx``.

An export of posestream has a :class:`engines.spec.picture_signature.PictureSignature` in its manifest instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.json import read_json
from engines.spec.picture_signature import PictureSignature, Suppression
from engines.spec.signature import Colour, Fit, JointName, Pixels, Triple, Units, check_skeleton

Family = Literal["auto", "yolo-pose", "yolo-pose-end-to-end", "movenet-multipose", "rtmo"]


class SingleStageSignature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Input, outputs and skeleton of one network; fields left out take what its outputs for a trial picture say.

    ``family`` is a name of :data:`engines.inference.single_stage_families.FAMILIES`. ``input_size`` (width, height) px
    is used only if the network takes any size; 640x640 without it. ``fit``, ``pad``, ``colour``, ``mean``, ``std`` and
    ``units`` are as in :class:`engines.spec.detector_signature.DetectorSignature`; ``skeleton``, ``joint_names`` and
    ``limbs`` as in :class:`engines.spec.signature.Signature`. An empty ``skeleton`` is the usual one of as many joints.
    """

    name: str = ""
    family: Family = "auto"
    input_size: tuple[Pixels, Pixels] | None = None
    skeleton: str = ""
    joint_names: Annotated[tuple[JointName, ...], Meta(max_length=1024)] = ()
    limbs: Annotated[tuple[tuple[str, str], ...], Meta(max_length=4096)] = ()
    fit: Fit | None = None
    pad: Annotated[int, Meta(ge=0, le=255)] | None = None
    colour: Colour | None = None
    mean: Triple | None = None
    std: Triple | None = None
    units: Units | None = None
    suppression: Suppression = Suppression(iou=0.65)
    max_people: Annotated[int, Meta(ge=1, le=1000)] = 100
    trained_on: str = ""
    licence: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.skeleton:
            check_skeleton(self.skeleton, self.joint_names, self.limbs)
        elif self.joint_names or self.limbs:
            raise ValueError("joint_names and limbs define a skeleton; give its name as skeleton")

    def to_picture_signature(self) -> PictureSignature:
        """The signature for the engine; every field must be filled."""
        pad = self.pad or 0
        return PictureSignature(
            name=self.name,
            input_size=self.input_size or (640, 640),
            skeleton=self.skeleton,
            joint_names=self.joint_names,
            limbs=self.limbs,
            fit=self.fit or "top-left",
            pad=(pad, pad, pad),
            suppression=self.suppression,
            max_people=self.max_people,
            trained_on=self.trained_on,
        )


def read_single_stage_signature(path: Path) -> SingleStageSignature:
    """The signature in a JSON file. Raises :class:`EngineError` naming file and field."""
    try:
        return read_json(path, SingleStageSignature)
    except FormatError as error:
        raise EngineError(error.within(f"Signature {path}")) from error
