"""Where a model's name leads: to a file on this machine, or to an entry that says where to get one.

A name is one of :data:`SHIPPED`, which lie in the package, the folder of an export, a path to an ``.onnx`` (with its
Signature in the ``.json`` of the same stem beside it), a path to a ``.yaml`` entry, or the stem of an entry in
``configs/models``. The weights of an entry lie in the cache, where ``engines.hub.download`` puts them; its Signature
can be read before they are there.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta

import configs
from engines.errors import EngineError
from engines.spec.cache import cache_folder
from engines.spec.detector_signature import DetectorSignature, read_detector_signature
from engines.spec.manifest import MANIFEST, Manifest, is_export, read_manifest
from engines.spec.network import Checkpoint, NetworkSpec
from engines.spec.signature import Signature, read_signature

Kind = Literal["pose", "detector", "network"]

SHIPPED = {
    "fami-small": "FAMI-Pose, three frames; ships, for testsrc's people",
    "hrnet-small": "its single frame, an HRNet; ships, for testsrc's people",
}
"""The networks inside the package, exports in ``engines/hub/weights``, and what each is (docs/reference/shipped.md)."""
EMBEDDED = "fami-small"
"""The one that is meant where none is named."""
WEIGHTS = Path(__file__).resolve().parent / "weights"

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One network of the catalogue: ``configs/models/<name>.yaml``.

    ``url`` is the ``.onnx`` itself, or a zip whose ``member`` it is. ``sha256`` is of what the url gives; None where
    its publisher states none and nobody has vouched for one.
    """

    kind: Kind
    title: str
    licence: str
    url: str = ""
    member: str | None = None
    sha256: Sha256 | None = None
    notes: str = ""
    signature: Signature | None = None
    detector: DetectorSignature | None = None
    network: NetworkSpec | None = None

    def __post_init__(self) -> None:
        parts = {"pose": self.signature, "detector": self.detector, "network": self.network}
        if any((kind == self.kind) != (part is not None) for kind, part in parts.items()):
            raise ValueError(f"kind {self.kind!r} goes with {'signature' if self.kind == 'pose' else self.kind}, only")
        if self.kind != "network" and not self.url:
            raise ValueError(f"kind {self.kind!r} needs the url of its weights")


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What a name resolves to. ``signature`` is None for a pose network without one; the engine may infer it.

    ``path`` is the file of its weights; the folder where it is an export, which then has a ``manifest``.
    """

    name: str
    path: Path
    signature: Signature | None = None
    detector: DetectorSignature | None = None
    entry: Entry | None = None
    manifest: Manifest | None = None

    def weights(self) -> Path:
        """The file itself. Raises :class:`EngineError` with the remedy when it is not here."""
        if self.path.is_file():
            return self.path
        if self.entry is None:
            raise EngineError(f"model {str(self.path)!r}: there is no such file")
        raise EngineError(
            f"model {self.name!r} is not on this machine (looked for {self.path}); "
            f"get it with 'posestream pull {self.name}' ({self.entry.licence}), or give the path of an .onnx"
        )


def find(model: str, kind: Kind) -> Model:
    """Where ``model`` leads. Raises :class:`EngineError` when nowhere, or to a network of the other kind."""
    if model in SHIPPED:
        return _of_export(WEIGHTS / model, kind)
    if model.endswith(".onnx"):
        return _of_file(Path(model).expanduser(), kind)
    if (folder := Path(model).expanduser()).is_dir() and (is_export(folder) or not _is_listed(model)):
        return _of_export(folder, kind)
    name, listed = entry(model)
    if listed.kind == "network":
        raise EngineError(
            f"model {model!r} is a network to train and to export, not weights that run; give the folder that "
            "'posestream export' makes of it"
        )
    if listed.kind != kind:
        raise EngineError(f"model {model!r} is a {listed.kind} network, but a {kind} network is wanted")
    return Model(name=name, path=cached(name), signature=listed.signature, detector=listed.detector, entry=listed)


def network(model: str) -> tuple[str, NetworkSpec]:
    """The stem and the description of a network of the papers, by name or by ``.yaml``. Raises :class:`EngineError`."""
    if not model.endswith(".yaml") and not (_folder() / f"{model}.yaml").is_file():
        known = names("network")
        near = " or ".join(repr(name) for name in get_close_matches(model, known, n=3))
        raise EngineError(
            f"network {model!r} is not known; " + (f"did you mean {near}?" if near else f"there are {', '.join(known)}")
        )
    name, listed = entry(model)
    if listed.network is None:
        raise EngineError(f"network {model!r} is ready-made weights for {listed.kind}; 'engines.load' opens those")
    return name, listed.network


def _of_file(path: Path, kind: Kind) -> Model:
    beside = path.with_suffix(".json")
    if not path.is_file():
        raise EngineError(f"model {str(path)!r}: there is no such file")
    if not beside.is_file():
        return Model(name=path.stem, path=path)
    if kind == "detector":
        return Model(name=path.stem, path=path, detector=read_detector_signature(beside))
    return Model(name=path.stem, path=path, signature=read_signature(beside))


def _of_export(folder: Path, kind: Kind) -> Model:
    """The files themselves are looked at only when they are to run: a line is linked by the Signature alone."""
    if not is_export(folder):
        raise EngineError(
            f"model {str(folder)!r}: this folder holds no {MANIFEST}; give one that 'posestream export' wrote, or the "
            "path of an .onnx"
        )
    if kind != "pose":
        raise EngineError(f"model {str(folder)!r} is an exported pose network, but a {kind} network is wanted")
    manifest = read_manifest(folder)
    return Model(name=manifest.signature.name, path=folder, signature=manifest.signature, manifest=manifest)


def _is_listed(model: str) -> bool:
    return (_folder() / f"{model}.yaml").is_file() or model.endswith(".yaml")


def entry(model: str) -> tuple[str, Entry]:
    """The stem and the entry of a catalogue name or of a ``.yaml`` path. Raises :class:`EngineError`."""
    path = Path(model).expanduser() if model.endswith(".yaml") else _folder() / f"{model}.yaml"
    if path.is_file():
        return path.stem, read_entry(path)
    if model.endswith(".yaml"):
        raise EngineError(f"model {model!r}: there is no such file")
    known = (*SHIPPED, *(name for kind in ("pose", "detector") for name in names(kind)))
    near = get_close_matches(model, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise EngineError(
        f"model {model!r} is not a path to an .onnx, not the folder of an export and not one of "
        f"{', '.join(known)}{hint}"
    )


def read_entry(path: Path) -> Entry:
    """The entry in a YAML file. Raises :class:`EngineError` naming the file and the place."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_text("utf-8")), Entry)
    except (msgspec.ValidationError, yaml.YAMLError, ValueError) as error:
        raise EngineError(f"model {path}: {' '.join(str(error).split())}") from error


def names(kind: Kind | None = None) -> tuple[str, ...]:
    """The names of the catalogue, sorted; of one kind only, where given."""
    files = sorted(_folder().glob("*.yaml"))
    return tuple(file.stem for file in files if kind is None or read_entry(file).kind == kind)


def _folder() -> Path:
    return configs.folder() / "models"


def cached(name: str) -> Path:
    """Where the weights of a catalogue entry lie once pulled."""
    return cache_folder() / "models" / f"{name}.onnx"


def checkpoint_path(checkpoint: Checkpoint) -> Path:
    """Where published weights of a network lie, whether pulled or put there by hand."""
    return cache_folder() / "models" / Path(checkpoint.file).name
