"""Inference of a Signature for a network without one, from its shapes and from its keypoints of a drawn person.

The number of joints says which skeleton; that the drawn person's nose, hips and ankles come out one above the other
says that axes, units and preprocessing are right. Where they do not, and shapes leave several, the keys to write are
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from engines.backends.base import Backend
from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.inference.batching import pad_batch
from engines.inference.decoding import decode
from engines.inference.image_input import ImageInput, format_tensors, get_image_input
from engines.inference.signature_check import BLAZEPOSE_VALUES
from engines.skeletons import SHIPPED, SKELETONS
from engines.spec.model_files import fingerprint_model
from engines.spec.signature import IMAGENET_MEAN, IMAGENET_STD, Signature, Triple
from engines.spec.tensors import Array
from engines.vision.trial_picture import draw_person

USUAL = {17: "coco17", 26: "halpe26", 33: "blazepose33", 133: "coco-wholebody133"}
"""The skeleton by its number of joints, where the field has one usual one."""

GREY: tuple[Triple, Triple] = ((0, 0, 0), (1, 1, 1))
UNIT: tuple[Triple, Triple] = ((0, 0, 0), (255, 255, 255))
IMAGENET: tuple[Triple, Triple] = (IMAGENET_MEAN, IMAGENET_STD)

Outputs = Mapping[str, Array]
Fields = dict[str, Any]

FRACTIONS_UP_TO = 2.0
"""Coordinates below this are shares of the crop's size."""


@dataclass(frozen=True)
class _Format:
    """The ``fields`` of a Signature that outputs may have, for ``joints`` joints, and the usual preprocessing first."""

    joints: int
    fields: Fields
    scalings: tuple[tuple[Triple, Triple], ...] = (IMAGENET, UNIT, GREY)


class Inferred(NamedTuple):
    """A ``signature``, and a ``warning`` of what it assumes."""

    signature: Signature
    warning: str


def infer_signature(name: str, path: Path) -> Inferred:
    """A Signature for a network without one. The network is opened once for a file, however often this is called.

    Raises :class:`EngineError` with the shapes and the keys to write, if they are ambiguous.
    """
    return _infer_once(name, path, fingerprint_model(path))


@lru_cache(maxsize=16)
def _infer_once(name: str, path: Path, fingerprint: str) -> Inferred:  # noqa: ARG001 - part of the cache's key
    backend = make_backend(path)
    backend.open()
    try:
        network = _Network(name, path, backend, get_image_input(f"model {path}", backend.describe()))
        signature, is_upright = _infer(network)
    finally:
        backend.close()
    doubt = "" if is_upright else " (its keypoints of a drawn person are not in order)"
    return Inferred(
        signature,
        f"model {path} has no Signature; assuming {_to_keys(signature)}{doubt}. Write "
        f"{path.with_suffix('.json').name} to be sure",
    )


