"""Pulling weights from a local server: resuming, checking, unpacking and errors."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from engines.hub import catalogue
from engines.hub.pulling import pull
from engines.spec import cache
from tests.engines.hub.shelf import WEIGHTS, Shelf, list_cache, pull_error, write


@pytest.mark.parametrize("password", ["hun'ter2", "hun/ter#2", "hun ter2", "hünter:2"])
def test_a_password_reaches_the_server_and_no_message(
    password: str, entry: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELF_PASSWORD", password)
    for address in (f"adm:{password}", "adm:${SHELF_PASSWORD}"):
        url = shelf.address.replace("//", f"//{address}@")
        write(entry, url)
        pull(str(entry), again=True)
        assert base64.b64decode(str(shelf.authorizations[-1]).removeprefix("Basic ")).decode() == f"adm:{password}"
        assert "hun" not in repr(catalogue.read_entry(entry))
        shelf.missing = True
        catalogue.cached_path("net", ".onnx").unlink()
        assert "hun" not in pull_error(entry)
        shelf.missing = False


def test_weights_are_installed_in_the_cache_with_their_licence(entry: Path, shelf: Shelf) -> None:
    seen: list[tuple[int, int | None]] = []
    result = pull(str(entry), lambda here, whole: seen.append((here, whole)))
    assert result.path == catalogue.cached_path("net", ".onnx")
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
    assert not catalogue.cached_path("net", ".onnx").exists()
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
    folder = catalogue.cached_path("net", ".onnx").parent
    folder.mkdir(parents=True)
    (folder / "net.onnx.part").write_bytes(WEIGHTS)
    (folder / "net.onnx.part.tag").write_text(shelf.tag)
    assert pull(str(entry)).path.read_bytes() == WEIGHTS
    assert shelf.ranges == [f"bytes={len(WEIGHTS)}-"]


def test_a_wrong_digest_raises_naming_both_and_deletes_the_file(entry: Path, shelf: Shelf) -> None:
    write(entry, shelf.address, sha256="0" * 64)
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
    assert "is neither a zip nor a tar archive; pull again" in pull_error(entry)
    assert list_cache() == []


def test_the_result_is_printed_in_one_line(entry: Path, shelf: Shelf) -> None:
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    assert str(pull(str(entry))) == (
        f"{catalogue.cached_path('net', '.onnx')} (licence: MIT; sha256 {digest}, which was compared with nothing: "
        "the catalogue knows none)"
    )
    assert str(pull(str(entry))) == f"{catalogue.cached_path('net', '.onnx')} (licence: MIT; was here already)"


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
