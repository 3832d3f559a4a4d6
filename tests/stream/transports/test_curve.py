"""Keys: generated, readable by their owner only, never overwritten."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq.auth

from stream.errors import TransportError
from stream.transports.curve import Keys, generate_keys, load_public, make_line_key


def test_two_pairs_are_generated_and_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    secrets = generate_keys(tmp_path / "keys")
    assert [file.name for file in secrets] == ["server.key_secret", "client.key_secret"]
    assert sorted(file.name for file in (tmp_path / "keys").iterdir()) == [
        "client.key", "client.key_secret", "server.key", "server.key_secret",
    ]  # fmt: skip
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in secrets)


def test_keys_are_zeromq_certificates(tmp_path: Path) -> None:
    secret = generate_keys(tmp_path)[0]
    ours = Keys.load(secret)
    assert (ours.public, ours.secret) == zmq.auth.load_certificate(secret)
    assert load_public(tmp_path / "server.key") == ours.public
    assert ours.secret.decode() not in repr(ours)


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    before = generate_keys(tmp_path)[0].read_bytes()
    with pytest.raises(TransportError) as caught:
        generate_keys(tmp_path)
    assert str(caught.value) == f"{tmp_path}/server.key_secret already exists; choose another folder or remove it first"
    assert (tmp_path / "server.key_secret").read_bytes() == before


@pytest.mark.parametrize("name", ["server.key", "server.key_secret", "client.key", "client.key_secret"])
@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), lambda path: path.symlink_to("nowhere")])
def test_no_file_of_a_pair_is_overwritten(tmp_path: Path, name: str, make: Callable[[Path], object]) -> None:
    make(tmp_path / name)
    with pytest.raises(TransportError, match=rf"/{name} already exists; choose another folder or remove it first$"):
        generate_keys(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_public_key_is_written_by_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        generate_keys(tmp_path)
    finally:
        os.umask(before)
    assert {(tmp_path / f"{name}.key").stat().st_mode & 0o777 for name in ("server", "client")} == {0o644}


def test_a_folder_that_cannot_be_created_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TransportError) as caught:
        generate_keys(tmp_path / "file" / "keys")
    assert (
        str(caught.value) == f"keys cannot be written to {tmp_path}/file/keys: Not a directory; choose another folder"
    )


def test_a_missing_key_raises_with_the_command_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TransportError) as caught:
        load_public(tmp_path / "server.key")
    assert str(caught.value).startswith(f"key file {tmp_path}/server.key cannot be read")
    assert str(caught.value).endswith("make keys with: posestream keygen keys")


def test_a_file_without_a_key_raises(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("dear diary\n")
    with pytest.raises(TransportError) as caught:
        load_public(tmp_path / "notes")
    assert f"key file {tmp_path}/notes cannot be read" in str(caught.value)


def test_a_public_key_instead_of_a_secret_one_raises(tmp_path: Path) -> None:
    generate_keys(tmp_path)
    with pytest.raises(TransportError) as caught:
        Keys.load(tmp_path / "server.key")
    assert str(caught.value) == f"key file {tmp_path}/server.key contains no secret key; give the .key_secret file"


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such modes")
def test_a_secret_that_others_can_read_raises_with_the_remedy(tmp_path: Path) -> None:
    secret = generate_keys(tmp_path)[0]
    secret.chmod(0o644)
    with pytest.raises(TransportError) as caught:
        Keys.load(secret)
    assert str(caught.value) == f"key file {secret} is readable by others (mode …44); run: chmod 600 {secret}"


def test_the_key_of_a_line_is_a_certificate_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = make_line_key(tmp_path / "hall.key")
    keys = Keys.load(path)
    assert (keys.public, keys.secret) == zmq.auth.load_certificate(path)
    assert [file.name for file in tmp_path.iterdir()] == ["hall.key"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_key_of_a_line_is_never_overwritten(tmp_path: Path) -> None:
    before = make_line_key(tmp_path / "hall.key").read_bytes()
    with pytest.raises(TransportError, match=r"hall\.key already exists; choose another name or remove it first"):
        make_line_key(tmp_path / "hall.key")
    assert (tmp_path / "hall.key").read_bytes() == before


def test_a_key_that_cannot_be_written_raises(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="cannot be written: No such file or directory; choose another name"):
        make_line_key(tmp_path / "no" / "hall.key")


def test_the_key_of_a_line_is_named_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSESTREAM_CURVE", raising=False)
    assert Keys.from_environment() is None
    path = make_line_key(tmp_path / "hall.key")
    monkeypatch.setenv("POSESTREAM_CURVE", str(path))
    assert Keys.from_environment() == Keys.load(path)


def test_keys_are_made_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = zmq.auth.create_certificates

    def fill(folder: Path, name: str) -> tuple[str, str | None]:
        if name == "client":
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(folder, name)

    monkeypatch.setattr(zmq.auth, "create_certificates", fill)
    with pytest.raises(TransportError, match=f"keys cannot be written to {tmp_path}: No space left on device"):
        generate_keys(tmp_path)
    assert list(tmp_path.iterdir()) == []
