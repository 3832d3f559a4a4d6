"""Models by name: a network in this package, an export's folder, a file or an entry of the catalogue.

A name is tried as, in this order,

1. one of :data:`engines.hub.catalogue.SHIPPED`,
2. a path that ends in ``.onnx``, ``.xml`` or ``.tflite``, with its signature beside it in a ``.json`` of the same stem,
3. the folder of an export,
4. the name of an entry, or the path of its ``.yaml``.

The signature can be read before the weights are downloaded.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from engines.errors import EngineError
from engines.hub.catalogue import SHIPPED, SHIPPED_FOLDER, Entry, Kind, find_entry, is_entry, weights_path
from engines.hub.fetching import is_fetched, pull_argument
from engines.spec.detector_signature import DetectorSignature, read_detector_signature
from engines.spec.manifest import MANIFEST, Manifest, is_export, read_manifest
from engines.spec.model_files import is_model_file
from engines.spec.signature import Signature, read_signature
from engines.spec.single_stage_signature import SingleStageSignature


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a name stands for.

    ``path`` is the file of its weights, or the folder of an export, which has a ``manifest``. ``signature`` is that of
    a pose network, None if it has none; ``detector`` and ``single_stage`` are those of the other kinds. ``entry`` is
    its entry in the catalogue.
    """

    name: str
    path: Path
    signature: Signature | None = None
    detector: DetectorSignature | None = None
    single_stage: SingleStageSignature | None = None
    entry: Entry | None = None
    manifest: Manifest | None = None

    def find_weights(self) -> Path:
        """The file of the weights. Raises :class:`EngineError` with the remedy if it is missing."""
        if self.path.is_file():
            return self.path
        if self.entry is None:
            raise EngineError(f"model {str(self.path)!r}: there is no such file")
        raise EngineError(
            f"model {self.name!r} is not on this machine (looked for {self.path}); "
            f"get it with 'posestream pull {pull_argument(self.name)}' ({self.entry.licence}), or give the path of an "
            ".onnx"
        )

    def check(self) -> None:
        """Raise :class:`EngineError` with the remedy if it is not here and will not be fetched.

        The files of an export are verified later.
        """
        if self.manifest is None and not is_fetched(self.name, self.entry):
            self.find_weights()


def find_model(model: str, kind: Kind) -> Model:
    """The model called ``model``, of ``kind`` ``pose`` or ``detector``.

    Raises :class:`EngineError` for an unknown name, a missing or damaged file, and a model of another kind.
    """
    if model in SHIPPED:
        return _open_export(SHIPPED_FOLDER / model, kind)
    if is_model_file(model):
        return _open_file(Path(model).expanduser(), kind)
    folder = Path(model).expanduser()
    if folder.is_dir() and (is_export(folder) or not is_entry(model)):
        return _open_export(folder, kind)
    return _open_entry(model, kind)


def _open_entry(model: str, kind: Kind) -> Model:
    name, entry = find_entry(model)
    if entry.kind == "network":
        raise EngineError(
            f"model {model!r} is a network to train and to export, not weights that run; give the folder that "
            "'posestream export' makes of it"
        )
    if entry.kind != kind:
        remedy = "; it finds people by itself: use 'posedetect'" if entry.kind == "single-stage" else ""
        raise EngineError(f"model {model!r} is a {entry.kind} network, but a {kind} network is wanted{remedy}")
    return Model(
        name=name,
        path=weights_path(name, entry),
        signature=entry.signature,
        detector=entry.detector,
        single_stage=entry.single_stage,
        entry=entry,
    )


def _open_file(path: Path, kind: Kind) -> Model:
    signature_path = path.with_suffix(".json")
    if not path.is_file():
        raise EngineError(f"model {str(path)!r}: there is no such file")
    if not signature_path.is_file():
        return Model(name=path.stem, path=path)
    if kind == "detector":
        return Model(name=path.stem, path=path, detector=read_detector_signature(signature_path))
    return Model(name=path.stem, path=path, signature=read_signature(signature_path))


def _open_export(folder: Path, kind: Kind) -> Model:
    """Reads the manifest only; files are verified before they run, as a pipeline is linked by the signature alone."""
    if not is_export(folder):
        raise EngineError(
            f"model {str(folder)!r}: this folder holds no {MANIFEST}; give one that 'posestream export' wrote, or the "
            "path of an .onnx"
        )
    if kind != "pose":
        raise EngineError(f"model {str(folder)!r} is an exported pose network, but a {kind} network is wanted")
    manifest = read_manifest(folder)
    return Model(name=manifest.signature.name, path=folder, signature=manifest.signature, manifest=manifest)
