"""Weights put into an engine that was built without them. Import this module after ``versions.require()`` only."""

from __future__ import annotations

import tensorrt as trt

from engines.backends.trt.preparation import Source
from engines.errors import EngineError


def refit(engine: trt.ICudaEngine, source: Source, log: trt.ILogger) -> None:
    """Fill ``engine`` with the weights of ``source``.

    Raises :class:`EngineError` where the engine is of another graph, so that some weights have no place.
    """
    refitter = trt.Refitter(engine, log)
    parser = trt.OnnxParserRefitter(refitter, log)
    if not parser.refit_from_file(str(source.path)):
        told = parser.get_error(0).desc() if parser.num_errors else "it does not say why"
        raise EngineError(
            f"TensorRT cannot put the weights of {source.path.name} into its engine: {told}; build it anew"
        )
    if missing := refitter.get_missing_weights():
        raise EngineError(
            f"the engine of {source.path.name} lacks {len(missing)} weights that the graph does not name, the first is "
            f"{missing[0]!r}; delete the engine and build it anew"
        )
    if not refitter.refit_cuda_engine():
        raise EngineError(f"TensorRT refused the weights of {source.path.name}; delete the engine and build it anew")
