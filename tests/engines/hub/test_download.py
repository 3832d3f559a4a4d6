"""Pulling weights from a local server: resuming, checking, unpacking and errors."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.download import pull
from engines.spec import cache

WEIGHTS = bytes(range(256)) * 2000


@dataclass
class Shelf:
    """What the server has, and what it was asked for."""

    content: bytes = WEIGHTS
    tag: str = '"one"'
    cut_after: int | None = None
    missing: bool = False
    ranges: list[str | None] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shelf.ranges.append(self.headers.get("Range"))
            shelf.authorizations.append(self.headers.get("Authorization"))
            if shelf.missing:
                self.send_error(404)
                return
            start = self._start()
            if start is not None and start >= len(shelf.content):
                self.send_error(416)
                return
            self.send_response(200 if start is None else 206)
            rest = shelf.content[start or 0 :]
            self.send_header("Content-Length", str(len(rest)))
            self.send_header("ETag", shelf.tag)
            self.end_headers()
            self.wfile.write(rest[: shelf.cut_after])

        def _start(self) -> int | None:
            asked = self.headers.get("Range")
            same = self.headers.get("If-Range") == shelf.tag
            return int(asked.removeprefix("bytes=").removesuffix("-")) if asked and same else None

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    shelf.address = f"http://127.0.0.1:{server.server_port}/weights"
    yield shelf
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: Shelf) -> Path:
    """A catalogue entry of our own that points to the shelf, and a cache of our own."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "net.yaml"
    write(path, shelf.address)
    return path


def write(path: Path, url: str, sha256: str = "null", member: str = "null") -> None:
    path.write_text(
        f"kind: detector\ntitle: a network\nlicence: MIT\nurl: {url}\nsha256: {sha256}\nmember: {member}\n"
        "detector: {name: net, family: yolox}\n"
    )


