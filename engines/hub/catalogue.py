"""The catalogue: entries of ``configs/models``, one YAML file for each network, and the networks in this package.

An entry describes ready-made weights (of kind ``pose``, ``detector`` or ``single-stage``) or an architecture to train
and export (of kind ``network``). The weights of an entry are in the cache folder once ``engines.hub.pulling`` has
fetched them.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import msgspec

import configs
from engines.errors import EngineError
from engines.formats.files import FormatError
from engines.formats.yaml import read_yaml
from engines.hub.sources import Source
from engines.spec.cache import cache_folder
from engines.spec.detector_signature import DetectorSignature
from engines.spec.network import Checkpoint, NetworkSpec
from engines.spec.signature import Signature
from engines.spec.single_stage_signature import SingleStageSignature

Kind = Literal["pose", "detector", "single-stage", "network"]

SHIPPED = {
    "fami-small": "FAMI-Pose, three frames; ships, for testsrc's people",
    "hrnet-small": "HRNet, a single frame; ships, the default for testsrc's people",
}
"""Names and titles of the networks inside this package (docs/reference/shipped.md)."""
SHIPPED_FOLDER = Path(__file__).resolve().parent / "weights"
"""The folder with an export for each of :data:`SHIPPED`."""
DEFAULT_MODEL = "hrnet-small"
"""The pose network for the people that testsrc draws: the one with the higher AP at the moment its keypoints are read
(docs/reference/shipped.md)."""
REAL_PEOPLE_DETECTOR, REAL_PEOPLE_POSE = "yolox-nano", "tinypose-256x192"
"""The detector and the pose network for all other pictures, if none is named."""
REAL_PEOPLE_BY_ONE = "rtmo-s"
"""Boxes and keypoints of real people by one network. It is pulled by hand, since no one has verified its bytes."""

SETS = {"people": (REAL_PEOPLE_DETECTOR, REAL_PEOPLE_POSE)}
"""Networks that are pulled together, by the name of the set."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry: ``configs/models/<name>.yaml``.

    ``sources`` are where the weights of ready-made networks can be had. Exactly one of ``signature``, ``detector``,
    ``single_stage`` and ``network`` is given, according to ``kind``. Raises ``ValueError`` otherwise.
    """

    kind: Kind
    title: str
    licence: str
    sources: tuple[Source, ...] = ()
    notes: str = ""
    signature: Signature | None = None
    detector: DetectorSignature | None = None
    single_stage: SingleStageSignature | None = None
    network: NetworkSpec | None = None

    def __post_init__(self) -> None:
        sections = {
            "pose": ("signature", self.signature),
            "detector": ("detector", self.detector),
            "single-stage": ("single_stage", self.single_stage),
            "network": ("network", self.network),
        }
        if any((kind == self.kind) != (section is not None) for kind, (_, section) in sections.items()):
            raise ValueError(f"kind {self.kind!r} goes with {sections[self.kind][0]}, only")
        if (self.kind == "network") == bool(self.sources):
            verb = "has no" if self.kind == "network" else "needs the"
            raise ValueError(f"kind {self.kind!r} {verb} sources of its weights")

    @property
    def is_verified(self) -> bool:
        """True if some source of it is verified."""
        return any(source.verified for source in self.sources)


def list_names(*kinds: Kind) -> tuple[str, ...]:
    """The names of all entries, sorted; only those of ``kinds``, if given, one kind after the other."""
    files = sorted(_entries_folder().glob("*.yaml"))
    if not kinds:
        return tuple(file.stem for file in files)
    kind_of = {file.stem: read_entry(file).kind for file in files}
    return tuple(name for kind in kinds for name in kind_of if kind_of[name] == kind)


def is_entry(name: str) -> bool:
    """True if ``name`` is the name of an entry, or ends in ``.yaml`` as the path of one does."""
    return name.endswith(".yaml") or _entry_path(name).is_file()


def find_entry(name: str) -> tuple[str, Entry]:
    """The stem and the entry called ``name``, or at the path ``name`` if that ends in ``.yaml``.

    Raises :class:`EngineError` for an unknown name, listing the known ones and the nearest.
    """
    path = _entry_path(name)
    if path.is_file():
        return path.stem, read_entry(path)
    if name.endswith(".yaml"):
        raise EngineError(f"model {name!r}: there is no such file")
    known = (*SHIPPED, *list_names("pose", "detector", "single-stage"))
    nearest = get_close_matches(name, known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise EngineError(
        f"model {name!r} is not a path to an .onnx, not the folder of an export and not one of {', '.join(known)}{hint}"
    )


def find_network(name: str) -> tuple[str, NetworkSpec]:
    """The stem and the architecture of the entry called ``name``, or at the ``.yaml`` path ``name``.

    Raises :class:`EngineError` for an unknown name, with the nearest ones, and for an entry of another kind.
    """
    if not is_entry(name):
        known = list_names("network")
        nearest = " or ".join(map(repr, get_close_matches(name, known, n=3)))
        hint = f"did you mean {nearest}?" if nearest else f"there are {', '.join(known)}"
        raise EngineError(f"network {name!r} is not known; {hint}")
    stem, entry = find_entry(name)
    if entry.network is None:
        raise EngineError(f"network {name!r} is ready-made weights for {entry.kind}; 'engines.load' opens those")
    return stem, entry.network


def read_entry(path: Path) -> Entry:
    """The entry in a YAML file. Raises :class:`EngineError` naming the file and the field."""
    try:
        return read_yaml(path, Entry)
    except FormatError as error:
        raise EngineError(error.within(f"model {path}")) from None  # it may quote a password


def weights_path(name: str, entry: Entry) -> Path:
    """The path in the cache of the weights of the entry called ``name``, for a backend to open.

    Of several formats it is the one that is here; if none is, it is where the first source is put.
    """
    paths = [[cached_path(name, file.suffix) for file in source.files] for source in entry.sources]
    return next((files[0] for files in paths if all(file.is_file() for file in files)), paths[0][0])


def cached_path(name: str, suffix: str) -> Path:
    """The path in the cache of one file of the entry called ``name``; the file need not exist."""
    return cache_folder() / "models" / f"{name}{suffix}"


def checkpoint_path(checkpoint: Checkpoint) -> Path:
    """The path in the cache of a published checkpoint, downloaded or put there by hand; the file need not exist."""
    return cache_folder() / "models" / Path(checkpoint.file).name


def _entries_folder() -> Path:
    return configs.folder() / "models"


def _entry_path(name: str) -> Path:
    return Path(name).expanduser() if name.endswith(".yaml") else _entries_folder() / f"{name}.yaml"
