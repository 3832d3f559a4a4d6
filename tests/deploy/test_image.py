"""The image, built without a daemon and without root in it, and a line that runs in it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = "testsrc num_frames=30 ! detect ! track ! queue ! window ! pose ! fakesink dump=true"
_RELEASE = "bookworm"

pytestmark = [pytest.mark.large, pytest.mark.timeout(3000)]


class Buildah:
    """Buildah with a storage of its own, which needs neither a daemon nor namespaces."""

    def __init__(self, folder: Path) -> None:
        self._storage = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"), "--storage-driver", "vfs")
        self.environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder)}

    def __call__(self, *words: str | Path) -> str:
        ended = subprocess.run(
            ["buildah", *self._storage, *map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{words}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
        return ended.stdout.strip()


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"no image: no {program}; apt-get install buildah debootstrap")
    if os.getuid():
        pytest.skip("no image: debootstrap needs root")
    folder = tmp_path_factory.mktemp("image")
    yield Buildah(folder)
    shutil.rmtree(folder, ignore_errors=True)  # gigabytes


@pytest.fixture(scope="module")
def base(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of Debian."""
    system = tmp_path_factory.mktemp("debian") / "root"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", _RELEASE, system], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no image: no Debian could be fetched: {made.stderr.strip()[-200:]}")
    container = buildah("from", "scratch")
    if trusted := os.environ.get("PIP_CERT"):  # of a proxy, say
        buildah("copy", "--quiet", container, trusted, "/etc/ssl/host.crt")
        buildah("config", "--env", "PIP_CERT=/etc/ssl/host.crt", container)
    buildah("copy", "--quiet", container, system, "/")
    buildah("commit", "--quiet", "--rm", container, "localhost/debian")
    shutil.rmtree(system)
    return "localhost/debian"


@pytest.fixture(scope="module")
def container(buildah: Buildah, base: str) -> str:
    """A container of the image."""
    buildah("build", "--quiet", "--layers=false", "--build-arg", f"BASE={base}", "--tag", "localhost/posestream", ROOT)
    return buildah("from", "localhost/posestream")


def test_a_line_runs_in_the_image_as_a_user_of_its_own(buildah: Buildah, container: str) -> None:
    def run(*words: str) -> str:
        return buildah("run", container, "--", *words)

    assert run("id", "-u") == "10001"
    printed = run("posestream", "launch", LINE)
    assert len(printed.splitlines()) == 30
    assert "web (starlette" in run("sh", "-c", "posestream doctor || true")
    for folder in ("/run/posestream", "/var/lib/posestream", "/var/cache/posestream"):
        assert run("stat", "--format=%U %a", folder) == "posestream 700"
    assert run("sh", "-c", "command -v gcc git || echo neither") == "neither"
