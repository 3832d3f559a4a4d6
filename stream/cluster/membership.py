"""What this host knows of the cluster that it is in: a folder of this user with the token and the head's address."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import platformdirs

from engines.formats.json import NOT_JSON
from stream.errors import TransportError
from stream.runtime.private_files import create, find_fault, read_own, take_lock, write

VARIABLE = "POSESTREAM_CLUSTER_DIR"
"""Environment variable that names the folder."""


_LOCK_S = 0.5
"""How long the lock of the folder is waited for, which a command that looks has for a moment."""


class Membership(msgspec.Struct, frozen=True):
    """The address of the head (``HOST:PORT``), the file with the token, this host's name and address in the cluster,
    whether it is the head, and the process that runs it."""

    head: str
    token_file: str
    name: str
    address: str = ""
    is_head: bool = False
    pid: int = 0


def find_folder() -> Path:
    """The folder, which is made if it is missing. Raises :class:`TransportError` if others may enter it."""
    given = os.environ.get(VARIABLE, "")
    folder = Path(given) if given else Path(platformdirs.user_state_dir("posestream")) / "cluster"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise TransportError(
            f"the folder of the cluster {folder} cannot be made: {error.strerror}; set {VARIABLE}"
        ) from None
    if fault := find_fault(folder):
        raise TransportError(f"the folder of the cluster {folder} {fault}, or choose another with {VARIABLE}")
    return folder


def find_token(folder: Path, *, is_new: bool = False) -> Path:
    """The file with the token of the cluster; made where ``is_new``. Raises :class:`TransportError` without one."""
    file = folder / "token"
    if not file.exists():
        if not is_new:
            raise TransportError(
                f"there is no {file}; copy the head's token there, mode 600, or name it with --token-file"
            )
        create(file, secrets.token_hex(32))
    return check_token(file)


def check_token(file: Path) -> Path:
    """The file, if it holds a token and others may not read it. Raises :class:`TransportError`."""
    try:
        token, mode = read_own(file), file.stat().st_mode
    except OSError as error:
        raise TransportError(f"the token of the cluster cannot be read from {file}: {error}") from None
    if not token.strip():
        raise TransportError(f"{file} is empty; copy the head's token there")
    if mode & 0o077:
        raise TransportError(f"others may read the token in {file} (mode {mode & 0o777:o}); chmod 600 {file}")
    return file.absolute()


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Be the process that runs this host, for as long as it lives. Raises :class:`TransportError` if there is one."""
    until_s = time.monotonic() + _LOCK_S
    while (lock := take_lock(folder)) is None:
        if time.monotonic() > until_s:
            raise TransportError(_describe_other(load(folder)))
        time.sleep(0.05)
    try:
        _forget(folder)
        yield
    finally:
        _forget(folder)
        os.close(lock)


def save(folder: Path, membership: Membership) -> None:
    """Keep what is known; for the process that is :func:`holding` the folder."""
    write(folder / "member.json", msgspec.json.encode(membership))


def load(folder: Path) -> Membership | None:
    """What is known; None where no process runs this host, as after it was killed or the host was started again."""
    lock = take_lock(folder)
    if lock is not None:
        os.close(lock)
        return None
    try:
        return msgspec.json.decode(read_own(folder / "member.json"), type=Membership)
    except (OSError, *NOT_JSON):  # it is starting
        return None


def _forget(folder: Path) -> None:
    (folder / "member.json").unlink(missing_ok=True)


def _describe_other(member: Membership | None) -> str:
    if member is None:
        return "this host is being made the head of a cluster already, by another process; wait for it, or end it"
    what = "is the head of a cluster" if member.is_head else f"has joined the cluster of {member.head}"
    return f"this host {what} already (process {member.pid}); 'posestream cluster down' ends that"


def require(folder: Path) -> Membership:
    """What is known. Raises :class:`TransportError` where this host is in no cluster."""
    found = load(folder)
    if found is None:
        raise TransportError(
            "this host is in no cluster; start one with 'posestream cluster up', or join one with 'posestream cluster "
            "join HEAD:PORT'"
        )
    return found
