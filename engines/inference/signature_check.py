"""Does a network fit its Signature? And what Signature would fit a network that came without?"""

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
    """Raises :class:`EngineError`, naming what the file has and what the Signature says, unless they agree."""
    _check_input(signature, signature.input_shape, _first(signature, "input", signature.inputs, description.inputs))
    _check_outputs(signature, description)


def check_split_signature(signature: Signature, description: Description) -> None:
    """The same of a network that is cut in two: frames of one person go in, one by one, and come out of the head."""
    _check_input(signature, signature.frame_shape, _first(signature, "input", (), description.inputs))
    if description.frames not in (None, signature.frames):
        raise EngineError(
            f"model {signature.name}: its head takes windows of {description.frames} frames, but its Signature says "
            f"{signature.frames} (past {signature.past}, future {signature.future}); correct the Signature"
        )
    _check_outputs(signature, description)


def _check_outputs(signature: Signature, description: Description) -> None:
    outputs = _named(signature, "output", signature.outputs, description.outputs)
    wanted = _output_shapes(signature)
    if len(outputs) < len(wanted):
        raise EngineError(
            f"model {signature.name}: decode={signature.decode} needs {len(wanted)} outputs, but it has "
            f"{_listed(outputs)}; correct its Signature"
        )
    for tensor, shape in zip(outputs, wanted, strict=False):
        _check_output(signature, tensor, shape)


def _check_input(signature: Signature, shape: tuple[int, ...], tensor: Tensor) -> None:
    batch = tensor.shape[0] or 1 if tensor.shape else 1
    if not tensor.takes((batch, *shape)):
        raise EngineError(
            f"model {signature.name}: its input {tensor.name!r} is {tensor}, but its Signature says "
            f"{_with_batch(shape)}; correct input_size, past, future or layout"
        )
    if tensor.dtype != signature.pixel:
        raise EngineError(
            f"model {signature.name}: its input {tensor.name!r} is {tensor}, but its Signature says pixel="
            f"{signature.pixel}; correct the Signature"
        )


def _check_output(signature: Signature, tensor: Tensor, shape: tuple[int | None, ...]) -> None:
    agree = len(tensor.shape) == len(shape) + 1 and all(
        None in (has, says) or has == says for has, says in zip(tensor.shape[1:], shape, strict=True)
    )
    if not agree:
        raise EngineError(
            f"model {signature.name}: its output {tensor.name!r} is {tensor}, but its Signature says "
            f"{_with_batch(shape)} (skeleton={signature.skeleton}, decode={signature.decode}); correct the Signature"
        )


def _output_shapes(signature: Signature) -> list[tuple[int | None, ...]]:
    """Without the batch; None where a Signature says nothing."""
    joints = len(signature.joints)
    if signature.decode == "simcc":
        return [(joints, round(size * signature.simcc_split)) for size in signature.input_size]
    if signature.decode == "points":
        return [(joints, 3)]
    return [(joints, None, None)]


def _first(signature: Signature, kind: str, names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> Tensor:
    found = _named(signature, kind, names, tensors)
    if not found:
        raise EngineError(f"model {signature.name}: it has no {kind}")
    return found[0]


def _named(signature: Signature, kind: str, names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors the Signature names, in its order; all of them when it names none."""
    own = {tensor.name: tensor for tensor in tensors}
    for name in names:
        if name not in own:
            raise EngineError(
                f"model {signature.name}: its Signature names the {kind} {name!r}, but the file has {', '.join(own)}"
            )
    return tuple(own[name] for name in names) if names else tensors


def _with_batch(shape: Iterable[int | None]) -> str:
    return f"(N, {', '.join('any' if size is None else str(size) for size in shape)})"


def _listed(tensors: Iterable[Tensor]) -> str:
    return ", ".join(f"{tensor.name!r} {tensor}" for tensor in tensors)


def infer_signature(name: str, path: Path) -> Signature:
    """A Signature for a network that came without, where its shapes leave no doubt; warns of what they cannot show.

    One picture in, and 17 heatmaps or a pair of SimCC outputs for 17 joints out, can hardly be anything but COCO. The
    order of colours and the normalisation cannot be seen; RGB and ImageNet's are the field's habit, and are assumed.
    Raises :class:`EngineError` where the shapes do leave doubt.
    """
    backend = make_backend(path)
    backend.open()
    try:
        signature = _inferred(name, backend.describe())
    finally:
        backend.close()
    if signature is None:
        raise EngineError(
            f"model {path}: it has no Signature, and its shapes do not say what it is; "
            f"write {path.with_suffix('.json')} (docs/reference/models.md says what goes into it)"
        )
    logger.warning(
        "model %s has no Signature; assuming decode=%s, skeleton=coco17, RGB, ImageNet mean and std, box x1.25. "
        "Write %s to be sure",
        path,
        signature.decode,
        path.with_suffix(".json").name,
    )
    return signature


def _inferred(name: str, description: Description) -> Signature | None:
    if len(description.inputs) != 1 or len(description.inputs[0].shape) != 4:
        return None
    _, channels, height, width = description.inputs[0].shape
    if channels != 3 or width is None or height is None:
        return None
    shapes = [tensor.shape[1:] for tensor in description.outputs]
    if _are_heatmaps(shapes, width, height):
        return Signature(name=name, input_size=(width, height))
    split = _simcc_split(shapes, width, height)
    return Signature(name=name, input_size=(width, height), decode="simcc", simcc_split=split) if split else None


def _are_heatmaps(shapes: list[tuple[int | None, ...]], width: int, height: int) -> bool:
    if not shapes or len(shapes[0]) != 3 or shapes[0][0] != COCO_JOINTS:
        return False
    _, rows, columns = shapes[0]
    return rows is not None and columns is not None and width * rows == height * columns


def _simcc_split(shapes: list[tuple[int | None, ...]], width: int, height: int) -> float | None:
    """How many bins a pixel has, the same both ways, x first; None for any other shapes."""
    if len(shapes) != 2 or any(len(shape) != 2 or shape[0] != COCO_JOINTS for shape in shapes):
        return None
    across, down = shapes[0][1], shapes[1][1]
    if across is None or down is None or across * height != down * width:
        return None
    return across / width