@dataclass(frozen=True)
class _Network:
    name: str
    path: Path
    backend: Backend
    image: ImageInput

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) px. Raises :class:`EngineError` if the network takes any size."""
        width, height = self.image.size
        if width is None or height is None:
            raise EngineError(
                f"model {self.path}: it has no Signature, and its input {self.image.tensor} takes any size; write "
                f'{self.path.with_suffix(".json")}: {{"name":"{self.name}","input_size":[192,256]}}, with its own size'
            )
        return width, height

    def run(self, scaling: tuple[Triple, Triple]) -> dict[str, Array]:
        """All outputs for the trial picture, of a batch of one."""
        description = self.backend.describe()
        fed = pad_batch(self.image.make([draw_person(self.size)[0]], "rgb", *scaling), description)
        outputs = self.backend.run({self.image.tensor.name: fed})
        return {tensor.name: outputs[tensor.name][:1] for tensor in description.outputs}


def _infer(network: _Network) -> tuple[Signature, bool]:
    """The first format, with its first scaling, whose keypoints are upright; else the usual one, if there is one."""
    outputs = network.run(GREY if network.image.is_integer else IMAGENET)
    if not all(np.isfinite(array).all() for array in outputs.values()):
        raise EngineError(f"model {network.path}: its outputs for a trial picture are not finite; export it again")
    formats = list(_list_formats(outputs, network.size))
    if not formats:
        raise EngineError(_say_unknown(network))
    if unknown := [one for one in formats if one.joints not in USUAL]:
        raise EngineError(_say_skeleton(network, unknown[0]))
    candidates = [[_make(network, one, scaling) for scaling in _list_scalings(network, one)] for one in formats]
    tried = (one for each in candidates for one in each if _is_upright(one, network.run((one.mean, one.std))))
    upright = next(tried, None)
    if upright is None and len(formats) > 1:
        raise EngineError(_say_unsure(network, [one[0] for one in candidates]))
    return upright or candidates[0][0], upright is not None


def _list_scalings(network: _Network, found: _Format) -> Sequence[tuple[Triple, Triple]]:
    return (GREY,) if network.image.is_integer else found.scalings


def _make(network: _Network, found: _Format, scaling: tuple[Triple, Triple]) -> Signature:
    fields: Fields = {
        "skeleton": USUAL.get(found.joints, "coco17"),
        "mean": scaling[0],
        "std": scaling[1],
        **found.fields,
    }
    layout: Literal["nchw", "nhwc"] = "nhwc" if network.image.is_nhwc else "nchw"
    return Signature(name=network.name, input_size=network.size, layout=layout, **fields)


def _list_formats(outputs: Outputs, size: tuple[int, int]) -> Iterator[_Format]:
    """The formats that these outputs may have; several only if numbers do not tell axes."""
    shapes = {name: array.shape[1:] for name, array in outputs.items()}
    first = next(iter(shapes))
    if landmarks := [name for name, shape in shapes.items() if np.prod(shape) == BLAZEPOSE_VALUES]:
        yield _Format(33, {"decode": "blazepose", "outputs": (landmarks[0],)}, (UNIT,))
    elif len(shapes) == 1 and len(shapes[first]) == 3 and shapes[first][0] == 1 and shapes[first][2] == 3:
        yield _Format(shapes[first][1], {"decode": "points", "axes": "yx", "units": "fractions"}, (GREY, UNIT))
    elif len(shapes[first]) == 2 and shapes[first][1] in (2, 3):
        yield from _list_points(outputs[first])
    elif maps := {name: joints for name, shape in shapes.items() if (joints := _find_heatmaps(shape, size))}:
        known = {name: joints for name, joints in maps.items() if joints in USUAL} or maps
        yield from (_Format(joints, {"decode": "heatmap", **_name(shapes, name)}) for name, joints in known.items())
    elif len(shapes) == 2:
        yield from _list_simcc(shapes, size)


def _name(shapes: Mapping[str, object], *names: str) -> Fields:
    """The outputs that are read, unless they are the file's first ones in its order."""
    return {} if tuple(shapes)[: len(names)] == names else {"outputs": names}


def _list_simcc(shapes: Mapping[str, tuple[int, ...]], size: tuple[int, int]) -> Iterator[_Format]:
    """SimCC, x first; or y first, if only that fits."""
    for names in (tuple(shapes), tuple(shapes)[::-1]):
        if split := _find_simcc_split([shapes[name] for name in names], size):
            fields = {"decode": "simcc", "simcc_split": split, **_name(shapes, *names)}
            yield _Format(shapes[names[0]][0], fields)
            return


def _list_points(points: Array) -> Iterator[_Format]:
    units = "fractions" if float(np.abs(points[..., :2]).max()) <= FRACTIONS_UP_TO else "pixels"
    for axes in ("xy", "yx"):
        yield _Format(points.shape[1], {"decode": "points", "axes": axes, "units": units})


