"""Where the page may be served, and with what; each refusal is one line. And TLS, with a certificate made here."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest

from engines.redaction import forget_masks, redact
from stream.__main__ import execute
from stream.web.access import Access, make_access
from stream.web.server import PageServer

TOKEN = "b1946ac92492d2347c6235b4d2611184"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def refuse(capsys: Capture, *arguments: object) -> str:
    assert execute(["view", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("posestream: ")
    assert error.count("\n") == 1
    return error.removeprefix("posestream: ").rstrip("\n")


def test_beyond_this_machine_the_page_needs_a_token_and_a_certificate(
    capsys: Capture, token_file: Path, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    expected = (
        "--listen 0.0.0.0:8080 is open to other hosts, which would see the cameras: give --token-file, --cert and "
        "--key, or listen on 127.0.0.1:8080 behind a proxy that has TLS"
    )
    beyond = ("--listen", "0.0.0.0:8080")
    assert refuse(capsys, *beyond) == expected
    assert refuse(capsys, *beyond, "--token-file", token_file) == expected
    assert refuse(capsys, *beyond, "--cert", cert, "--key", key) == expected
    for host in ("cam.example.org", "::", "192.168.1.4"):
        assert "is open to other hosts" in refuse(capsys, "--listen", f"[{host}]:8080")


def test_files_that_cannot_be_used_are_one_line(
    capsys: Capture, tmp_path: Path, token_file: Path, certificate: tuple[Path, Path]
) -> None:
    remedy = "make one with (umask 077; openssl rand -hex 32 > FILE)"
    missing, short, open_to_all = (tmp_path / name for name in ("missing", "short", "open"))
    short.write_text("secret")
    open_to_all.write_text(TOKEN)
    short.chmod(0o600)
    open_to_all.chmod(0o644)
    given = {
        missing: f"--token-file {missing} cannot be read: No such file or directory; {remedy}",
        short: f"--token-file {short} holds no token of 16 or more ASCII characters; {remedy}",
        open_to_all: f"key file {open_to_all} is readable by others (mode …44); run: chmod 600 {open_to_all}",
    }
    for file, expected in given.items():
        assert refuse(capsys, "--token-file", file) == expected
    cert, key = certificate
    assert refuse(capsys, "--cert", cert) == "--cert and --key belong together: give both, or neither"
    assert refuse(capsys, "--cert", cert, "--key", missing) == (
        f"--cert {cert} and --key {missing} cannot be used: No such file or directory; "
        "give a PEM certificate and its key, without password"
    )
    assert f"--cert {token_file} and --key {key} cannot be used: " in refuse(capsys, "--cert", token_file, "--key", key)
    os.mkfifo(tmp_path / "pipe")
    assert refuse(capsys, "--cert", cert, "--key", tmp_path / "pipe") == (
        f"--key {tmp_path}/pipe is a pipe, not a file; give a PEM file"
    )


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999", ":8080"])
def test_an_address_that_is_none_is_one_line(listen: str, capsys: Capture) -> None:
    assert refuse(capsys, "--listen", listen) == (
        f"--listen {listen!r} is not HOST:PORT; write it as in 127.0.0.1:8080"
    )


def test_an_address_in_use_and_one_that_cannot_be_subscribed_to_are_one_line(capsys: Capture) -> None:
    with PageServer([], Access("127.0.0.1", 0)) as server:
        taken = server.address.removeprefix("http://").rstrip("/")
        assert refuse(capsys, "--listen", taken) == (
            f"the page cannot be served on {taken}: Address already in use; choose another --listen"
        )
    assert "tcp://10.0.0.9:5570 is another host, which requires CURVE keys" in refuse(
        capsys, "tcp://10.0.0.9:5570", "--listen", "127.0.0.1:0"
    )


def test_the_token_is_hidden_wherever_it_would_be_printed(token_file: Path) -> None:
    access = make_access("127.0.0.1:8080", token_file, None, None)
    try:
        assert access.token == TOKEN
        assert TOKEN not in repr(access)
        assert redact(f"given {TOKEN}") == "given ***"
    finally:
        forget_masks()


def test_with_a_certificate_the_page_is_served_over_tls(token_file: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = ssl.create_default_context(cafile=str(cert))
    access = make_access("127.0.0.1:0", token_file, cert, key)
    forget_masks()
    with PageServer([], access) as server:
        port = server.address.rstrip("/").rpartition(":")[2]
        assert server.address == f"https://127.0.0.1:{port}/"
        request = urllib.request.Request(
            f"https://localhost:{port}/api/state", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            assert answer.status == 200
