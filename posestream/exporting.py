"""Turns a checkpoint into a folder that runs on any backend."""

from __future__ import annotations

from pathlib import Path

from engines.errors import EngineError
from engines.spec.manifest import Precision


def export(
    network: str,
    *,
    weights: str | Path | None = None,
    random_weights: bool = False,
    precision: Precision = "fp32",
    out: str | Path | None = None,
    force: bool = False,
) -> Path:
    """Export a network to ONNX and return its folder; ``estimate(…, model=folder)`` runs it.

    ``network`` is a name that ``posestream models`` lists, or the path of a ``.yaml``. ``weights`` is a checkpoint,
    ``.pth`` or ``.safetensors``; without it the one that ``posestream pull`` has fetched, or random numbers with
    ``random_weights``. The folder is ``out``, or ``NETWORK-PRECISION`` in the current folder; ``force`` replaces it.

    The exported graphs are compared with PyTorch before the folder is put in place. Raises :class:`EngineError` for an
    unknown network, a checkpoint that does not fit, a comparison that fails, and where PyTorch is not installed.
    ``posestream export --help`` lists more options, TensorRT among them.
    """
    if random_weights and weights is not None:
        raise EngineError(f"random_weights=True and weights={str(weights)!r} exclude each other; give one of them")
    try:
        from export.exporter import export_network
        from export.stages import Request
        from export.weights import Choice
    except ModuleNotFoundError as error:
        raise EngineError(
            f"export needs the package {error.name!r}; install posestream with its extra 'torch'"
        ) from error
    choice = Choice(weights=None if weights is None else Path(weights), random=random_weights)
    folder = None if out is None else Path(out)
    return export_network(Request(network=network, choice=choice, precision=precision, out=folder, force=force))
