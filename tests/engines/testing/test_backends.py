"""The judge of backends lets a good one pass and names what each broken one breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from engines.backends.onnxrt import OnnxRuntime
from engines.errors import EngineError
from engines.spec.tensors import Array, Description, Tensor
from engines.testing.backends import check_backend
from tests.engines import networks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return networks.brightness(tmp_path / "bright.onnx")


class Forgetful(OnnxRuntime):
    """Runs on after it was closed."""

    def close(self) -> None: ...


class NotOpened(OnnxRuntime):
    """Describes itself before it was opened."""

    def describe(self) -> Description:
        self.open()
        return super().describe()


class Boastful(OnnxRuntime):
    """Promises one joint more than it gives."""

    def describe(self) -> Description:
        real = super().describe()
        output = real.outputs[0]
        more = Tensor(output.name, (output.shape[0], 18, *output.shape[2:]), output.dtype)
        return Description(real.inputs, (more,), real.device)


class Renaming(OnnxRuntime):
    """Gives its outputs names nobody was told."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {f"{name}_": array for name, array in super().run(feeds).items()}


class Scribbling(OnnxRuntime):
    """Writes to its inputs."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        for array in feeds.values():
            array += 1
        return outputs


class Reusing(OnnxRuntime):
    """Gives the same memory every time."""

    memory: dict[str, Array]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        held = self.__dict__.setdefault("memory", outputs)
        for name, array in outputs.items():
            if held[name].shape == array.shape:
                held[name][...] = array
        return held


class Wavering(OnnxRuntime):
    """Never gives the same answer twice."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.runs = getattr(self, "runs", 0) + 1
        return {name: array + np.float32(self.runs) for name, array in super().run(feeds).items()}


class Tolerant(OnnxRuntime):
    """Takes inputs it has never heard of."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return super().run({name: array for name, array in feeds.items() if name == "image"})


class Wordy(OnnxRuntime):
    """Complains in two lines."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        try:
            return super().run(feeds)
        except EngineError as error:
            raise EngineError(f"oh dear\n{error}") from error


class Jealous(OnnxRuntime):
    """Serves only the thread that opened it."""

    def open(self) -> None:
        super().open()
        self.mine = threading.get_ident()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        assert threading.get_ident() == self.mine
        return super().run(feeds)


class Guarding(OnnxRuntime):
    """Gives outputs that nobody may write to."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        for array in outputs.values():
            array.setflags(write=False)
        return outputs


class Obliging(OnnxRuntime):
    """Takes whatever numbers it is given."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        known = {name: a.astype(np.float32) if a.dtype == np.uint8 else a for name, a in feeds.items()}
        return super().run(known)


class Sociable(OnnxRuntime):
    """Lets the samples of a batch see each other."""

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().run(feeds)
        return {name: array + array.mean(axis=0, keepdims=True) for name, array in outputs.items()}


def test_onnx_runtime_keeps_every_promise_of_a_backend(path: Path) -> None:
    check_backend(lambda: OnnxRuntime(path))


def test_a_network_of_fixed_batch_keeps_them_too(tmp_path: Path) -> None:
    fixed = networks.brightness(tmp_path / "one.onnx", batch=1)
    check_backend(lambda: OnnxRuntime(fixed))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Forgetful, "run() after close() must raise EngineError"),
        (NotOpened, "describe() before open() must raise EngineError"),
        (Boastful, "describe() promised (any, 18, 16, 12) float32"),
        (Renaming, "run() gave ['heatmaps_'], describe() promised ['heatmaps']"),
        (Scribbling, "run() must not write to its inputs"),
        (Reusing, "outputs must not be overwritten by the next run()"),
        (Wavering, "the same inputs must give the same outputs"),
        (Tolerant, "run() with an unknown input must raise EngineError"),
        (Wordy, "must raise EngineError"),
        (Jealous, "run() from another thread than open()'s failed"),
        (Guarding, "outputs belong to the caller, who may write to them"),
        (Obliging, "an input of dtype uint8 in place of float32 must raise EngineError naming both"),
        (Sociable, "output 'heatmaps' of a sample depends on its company in the batch"),
    ],
)
def test_a_broken_promise_is_named(path: Path, broken: Callable[[Path], OnnxRuntime], words: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_backend(lambda: broken(path))
    assert words in str(caught.value)
