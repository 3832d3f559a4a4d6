"""Checks that a network fits its Signature, and inference of a Signature for a network without one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from engines.backends.registry import make_backend
from engines.errors import EngineError
from engines.spec.signature import Signature
from engines.spec.tensors import Description, Tensor

logger = logging.getLogger(__name__)

COCO_JOINTS = 17


def check_signature(signature: Signature, description: Description) -> None:
    """Raise :class:`EngineError`, naming both sides, unless inputs and outputs agree with the Signature."""
    _check_input(signature, signature.input_shape, _get_first(signature, "input", signature.inputs, description.inputs))
    _check_outputs(signature, description)


def check_split_signature(signature: Signature, description: Description) -> None:
    """As :func:`check_signature`, for backbone and head: the input is one frame of one person."""
    _check_input(signature, signature.frame_shape, _get_first(signature, "input", (), description.inputs))
    if description.frames not in (None, signature.frames):
        raise EngineError(
            f"model {signature.name}: its head takes windows of {description.frames} frames, but its Signature says "
            f"{signature.frames} (past {signature.past}, future {signature.future}); correct the Signature"
        )
    _check_outputs(signature, description)


def _check_outputs(signature: Signature, description: Description) -> None:
    outputs = _select(signature, "output", signature.outputs, description.outputs)
    expected = _list_output_shapes(signature)
    if len(outputs) < len(expected):
        raise EngineError(
            f"model {signature.name}: decode={signature.decode} needs {len(expected)} outputs, but it has "
            f"{_format_tensors(outputs)}; correct its Signature"
        )
    for tensor, shape in zip(outputs, expected, strict=False):
        _check_output(signature, tensor, shape)


def _check_input(signature: Signature, shape: tuple[int, ...], tensor: Tensor) -> None:
    batch = tensor.shape[0] or 1 if tensor.shape else 1
    if not tensor.accepts((batch, *shape)):
        raise EngineError(
            f"model {signature.name}: its input {tensor.name!r} is {tensor}, but its Signature says "
            f"{_format_shape(shape)}; correct input_size, past, future or layout"
        )
    if tensor.dtype != signature.pixel:
        raise EngineError(
            f"model {signature.name}: its input {tensor.name!r} is {tensor}, but its Signature says pixel="
            f"{signature.pixel}; correct the Signature"
        )


def _check_output(signature: Signature, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    fits = len(tensor.shape) == len(shape) + 1 and all(
        None in (actual, expected) or actual == expected
        for actual, expected in zip(tensor.shape[1:], shape, strict=True)
    )
    if not fits:
        raise EngineError(
            f"model {signature.name}: its output {tensor.name!r} is {tensor}, but its Signature says "
            f"{_format_shape(shape)} (skeleton={signature.skeleton}, decode={signature.decode}); correct the Signature"
        )


def _list_output_shapes(signature: Signature) -> list[tuple[int | None, ...]]:
    """Expected shapes without the batch; None for any size."""
    joints = len(signature.joints)
    if signature.decode == "simcc":
        return [(joints, round(size * signature.simcc_split)) for size in signature.input_size]
    if signature.decode == "points":
        return [(joints, 3)]
    return [(joints, None, None)]


def _get_first(signature: Signature, kind: str, names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> Tensor:
    found = _select(signature, kind, names, tensors)
    if not found:
        raise EngineError(f"model {signature.name}: it has no {kind}")
    return found[0]


def _select(signature: Signature, kind: str, names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors called ``names``, in that order; all tensors if ``names`` is empty."""
    own = {tensor.name: tensor for tensor in tensors}
    for name in names:
        if name not in own:
            raise EngineError(
                f"model {signature.name}: its Signature names the {kind} {name!r}, but the file has {', '.join(own)}"
            )
    return tuple(own[name] for name in names) if names else tensors


def _format_shape(shape: Iterable[int | None]) -> str:
    return f"(N, {', '.join('any' if size is None else str(size) for size in shape)})"


def _format_tensors(tensors: Iterable[Tensor]) -> str:
    return ", ".join(f"{tensor.name!r} {tensor}" for tensor in tensors)


def infer_signature(name: str, path: Path) -> Signature:
    """A Signature for a network without one, from its shapes; warns of what is assumed.

    One image in, and 17 heatmaps or two SimCC outputs for 17 joints out, means COCO's skeleton. Colour order and
    normalisation cannot be seen from shapes: RGB with ImageNet's mean and std is assumed. Raises :class:`EngineError`
    if the shapes are ambiguous.
    """
    backend = make_backend(path)
    backend.open()
    try:
        signature = _infer(name, backend.describe())
    finally:
        backend.close()
    if signature is None:
        raise EngineError(
            f"model {path}: it has no Signature, and none can be inferred from its shapes; "
            f"write {path.with_suffix('.json')} (see docs/reference/models.md)"
        )
    logger.warning(
        "model %s has no Signature; assuming decode=%s, skeleton=coco17, RGB, ImageNet mean and std, box x1.25. "
        "Write %s to be sure",
        path,
        signature.decode,
        path.with_suffix(".json").name,
    )
    return signature


def _infer(name: str, description: Description) -> Signature | None:
    if len(description.inputs) != 1 or len(description.inputs[0].shape) != 4:
        return None
    _, channels, height, width = description.inputs[0].shape
    if channels != 3 or width is None or height is None:
        return None
    shapes = [tensor.shape[1:] for tensor in description.outputs]
    if _has_heatmaps(shapes, width, height):
        return Signature(name=name, input_size=(width, height))
    split = _find_simcc_split(shapes, width, height)
    return Signature(name=name, input_size=(width, height), decode="simcc", simcc_split=split) if split else None


def _has_heatmaps(shapes: list[tuple[int | None, ...]], width: int, height: int) -> bool:
    if not shapes or len(shapes[0]) != 3 or shapes[0][0] != COCO_JOINTS:
        return False
    _, rows, columns = shapes[0]
    return rows is not None and columns is not None and width * rows == height * columns


def _find_simcc_split(shapes: list[tuple[int | None, ...]], width: int, height: int) -> float | None:
    """Bins per pixel, equal in x and y; None if the shapes are not those of SimCC, x first."""
    if len(shapes) != 2 or any(len(shape) != 2 or shape[0] != COCO_JOINTS for shape in shapes):
        return None
    across, down = shapes[0][1], shapes[1][1]
    if across is None or down is None or across * height != down * width:
        return None
    return across / width