@pytest.mark.parametrize("password", ["hun'ter2", "hun/ter#2", "hun ter2", "hünter:2"])
def test_a_password_reaches_the_server_and_no_message(
    password: str, entry: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELF_PASSWORD", password)
    for address in (f"adm:{password}", "adm:${SHELF_PASSWORD}"):
        url = shelf.address.replace("//", f"//{address}@")
        write(entry, json.dumps(url))
        pull(str(entry), again=True)
        assert base64.b64decode(str(shelf.authorizations[-1]).removeprefix("Basic ")).decode() == f"adm:{password}"
        assert "hun" not in repr(catalogue.read_entry(entry))
        shelf.missing = True
        catalogue.weights_path("net").unlink()
        assert "hun" not in pull_error(entry)
        shelf.missing = False


def list_cache() -> list[str]:
    return sorted(file.name for file in (cache.cache_folder() / "models").iterdir())


def pull_error(entry: Path) -> str:
    with pytest.raises(EngineError) as caught:
        pull(str(entry))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_are_installed_in_the_cache_with_their_licence(entry: Path, shelf: Shelf) -> None:
    seen: list[tuple[int, int | None]] = []
    result = pull(str(entry), lambda here, whole: seen.append((here, whole)))
    assert result.path == catalogue.weights_path("net")
    assert result.path.read_bytes() == WEIGHTS
    assert result.licence == "MIT"
    assert result.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert seen[0] == (0, len(WEIGHTS))
    assert seen[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert list_cache() == ["net.onnx"]


def test_weights_in_the_cache_are_not_pulled_again_by_default(entry: Path, shelf: Shelf) -> None:
    pull(str(entry))
    assert pull(str(entry)).sha256 == ""
    assert len(shelf.ranges) == 1
    pull(str(entry), again=True)
    assert len(shelf.ranges) == 2


def test_a_broken_download_is_resumed(entry: Path, shelf: Shelf) -> None:
    shelf.cut_after = 100_000
    assert pull_error(entry).endswith(f"broke off after 100000 of {len(WEIGHTS)} bytes; pull again to resume")
    assert not catalogue.weights_path("net").exists()
    shelf.cut_after = None
    seen: list[tuple[int, int | None]] = []
    assert pull(str(entry), lambda here, whole: seen.append((here, whole))).path.read_bytes() == WEIGHTS
    assert shelf.ranges == [None, "bytes=100000-"]
    assert seen[0] == (100_000, len(WEIGHTS))
    assert list_cache() == ["net.onnx"]


def test_a_file_that_changed_meanwhile_is_downloaded_from_the_start(entry: Path, shelf: Shelf) -> None:
    shelf.cut_after = 100_000
    pull_error(entry)
    shelf.cut_after, shelf.content, shelf.tag = None, WEIGHTS[::-1], '"two"'
    assert pull(str(entry)).path.read_bytes() == WEIGHTS[::-1]


def test_a_complete_part_that_was_never_installed_is_used(entry: Path, shelf: Shelf) -> None:
    folder = catalogue.weights_path("net").parent
    folder.mkdir(parents=True)
    (folder / "net.part").write_bytes(WEIGHTS)
    (folder / "net.tag").write_text(shelf.tag)
    assert pull(str(entry)).path.read_bytes() == WEIGHTS
    assert shelf.ranges == [f"bytes={len(WEIGHTS)}-"]


def test_a_wrong_digest_raises_naming_both_and_deletes_the_file(entry: Path, shelf: Shelf) -> None:
    write(entry, shelf.address, sha256=f"'{'0' * 64}'")
    message = pull_error(entry)
    assert hashlib.sha256(WEIGHTS).hexdigest() in message
    assert "0" * 64 in message
    assert list_cache() == []


def test_the_right_digest_passes(entry: Path, shelf: Shelf) -> None:
    write(entry, shelf.address, sha256=hashlib.sha256(WEIGHTS).hexdigest())
    assert pull(str(entry)).path.is_file()


def test_a_missing_address_raises_with_the_status(entry: Path, shelf: Shelf) -> None:
    shelf.missing = True
    assert pull_error(entry) == (
        f"pull net: {shelf.address} answered 404 Not Found; if it has moved, correct url in the catalogue entry"
    )


def test_a_refused_connection_raises(entry: Path, shelf: Shelf) -> None:
    write(entry, "http://127.0.0.1:1/weights")
    assert pull_error(entry).startswith("pull net: http://127.0.0.1:1/weights cannot be read (")


def make_zip(*names: str) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in names:
            archive.writestr(name, WEIGHTS)
    return memory.getvalue()


def test_the_network_is_extracted_from_a_zip(entry: Path, shelf: Shelf) -> None:
    shelf.content = make_zip("2023/net/end2end.onnx", "2023/net/pipeline.json", "2023/net/not_end2end.onnx")
    write(entry, shelf.address, member="end2end.onnx")
    assert pull(str(entry)).path.read_bytes() == WEIGHTS
    assert list_cache() == ["net.onnx"]


def test_a_zip_without_the_network_raises_listing_its_files(entry: Path, shelf: Shelf) -> None:
    shelf.content = make_zip("2023/net/pipeline.json")
    write(entry, shelf.address, member="end2end.onnx")
    assert "contains 0 files called 'end2end.onnx', expected one; it has 2023/net/pipeline.json" in pull_error(entry)


def test_a_file_that_is_not_a_zip_raises(entry: Path, shelf: Shelf) -> None:
    write(entry, shelf.address, member="end2end.onnx")
    assert "is not a zip; pull again" in pull_error(entry)
    assert list_cache() == []


def test_the_result_is_printed_in_one_line(entry: Path, shelf: Shelf) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert str(pull(str(entry))) == f"{catalogue.weights_path('net')} (licence: MIT; sha256 {digest})"
    assert str(pull(str(entry))) == f"{catalogue.weights_path('net')} (licence: MIT; was here already)"


# -- published checkpoints ------------------------------------------


def write_network(path: Path, *checkpoints: str) -> None:
    path.write_text(
        "kind: network\ntitle: a network\nlicence: ours\nnetwork:\n  model: hrnet.HRNet\n  input_size: [32, 32]\n"
        + "".join(["  checkpoints:\n", *(f"  - {{layout: hrnet, licence: MIT, {fields}}}\n" for fields in checkpoints)])
    )


def test_a_published_checkpoint_has_its_own_name(entry: Path, shelf: Shelf) -> None:
    digits = hashlib.sha256(WEIGHTS).hexdigest()[:8]
    write_network(entry, f"file: nets/w32-{digits}.pth, where: here, url: '{shelf.address}', sha256: '{digits}'")
    result = pull(str(entry))
    assert result.path == cache.cache_folder() / "models" / f"w32-{digits}.pth"
    assert result.path.read_bytes() == WEIGHTS
    assert result.licence == "MIT"
    assert list_cache() == [f"w32-{digits}.pth"]


def test_a_short_published_digest_is_checked(entry: Path, shelf: Shelf) -> None:
    write_network(entry, f"file: w32.pth, where: here, url: '{shelf.address}', sha256: '00000000'")
    assert "but the catalogue says 00000000" in pull_error(entry)
    assert list_cache() == []


def test_weights_without_a_url_raise_with_instructions(entry: Path, shelf: Shelf) -> None:
    write_network(entry, "file: nets/w32.pth, where: Google Drive folder 123")
    assert pull_error(entry) == (
        "pull net: its weights cannot be downloaded by a program: get nets/w32.pth (Google Drive folder 123; licence: "
        f"MIT) and put it at {cache.cache_folder() / 'models' / 'w32.pth'}"
    )


def test_a_checkpoint_put_there_by_hand_is_found(entry: Path, shelf: Shelf) -> None:
    write_network(entry, "file: nets/w32.pth, where: Google Drive folder 123")
    folder = cache.cache_folder() / "models"
    folder.mkdir(parents=True)
    (folder / "w32.pth").write_bytes(WEIGHTS)
    assert str(pull(str(entry))) == f"{folder / 'w32.pth'} (licence: MIT; was here already)"


def test_the_first_checkpoint_with_a_url_is_pulled(entry: Path, shelf: Shelf) -> None:
    write_network(entry, "file: a.pth, where: a Drive", f"file: b.pth, where: here, url: '{shelf.address}'")
    assert pull(str(entry)).path.name == "b.pth"


def test_a_network_without_published_weights_raises(entry: Path, shelf: Shelf) -> None:
    write_network(entry, "file: a.pth, where: a Drive")
    entry.write_text(entry.read_text().partition("  checkpoints:")[0])
    assert pull_error(entry) == "pull net: no weights are published for it; train it ('posestream train')"
