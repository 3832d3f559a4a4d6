"""Published checkpoints, read into the networks here: every key and every shape checked before anything is copied.

A file is opened with ``weights_only=True``, so nothing in it can run. What surrounds the weights (a training state, a
``module.`` prefix left by data parallelism, an ImageNet classifier) is taken off; names are translated by
``engines.hub.checkpoint_names``; what then does not fit is listed, both sides, and nothing is loaded.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.checkpoint_names import rename_keys
from engines.spec import network

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
_SHOWN = 6
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Layout:
    """How one family of checkpoints is written down."""

    network: str
    """The table of ``engines.hub.checkpoint_names`` that translates it."""
    drop: str = r"(?!)"
    """Keys that have no place here, such as a classifier."""
    spare: str = r"(?!)"
    """Keys that only some networks have a place for, such as the last fusion of branches that a pose head leaves."""
    partial: str = r"(?!)"
    """Of our parameters, those that the file is allowed to lack: an ImageNet file has no pose head."""


LAYOUTS: dict[str, Layout] = {
    "ours": Layout("ours"),
    "hrnet": Layout("hrnet"),
    "hrnet-imagenet": Layout(
        "hrnet",
        drop=r"^(classifier|incre_modules|downsamp_modules|final_layer)\.",
        spare=r"^stage4\.\d+\.fuse_layers\.[123]\.",
        partial=r"^final_layer\.",
    ),
    "hrnet-mmpose": Layout("hrnet-mmpose", drop=r"^data_preprocessor\."),
    "dcpose": Layout("dcpose"),
    "posewarper": Layout("posewarper"),
    "fasrnet": Layout("fasrnet"),
    "fami": Layout("fami"),
    "inspose": Layout("inspose"),
    "resnet-imagenet": Layout("hrnet", drop=r"^fc\."),
}


def read(path: Path) -> StateDict:
    """The tensors of a ``.pth`` or ``.safetensors`` file by their published names, without any wrapper.

    Raises :class:`EngineError` for a missing, truncated or foreign file.
    """
    path = Path(path)
    if not path.is_file():
        raise EngineError(f"checkpoint {str(path)!r}: there is no such file")
    loaded = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    return _bare(_unwrapped(path, loaded))


def _pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EngineError(
            f"checkpoint {str(path)!r} holds more than weights and was not opened, since opening it could run "
            f"what it holds ({_reason(error)}); save its state_dict alone"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise EngineError(f"checkpoint {str(path)!r} is damaged or no checkpoint: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise EngineError(f"checkpoint {str(path)!r} is damaged or no checkpoint: {error}") from None


def _unwrapped(path: Path, loaded: Any) -> Mapping[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    if not tensors:
        found = f"a {type(loaded).__name__}" if not isinstance(loaded, Mapping) else f"{list(loaded)[:4]}"
        raise EngineError(f"checkpoint {str(path)!r} holds no weights but {found}; give a state_dict")
    return tensors


def _bare(tensors: Mapping[str, Tensor]) -> StateDict:
    return {re.sub(r"^(module\.)+", "", key): value for key, value in tensors.items()}


def translate(published: StateDict, layout: str) -> StateDict:
    """Published entries under this project's names, those without a place here left out."""
    if layout not in LAYOUTS:
        raise EngineError(f"no checkpoint layout {layout!r}; there are {', '.join(LAYOUTS)}")
    kept = {key: value for key, value in published.items() if not re.search(LAYOUTS[layout].drop, key)}
    return rename_keys(LAYOUTS[layout].network, kept)


def load(model: nn.Module, path: Path, layout: str, into: str = "") -> list[str]:
    """Fill ``model`` (or its submodule ``into``, such as ``hrnet``) from a published file; the names left as they were.

    Raises :class:`EngineError` listing what is missing, what has no place and which shapes differ; ``model`` is then
    untouched.
    """
    target = model.get_submodule(into) if into else model
    ours, theirs = target.state_dict(), translate(read(path), layout)
    theirs = {key: value for key, value in theirs.items() if key in ours or not _spare(key, LAYOUTS[layout])}
    faults = _faults(ours, theirs, LAYOUTS[layout])
    if any(faults.values()):
        raise EngineError(
            f"checkpoint {str(path)!r} (layout {layout}) does not fit {type(model).__name__}: {_told(faults)}"
        )
    target.load_state_dict(theirs, strict=False)
    return [key for key in ours if key not in theirs and not key.endswith(_COUNTER)]


def fits(model: nn.Module, published: StateDict, layout: str) -> bool:
    """True when ``published`` (as :func:`read`) fills ``model`` in this layout, with nothing left over."""
    return count_mismatches(model, published, layout) == 0


def count_mismatches(model: nn.Module, published: StateDict, layout: str) -> int:
    """How many weights are missing, have no place or have another shape."""
    ours, theirs = model.state_dict(), translate(published, layout)
    theirs = {key: value for key, value in theirs.items() if key in ours or not _spare(key, LAYOUTS[layout])}
    return sum(map(len, _faults(ours, theirs, LAYOUTS[layout]).values()))


def _spare(key: str, layout: Layout) -> bool:
    # Batch normalisation counts batches since PyTorch 0.4.1: older files lack the counters, and nothing reads them.
    return key.endswith(_COUNTER) or re.search(layout.spare, key) is not None


def _faults(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], layout: Layout) -> dict[str, list[str]]:
    """What does not fit, by kind."""
    absent = [key for key in ours if key not in theirs and not key.endswith(_COUNTER)]
    return {
        "missing": [key for key in absent if not re.search(layout.partial, key)],
        "without a place": [key for key in theirs if key not in ours],
        "of another shape": [
            f"{key}: {tuple(theirs[key].shape)} in the file, {tuple(ours[key].shape)} here"
            for key in ours
            if key in theirs and theirs[key].shape != ours[key].shape
        ],
    }


def _told(faults: Mapping[str, list[str]]) -> str:
    """How many of each kind, and the first few of them."""
    return "; ".join(
        f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{', …' if len(keys) > _SHOWN else ''})"
        for kind, keys in faults.items()
        if keys
    )


def pretrained(name: str) -> nn.Module:
    """The network of that name with the first of its published weights that are on this machine.

    Raises :class:`EngineError` when there are none, saying how to get them, and as :func:`load` does.
    """
    stem, spec = catalogue.find_network(name)
    for checkpoint in spec.checkpoints:
        path = catalogue.checkpoint_path(checkpoint)
        if path.is_file():
            model = network.build(stem, spec)
            load(model, path, checkpoint.layout, checkpoint.into)
            return model
    raise EngineError(
        f"network {stem!r}: none of its published weights are on this machine; "
        f"'posestream pull {stem}' fetches them, or says what to put where"
    )
