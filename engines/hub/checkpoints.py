"""Loading of published checkpoints, with every name and shape checked before anything is copied.

A file is opened with ``weights_only=True``, so that it cannot run code. A surrounding training state, a ``module.``
prefix from data parallelism and an ImageNet classifier are removed, and names translated by
``engines.hub.checkpoint_names``. If the rest does not fit the network, both sides are listed and nothing is loaded.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.errors import EngineError, first_line
from engines.hub import catalogue
from engines.hub.checkpoint_names import rename_keys
from engines.spec import network

StateDict = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
_SHOWN = 6
_COUNTER = "num_batches_tracked"

TRAINED_ON = "trained_on"
"""The key of the metadata in a ``.safetensors`` file that says what its weights were trained on."""


@dataclass(frozen=True)
class Layout:
    """The format of one family of checkpoints. The patterns are regular expressions, matching nothing by default."""

    network: str
    """The key in :data:`engines.hub.checkpoint_names.RENAMES`."""
    drop: str = r"(?!)"
    """Keys to remove, such as those of a classifier."""
    spare: str = r"(?!)"
    """Keys that only some networks have, such as those of the last fusion of branches, which pose heads omit."""
    partial: str = r"(?!)"
    """Parameters that the file may lack: an ImageNet file has no pose head."""


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


def read_checkpoint(path: Path) -> StateDict:
    """The tensors of a ``.pth`` or ``.safetensors`` file by their published names, without any wrapper.

    Raises :class:`EngineError` for a missing or damaged file, and for one that is not a checkpoint.
    """
    if not path.is_file():
        raise EngineError(f"checkpoint {str(path)!r}: there is no such file")
    loaded = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return {re.sub(r"^(module\.)+", "", key): value for key, value in _unwrap(path, loaded).items()}


_BEGINNINGS = (b"PK\x03\x04", b"\x80")
"""Of a zip, which PyTorch writes, and of a pickle, which it wrote before 1.6."""
_REASON = re.compile(r".*(?:WeightsUnpickler error:|trusted source\.)\s*(.+?)\s*Check the documentation", re.DOTALL)


def _read_pickle(path: Path) -> Any:
    if not _begins_as_checkpoint(path):
        raise EngineError(
            f"checkpoint {str(path)!r} is no checkpoint of PyTorch, which is a zip or a pickle; download it again"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = _REASON.match(str(error))
        reason = match[1].rstrip(".") if match else first_line(error, 160)
        raise EngineError(
            f"checkpoint {str(path)!r} holds more than weights and was not opened, since opening it could run "
            f"what it holds ({reason}); save its state_dict alone"
        ) from None
    except Exception as error:  # noqa: BLE001 - PyTorch raises what its parts happen to raise for damaged files
        raise EngineError(f"checkpoint {str(path)!r} is damaged or no checkpoint: {first_line(error, 160)}") from None


def _begins_as_checkpoint(path: Path) -> bool:
    """True also for a file that was cut off within its first bytes."""
    with path.open("rb") as file:
        found = file.read(4)
    return any(found.startswith(beginning) or beginning.startswith(found) for beginning in _BEGINNINGS)


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise EngineError(f"checkpoint {str(path)!r} is damaged or no checkpoint: {error}") from None


def read_trained_on(path: Path) -> str:
    """What a ``.safetensors`` file says that its weights were trained on; empty for any other file."""
    if path.suffix != ".safetensors":
        return ""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get(TRAINED_ON, ""))
    except SafetensorError as error:
        raise EngineError(f"checkpoint {str(path)!r} is damaged or no checkpoint: {error}") from None


def _unwrap(path: Path, loaded: Any) -> Mapping[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    if not tensors:
        found = f"a {type(loaded).__name__}" if not isinstance(loaded, Mapping) else f"{list(loaded)[:4]}"
        raise EngineError(f"checkpoint {str(path)!r} holds no weights but {found}; give a state_dict")
    return tensors


def translate(published: StateDict, layout: str) -> StateDict:
    """Published entries with the parameter names used here, without those that ``layout`` removes.

    Raises :class:`EngineError` for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise EngineError(f"no checkpoint layout {layout!r}; there are {', '.join(LAYOUTS)}")
    wanted = {key: value for key, value in published.items() if not re.search(LAYOUTS[layout].drop, key)}
    return rename_keys(LAYOUTS[layout].network, wanted)


