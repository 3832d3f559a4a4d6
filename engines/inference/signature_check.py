"""Checks that a network fits its Signature."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from engines.errors import EngineError
from engines.inference.image_input import format_tensors, is_integer
from engines.spec.signature import Signature
from engines.spec.tensors import Description, Tensor

BLAZEPOSE_VALUES = 195
"""39 landmarks of five numbers."""

Shapes = list[tuple[int | None, ...]]
"""The shapes that one output may have, without the batch; None for any size."""


def adapt_layout(signature: Signature, description: Description) -> Signature:
    """``signature`` with layout ``nhwc`` if the network takes single frames of its size so, and no others."""
    tensor = _get_first(signature, "input", signature.inputs, description.inputs)
    width, height = signature.input_size
    is_last = tensor.accepts((tensor.shape[0] or 1, height, width, 3)) if tensor.shape else False
    if signature.layout != "nchw" or signature.frames > 1 or not is_last or tensor.shape[1] is None:
        return signature
    return msgspec.structs.replace(signature, layout="nhwc")


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
            f"{format_tensors(outputs)}; correct its Signature"
        )
    for tensor, shapes in zip(outputs, expected, strict=False):
        _check_output(signature, tensor, shapes)


def _check_input(signature: Signature, shape: tuple[int, ...], tensor: Tensor) -> None:
    batch = tensor.shape[0] or 1 if tensor.shape else 1
    if not tensor.accepts((batch, *shape)):
        raise EngineError(
            f"model {signature.name}: its input {tensor.name!r} is {tensor}, but its Signature says "
            f"{_format_shape(shape)}; correct input_size, past, future or layout"
        )
    if signature.pixel == "uint8" and tensor.dtype != "uint8":
        raise EngineError(
            f"model {signature.name}: its input {tensor.name!r} is {tensor}, but its Signature says pixel="
            f"{signature.pixel}; correct the Signature"
        )
    if signature.pixel == "float32" and is_integer(tensor) and (any(signature.mean) or set(signature.std) != {1}):
        raise EngineError(
            f"model {signature.name}: its input {tensor.name!r} is {tensor}, so it takes grey levels, but its "
            f'Signature normalises them; write "mean": [0, 0, 0], "std": [1, 1, 1] into it'
        )


def _check_output(signature: Signature, tensor: Tensor, shapes: Shapes) -> None:
    if not any(_fits(tensor, shape) for shape in shapes):
        raise EngineError(
            f"model {signature.name}: its output {tensor.name!r} is {tensor}, but its Signature says "
            f"{_format_shape(shapes[0])} (skeleton={signature.skeleton}, decode={signature.decode}); "
            "correct the Signature"
        )


def _fits(tensor: Tensor, shape: tuple[int | None, ...]) -> bool:
    return len(tensor.shape) == len(shape) + 1 and all(
        None in (actual, expected) or actual == expected
        for actual, expected in zip(tensor.shape[1:], shape, strict=True)
    )


def _list_output_shapes(signature: Signature) -> list[Shapes]:
    """What each output that is read may be, the usual shape first."""
    joints = len(signature.joints)
    if signature.decode == "simcc":
        return [[(joints, round(size * signature.simcc_split))] for size in signature.input_size]
    if signature.decode == "points":
        return [[(joints, 3), (joints, 2), (1, joints, 3)]]
    if signature.decode == "blazepose":
        return [[(BLAZEPOSE_VALUES,), (1, 1, BLAZEPOSE_VALUES)]]
    return [[(joints, None, None), (None, None, joints)]]


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