def _find_heatmaps(shape: tuple[int, ...], size: tuple[int, int]) -> int | None:
    """The number of maps (K, h, w) or (h, w, K) of the input's aspect ratio."""
    if len(shape) != 3:
        return None
    for joints, rows, columns in (shape, (shape[2], shape[0], shape[1])):
        if size[0] * rows == size[1] * columns and 1 < columns <= size[0]:
            return joints
    return None


def _find_simcc_split(shapes: list[tuple[int, ...]], size: tuple[int, int]) -> float | None:
    """Bins per pixel, equal in x and y; None if the shapes are not those of SimCC, x first."""
    if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        return None
    across, down = shapes[0][1], shapes[1][1]
    return across / size[0] if across * size[1] == down * size[0] and across >= size[0] else None


def _is_upright(signature: Signature, outputs: Outputs) -> bool:
    """True if the drawn person's nose, hips and ankles are one above the other, in the picture."""
    names = signature.outputs or tuple(outputs)
    (points,), _ = decode(signature, [outputs[name] for name in names])
    joints = SKELETONS[signature.skeleton]
    heights = [np.mean([points[joints.index(name)] for name in names], axis=0) for names in _LEVELS]
    spread = np.diff(np.array(heights)[:, 1]) / signature.input_size[1]
    is_inside = bool((np.array(heights) >= 0).all() and (np.array(heights) <= signature.input_size).all())
    return is_inside and bool((spread > MIN_STEP).all())


_LEVELS = (("nose",), ("left_hip", "right_hip"), ("left_ankle", "right_ankle"))
MIN_STEP = 0.08
"""The share of the picture's height between two of these levels, of which the drawn person has about 0.25."""


def _to_keys(signature: Signature) -> str:
    """The fields of a Signature that are not the defaults, as JSON."""
    usual = Signature(name="", input_size=(8, 8))
    fields = ("name", "input_size", "skeleton", "decode", "colour", "mean", "std")
    values = {
        key: getattr(signature, key)
        for key in signature.__struct_fields__
        if key in fields or getattr(signature, key) != getattr(usual, key)
    }
    return msgspec.json.encode(values).decode()


def _say(network: _Network, what: str) -> str:
    shapes = format_tensors(network.backend.describe().outputs)
    size = "x".join(map(str, network.size))
    return f"model {network.path}: it has no Signature, and its outputs {shapes} for an input of {size} {what}"


def _say_unknown(network: _Network) -> str:
    return _say(
        network,
        "are no heatmaps (N, K, h, w) of its aspect ratio, pair of SimCC outputs (N, K, bins) or points (N, K, 3) of "
        "one person; export it with one of these, or use posedetect if it takes whole pictures",
    )


def _say_skeleton(network: _Network, found: _Format) -> str:
    """Known skeletons of as many joints, or names to replace."""
    known = [name for name in SHIPPED if len(SKELETONS[name]) == found.joints]
    usual = _to_keys_of(network, found)
    choices = [{**usual, "skeleton": name} for name in known]
    names = [f"joint_{number}" for number in range(found.joints)]
    choices = choices or [{**usual, "skeleton": f"{network.name}{found.joints}", "joint_names": names}]
    keys = " or ".join(msgspec.json.encode(choice).decode() for choice in choices)
    return _say(
        network, f"have {found.joints} joints, of no usual skeleton; write {network.path.with_suffix('.json')}: {keys}"
    )


def _to_keys_of(network: _Network, found: _Format) -> Fields:
    layout = {"layout": "nhwc"} if network.image.is_nhwc else {}
    scaling = {"mean": (0, 0, 0), "std": (1, 1, 1)} if network.image.is_integer else {}
    return {"name": network.name, "input_size": network.size, **found.fields, **layout, **scaling}


def _say_unsure(network: _Network, choices: list[Signature]) -> str:
    keys = " or ".join(map(_to_keys, choices))
    return _say(
        network,
        f"leave x and y open, as its keypoints of a drawn person are not in order; write "
        f"{network.path.with_suffix('.json')}: {keys}",
    )