def load_checkpoint(model: nn.Module, path: Path, layout: str, into: str = "", skip: Sequence[str] = ()) -> list[str]:
    """Fill ``model``, or its submodule ``into`` such as ``hrnet``, from a published file, but for the modules ``skip``.

    Returns the names of the parameters that were not filled, which ``layout`` allows. Raises :class:`EngineError`
    listing missing and unexpected parameters and different shapes; ``model`` is then unchanged.
    """
    target = model.get_submodule(into) if into else model
    ours, theirs = _match(target, read_checkpoint(path), layout)
    ours, theirs = (
        {key: value for key, value in entries.items() if not key.startswith(tuple(f"{name}." for name in skip))}
        for entries in (ours, theirs)
    )
    mismatches = _find_mismatches(ours, theirs, LAYOUTS[layout])
    if any(mismatches.values()):
        raise EngineError(
            f"checkpoint {str(path)!r} (layout {layout}) does not fit {type(model).__name__}: {_summarise(mismatches)}"
        )
    target.load_state_dict(theirs, strict=False)
    return [key for key in ours if key not in theirs and not key.endswith(_COUNTER)]


def fits(model: nn.Module, published: StateDict, layout: str) -> bool:
    """True if ``published``, as from :func:`read_checkpoint`, fits ``model`` in this layout."""
    return count_mismatches(model, published, layout) == 0


def count_mismatches(model: nn.Module, published: StateDict, layout: str) -> int:
    """The number of parameters that are missing, unexpected or of another shape."""
    ours, theirs = _match(model, published, layout)
    return sum(map(len, _find_mismatches(ours, theirs, LAYOUTS[layout]).values()))


def _match(model: nn.Module, published: StateDict, layout: str) -> tuple[StateDict, StateDict]:
    """The state dict of ``model``, and the translated ``published`` one without what only other networks have."""
    ours, theirs = model.state_dict(), translate(published, layout)
    return ours, {key: value for key, value in theirs.items() if key in ours or not _is_spare(key, LAYOUTS[layout])}


def _is_spare(key: str, layout: Layout) -> bool:
    # Batch normalisation counts batches since PyTorch 0.4.1; older files lack the counters, which are not used.
    return key.endswith(_COUNTER) or re.search(layout.spare, key) is not None


def _find_mismatches(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], layout: Layout) -> dict[str, list[str]]:
    """Mismatches by kind."""
    absent = [key for key in ours if key not in theirs and not key.endswith(_COUNTER)]
    return {
        "missing": [key for key in absent if not re.search(layout.partial, key)],
        "unexpected": [key for key in theirs if key not in ours],
        "of another shape": [
            f"{key}: {tuple(theirs[key].shape)} in the file, {tuple(ours[key].shape)} here"
            for key in ours
            if key in theirs and theirs[key].shape != ours[key].shape
        ],
    }


def _summarise(mismatches: Mapping[str, list[str]]) -> str:
    """The number of mismatches of each kind, and the first few of them."""
    return "; ".join(
        f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{', …' if len(keys) > _SHOWN else ''})"
        for kind, keys in mismatches.items()
        if keys
    )


def load_pretrained(name: str) -> nn.Module:
    """The network ``name`` of the catalogue with its published weights, the first that are on this machine.

    Raises :class:`EngineError` with the remedy if there are none, and as :func:`load_checkpoint` does.
    """
    stem, spec = catalogue.find_network(name)
    for checkpoint in spec.checkpoints:
        path = catalogue.checkpoint_path(checkpoint)
        if path.is_file():
            model = network.build(stem, spec)
            load_checkpoint(model, path, checkpoint.layout, checkpoint.into)
            return model
    raise EngineError(
        f"network {stem!r}: none of its published weights are on this machine; "
        f"'posestream pull {stem}' fetches them, or says what to put where"
    )
