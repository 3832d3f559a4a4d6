"""``check_backend`` accepts a correct backend and names what each broken one breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnxrt import OnnxRuntime
from engines.spec.tensors import Array, Description, Tensor
from engines.testing.backends import check_backend
from tests.engines import networks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return networks.brightness(tmp_path / "bright.onnx")


class RunsAfterClose(OnnxRuntime):
    """Still runs after ``close()``."""

    def close(self) -> None: ...


class DescribesWhenClosed(OnnxRuntime):
    """Describes itself before ``open()``."""

    def describe(self) -> Description:
        self.open()
        return super().describe()


class WrongShape(OnnxRuntime):
    """Describes one joint more than it returns."""

    def describe(self) -> Description:
        real = super().describe()
        output = real.outputs[0]
        more = Tensor(output.name, (output.shape[0], 18, *output.shape[2:]), output.dtype)
        return Description(real.inputs, (more,), real.device)


class WrongNames(OnnxRuntime):
    """Returns outputs under names that it does not describe."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {f"{name}_": array for name, array in super().run(feeds).items()}


class WritesToInputs(OnnxRuntime):
    """Writes to its inputs."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        for array in feeds.values():
            array += 1
        return outputs


class ReusesOutputs(OnnxRuntime):
    """Returns the same arrays on every call."""

    memory: dict[str, Array]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        held = self.__dict__.setdefault("memory", outputs)
        for name, array in outputs.items():
            if held[name].shape == array.shape:
                held[name][...] = array
        return held


class Nondeterministic(OnnxRuntime):
    """Returns different outputs for the same inputs."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.runs = getattr(self, "runs", 0) + 1
        return {name: array + np.float32(self.runs) for name, array in super().run(feeds).items()}


class IgnoresUnknownInputs(OnnxRuntime):
    """Ignores unknown inputs."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return super().run({name: array for name, array in feeds.items() if name == "image"})


class SingleThread(OnnxRuntime):
    """Works only in the thread that opened it."""

    def open(self) -> None:
        super().open()
        self.thread = threading.get_ident()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert threading.get_ident() == self.thread
        return super().run(feeds)


class ReadOnlyOutputs(OnnxRuntime):
    """Returns read-only outputs."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        for array in outputs.values():
            array.setflags(write=False)
        return outputs


class ConvertsDtypes(OnnxRuntime):
    """Converts inputs of the wrong dtype."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        known = {name: a.astype(np.float32) if a.dtype == np.uint8 else a for name, a in feeds.items()}
        return super().run(known)


class MixesSamples(OnnxRuntime):
    """Mixes the samples of a batch."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        return {name: array + array.mean(axis=0, keepdims=True) for name, array in outputs.items()}


class DisturbedByOthers(OnnxRuntime):
    """Says that several threads may run it at once, which changes its outputs."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, threads=4)
        self.alone = threading.Lock()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        is_alone = self.alone.acquire(blocking=False)
        try:
            time.sleep(0.002)
            return {name: array + np.float32(not is_alone) for name, array in super().run(feeds).items()}
        finally:
            if is_alone:
                self.alone.release()


def test_onnx_runtime_passes(path: Path) -> None:
    check_backend(lambda: OnnxRuntime(path))


def test_a_network_of_fixed_batch_passes(tmp_path: Path) -> None:
    fixed = networks.brightness(tmp_path / "one.onnx", batch=1)
    check_backend(lambda: OnnxRuntime(fixed))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (RunsAfterClose, "run() after close() must raise EngineError"),
        (DescribesWhenClosed, "describe() before open() must raise EngineError"),
        (WrongShape, "describe() says (any, 18, 16, 12) float32"),
        (WrongNames, "run() gave ['heatmaps_'], describe() says ['heatmaps']"),
        (WritesToInputs, "run() must not write to its inputs"),
        (ReusesOutputs, "outputs must not be overwritten by the next run()"),
        (Nondeterministic, "the same inputs must give the same outputs"),
        (IgnoresUnknownInputs, "run() with an unknown input must raise EngineError"),
        (SingleThread, "run() from another thread than open()'s failed"),
        (DisturbedByOthers, "run() in several threads at once must give the outputs of one"),
        (ReadOnlyOutputs, "outputs belong to the caller, who may write to them"),
        (ConvertsDtypes, "an input of dtype uint8 in place of float32 must raise EngineError naming both"),
        (MixesSamples, "output 'heatmaps' of a sample depends on the other samples of the batch"),
    ],
)
def test_a_broken_backend_is_named(path: Path, broken: Callable[[Path], OnnxRuntime], words: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_backend(lambda: broken(path))
    assert words in str(caught.value)
