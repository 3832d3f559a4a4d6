"""Several sources of one network, archives and packages, two processes at once, a full disk, and no network at all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import stat
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.hub import catalogue
from engines.hub.fetching import fetch_missing
from engines.hub.pulling import pull
from engines.spec import cache
from tests.engines.hub.shelf import WEIGHTS, Shelf, list_cache, pull_error, serve, write, write_sources
from tests.full_disk import room_for
from tests.stream.publishing import wait_until

DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
GONE = "http://127.0.0.1:1/weights"


def cached(suffix: str = ".onnx") -> Path:
    return catalogue.cached_path("net", suffix)


def make_tgz(*names: str) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(WEIGHTS)
            archive.addfile(entry, io.BytesIO(WEIGHTS))
    return memory.getvalue()


def integrity(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


# -- several sources ---------------------------------------------------------------------------------------------------


def test_the_next_source_is_used_where_one_does_not_answer(
    entry: Path, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    write_sources(entry, {"files": [{"url": GONE}]}, {"files": [{"url": shelf.address, "sha256": DIGEST}]})
    assert pull(str(entry)).sha256 == DIGEST
    (message,) = caplog.messages
    assert message.startswith(f"pull net: {GONE} cannot be read (")
    assert message.endswith("another source had it")


def test_a_verified_source_comes_first(entry: Path, shelf: Shelf) -> None:
    verified = {"files": [{"url": shelf.address, "sha256": DIGEST}], "verified": True}
    write_sources(entry, {"files": [{"url": GONE}]}, verified)
    assert pull(str(entry)).is_checked
    assert len(shelf.ranges) == 1


def test_a_source_with_another_file_is_passed_over(entry: Path, shelf: Shelf) -> None:
    with serve() as other:
        other.content = b"something else"
        file = {"sha256": DIGEST}
        write_sources(entry, *({"files": [{"url": server.address, **file}]} for server in (other, shelf)))
        assert pull(str(entry)).sha256 == DIGEST
    assert list_cache() == ["net.onnx"]


def test_where_all_sources_fail_the_first_and_the_last_are_named(entry: Path) -> None:
    write_sources(entry, *({"files": [{"url": url}]} for url in (GONE, GONE.replace("weights", "mirror"))))
    message = pull_error(entry)
    assert message.startswith(f"pull net: {GONE} cannot be read (")
    assert "; 1 more failed, the last: pull net: http://127.0.0.1:1/mirror cannot be read (" in message


def test_files_that_belong_together_are_installed_together(entry: Path, shelf: Shelf) -> None:
    both = [{"url": f"{shelf.address}/net.xml"}, {"url": f"{shelf.address}/net.bin"}]
    write_sources(entry, {"files": both})
    assert pull(str(entry)).path == cached(".xml")
    assert list_cache() == ["net.bin", "net.xml"]
    cached(".xml").unlink()
    both[0]["url"] = GONE + ".xml"
    write_sources(entry, {"files": both})
    assert "cannot be read" in pull_error(entry)
    assert list_cache() == ["net.bin"]


# -- archives and packages ---------------------------------------------------------------------------------------------


def test_a_member_of_a_tgz_is_checked_inside_and_outside(entry: Path, shelf: Shelf) -> None:
    shelf.content = make_tgz("package/net.tflite", "package/other.tflite")
    fields = {"member": "net.tflite", "sha256": DIGEST, "integrity": integrity(shelf.content)}
    write(entry, shelf.address, **fields)
    assert pull(str(entry)).path == cached(".tflite")
    assert list_cache() == ["net.tflite"]
    write(entry, shelf.address, **fields | {"integrity": integrity(b"")})
    cached(".tflite").unlink()
    assert f"has sha512 {integrity(shelf.content)[7:]}, but the catalogue says {integrity(b'')[7:]}" in pull_error(
        entry
    )
    assert list_cache() == []


def make_zip() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net.onnx", WEIGHTS)
    return memory.getvalue()


def replace_bytes(content: bytes, *changes: tuple[int, bytes]) -> bytes:
    changed = bytearray(content)
    for at, piece in changes:
        at %= len(content)
        changed[at : at + len(piece)] = piece
    return bytes(changed)


OPEN_TGZ = gzip.compress(gzip.decompress(make_tgz("net.onnx"))[: 512 + len(WEIGHTS)])
"""Without the blocks that mark the end, so that it is read to its checksum."""

DATA_AT = 30 + len("net.onnx")
"""Where the compressed data of ``make_zip()`` begins."""

ENTRY_AT = make_zip().rindex(b"PK\x01\x02")
"""Where the entry of its file in the zip's directory begins; flags are at 8 and the compression at 10."""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (make_tgz("net.onnx")[:1500], "is damaged (Compressed file ended before "),
        (replace_bytes(OPEN_TGZ, (-8, b"\0\0\0\0")), "is damaged (CRC check failed "),
        (replace_bytes(make_zip(), (DATA_AT, b"\xff")), "is damaged (Error -3 while decompressing data: "),
        (
            replace_bytes(make_zip(), (ENTRY_AT + 16, b"\0\0\0\0")),
            "is damaged (Bad CRC-32 for file 'net.onnx'); pull again",
        ),
        (replace_bytes(make_zip(), (0, b"XX")), "is damaged (Bad magic number for file header); pull again"),
        (
            replace_bytes(make_zip(), (6, b"\1"), (ENTRY_AT + 8, b"\1")),
            "cannot be read (File 'net.onnx' is encrypted, ",
        ),
        (
            replace_bytes(make_zip(), (8, b"\x63"), (ENTRY_AT + 10, b"\x63")),
            "cannot be read (That compression method is ",
        ),
        (WEIGHTS, "is neither a zip nor a tar archive; pull again"),
    ],
)
def test_an_archive_that_cannot_be_read_is_passed_over_and_raises_if_it_is_the_only_one(
    entry: Path, shelf: Shelf, content: bytes, reason: str
) -> None:
    shelf.content = content
    bad, good = ({"url": f"{shelf.address}/{name}"} for name in ("net.zip", "net.onnx"))
    write_sources(entry, {"files": [bad | {"member": "net.onnx"}]})
    assert f"pull net: {shelf.address}/net.zip {reason}" in pull_error(entry)
    assert list_cache() == []
    write_sources(entry, {"files": [bad | {"member": "net.onnx"}]}, {"files": [good]})
    pull(str(entry))
    assert list_cache() == ["net.onnx"]


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A client that packs what lies in the folder that is returned."""
    folder = tmp_path / "registry"
    folder.mkdir()
    client = tmp_path / "bin" / "npm"
    client.parent.mkdir()
    client.write_text(
        f'#!/bin/sh\necho "$@" > {folder}/asked\n'
        f'for last; do :; done\ncp {folder}/*.tgz "$5" || {{ echo npm error 404 $last >&2; exit 1; }}\n'
    )
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")
    return folder


def test_a_package_of_npm_is_packed_by_its_client(entry: Path, npm: Path) -> None:
    (npm / "pose-1.0.0.tgz").write_bytes(make_tgz("package/net.tflite"))
    write(entry, "npm:@who/pose==1.0.0", member="net.tflite", sha256=DIGEST)
    assert pull(str(entry)).sha256 == DIGEST
    asked = (npm / "asked").read_text().split()
    assert asked[:3] == ["pack", "--silent", "--ignore-scripts"]
    assert asked[-1] == "@who/pose@1.0.0"
    assert list_cache() == ["net.tflite"]


def test_a_package_that_npm_cannot_find_raises_with_its_last_line(entry: Path, npm: Path) -> None:
    write(entry, "npm:pose==1.0.0", member="net.tflite")
    assert pull_error(entry) == (
        "pull net: npm:pose==1.0.0 cannot be fetched (npm error 404 pose@1.0.0); check the network and pull again"
    )


def test_a_source_whose_client_is_not_installed_is_passed_over(
    entry: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    package = {"url": "npm:pose==1.0.0", "member": "net.onnx"}
    write_sources(entry, {"files": [package]})
    assert pull_error(entry) == ("pull net: npm:pose==1.0.0 is fetched by npm, which is not installed; install Node.js")
    write_sources(entry, {"files": [package]}, {"files": [{"url": shelf.address}]})
    assert pull(str(entry)).sha256 == DIGEST


@pytest.mark.parametrize(("url", "form"), [("npm:pose", "npm:NAME==VERSION"), ("pypi:pose>=1", "pypi:NAME==VERSION")])
def test_a_package_without_an_exact_version_is_refused(entry: Path, url: str, form: str) -> None:
    write(entry, url, member="net.tflite")
    assert pull_error(entry) == f"pull net: {url} names no exact version; write {form}"


def test_a_package_of_pypi_is_downloaded_by_pip(entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tmp_path / "python"
    client.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncp {tmp_path}/pose.whl "${{10}}"\n')
    client.chmod(0o755)
    (tmp_path / "pose.whl").write_bytes(make_tgz("pose/net.onnx"))
    monkeypatch.setattr(sys, "executable", str(client))
    write(entry, "pypi:pose==1.0.1", member="pose/net.onnx", sha256=DIGEST)
    assert pull(str(entry)).sha256 == DIGEST
    asked = (tmp_path / "asked").read_text().split()
    assert asked[:4] == ["-m", "pip", "download", "--no-deps"]
    assert asked[-1] == "pose==1.0.1"


@pytest.mark.large
def test_blazepose_comes_out_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """41 MB from the registry."""
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(cache.OFFLINE_VARIABLE)
    assert pull("blazepose-full").is_checked


# -- once, and with room -----------------------------------------------------------------------------------------------


def test_who_pulls_the_same_waits_says_so_and_downloads_nothing(
    entry: Path, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    begun, results = threading.Event(), []
    hold = threading.Event()

    def progress(done: int, _: int | None) -> None:
        begun.set()
        hold.wait(30)

    first = threading.Thread(target=lambda: results.append(pull(str(entry), progress)))
    first.start()
    assert begun.wait(5)
    second = threading.Thread(target=lambda: results.append(pull(str(entry))))
    second.start()
    wait_until(lambda: caplog.messages, "a warning")
    assert results == []
    hold.set()
    first.join()
    second.join()
    assert sorted(result.sha256 for result in results) == ["", DIGEST]
    assert caplog.messages == ["pull net: another process downloads it; waiting for that"]
    assert len(shelf.ranges) == 1


def test_a_full_disk_raises_with_the_folder_and_the_download_is_resumed(entry: Path, shelf: Shelf) -> None:
    with room_for(200_000):
        message = pull_error(entry)
    assert message == (
        f"pull net: {cached().parent} cannot be written to (File too large); make room there, or set POSESTREAM_CACHE "
        "to another folder, and pull again"
    )
    assert pull(str(entry)).path.read_bytes() == WEIGHTS
    assert shelf.ranges == [None, "bytes=200000-"]


def test_a_cache_that_is_a_file_raises_with_the_remedy(
    entry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "file"))
    assert pull_error(entry).endswith(
        "cannot be written to (Not a directory); set POSESTREAM_CACHE to another folder, and pull again"
    )


# -- fetched when needed -----------------------------------------------------------------------------------------------


def write_verified(entry: Path, shelf: Shelf) -> None:
    file = {"url": shelf.address, "sha256": DIGEST, "bytes": len(WEIGHTS)}
    write_sources(entry, {"files": [file], "verified": True})


def test_what_is_missing_is_announced_with_size_and_licence_and_fetched_once(
    entry: Path, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    write_verified(entry, shelf)
    fetch_missing([str(entry), "fami-small", "some/file.onnx"])
    host = shelf.address.split("/")[2]
    assert capsys.readouterr().err == f"posestream: fetching net (0.5 MB, MIT, from {host})\n"
    assert cached().read_bytes() == WEIGHTS
    fetch_missing([str(entry)])
    assert capsys.readouterr().err == ""
    assert len(shelf.ranges) == 1


def test_what_is_not_verified_is_not_fetched_unasked(entry: Path, shelf: Shelf) -> None:
    fetch_missing([str(entry)])
    assert shelf.ranges == []


def test_offline_nothing_is_fetched_and_the_command_is_named(
    entry: Path, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cache.OFFLINE_VARIABLE, "1")
    with pytest.raises(EngineError) as caught:
        fetch_missing(["yolox-nano"])
    assert str(caught.value) == (
        "model 'yolox-nano' is not on this machine, and POSESTREAM_OFFLINE or --offline forbids to fetch it (3.7 MB, "
        "Apache-2.0, from raw.githubusercontent.com); get it with 'posestream pull people' where you are online"
    )
    assert pull_error(entry) == (
        "pull net: POSESTREAM_OFFLINE is set, which forbids downloads; unset it and pull again"
    )
    assert shelf.ranges == []
