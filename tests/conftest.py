"""What tests share: the real clips, and a check that a test leaves no process and no shared memory behind."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from engines.redaction import forget_masks
from tests.caches import cache_folder

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.scheduling import FileScheduling

# PyTorch's threads spin while they wait for each other; beside anything else that runs, tests would take minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Small tensors gain nothing from threads, which then only cost processor time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test downloads a network; those of downloads have a server of their own.
os.environ["POSESTREAM_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parents[1]
_SEGMENTS = Path("/dev/shm")
_MARK = "POSESTREAM_TEST"
# Long enough for a janitor on a busy machine to notice that its parent has gone; a clean machine never waits.
_TIMEOUT_S = 30.0


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors, since a worker that runs lines waits for other processes most of the time."""
    return (os.cpu_count() or 1) + 1


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling | None:
    """A lost worker fails the run; with the scheduler of pytest-xdist, it would never end."""
    from tests.scheduling import FileScheduling

    return FileScheduling(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked ``large`` or ``slow`` unless ``-m`` or their own name selects them, and begin with the
    files that take longest."""
    left_out = [item for item in items if _is_left_out(item, config)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    if hasattr(config, "workerinput"):
        items.sort(key=_find_rank)


LONGEST = (
    "tests/stream/test_survival.py",
    "tests/test_wheel.py",
    "tests/test_documents.py",
    "tests/stream/test_faults.py",
    "tests/stream/test_shared_sources.py",
    "tests/test_rules.py",
    "tests/stream/test_main.py",
    "tests/stream/evaluation/test_live.py",
    "tests/export/test_exporter.py",
    "tests/stream/test_feature_reuse.py",
    "tests/stream/cli/test_line_runner.py",
)
"""Files in the order in which workers take them; all others follow. Without it, one worker ends long after the others.
``--no-loadscope-reorder`` keeps the order: pytest-xdist would begin with the files that have most tests."""


def _is_left_out(item: pytest.Item, config: pytest.Config) -> bool:
    if any("::" in argument for argument in config.args):
        return False
    marks = [name for name in ("large", "slow") if item.get_closest_marker(name)]
    return bool(marks) and marks[0] not in config.option.markexpr


def _find_rank(item: pytest.Item) -> int:
    file = item.path.relative_to(ROOT).as_posix() if item.path.is_relative_to(ROOT) else item.path.name
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def forget_secrets() -> Iterator[None]:
    """The passwords of one test are hidden from its own messages only."""
    yield
    forget_masks()


@pytest.fixture(scope="session", autouse=True)
def own_cache(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compiled kernels and the like go into pytest's cache; the user's own is neither read nor written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSESTREAM_CACHE", str(cache_folder(request, "posestream")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real clips, annotations and networks, kept beside the checkout and never in it; skips where they are not."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"the real clips and networks are not here: no {folder.name}/ beside the checkout")
    return folder


@pytest.fixture
def no_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails the test if a process it started, or a shared-memory segment it made, is still there after it.

    Processes are known by a mark in their environment, which children inherit, so that one whose parent was killed is
    found too. A segment is left over when it is new and no process maps it any more.
    """
    mark = uuid.uuid4().hex
    monkeypatch.setenv(_MARK, mark)
    before = _segments()
    yield
    left = _wait_until_gone(lambda: [*_marked_processes(mark), *_orphans(_segments() - before)])
    assert not left, f"left behind: {left}"


def _wait_until_gone(look: Callable[[], list[str]]) -> list[str]:
    """What is still there when the time for ending by itself is over."""
    deadline = time.monotonic() + _TIMEOUT_S
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _segments() -> set[str]:
    return {entry.name for entry in _SEGMENTS.glob("posestream-*")} if _SEGMENTS.is_dir() else set()


def _orphans(names: set[str]) -> list[str]:
    if not names:
        return []
    mapped = {Path(region.path).name for process in psutil.process_iter(["memory_maps"]) for region in _maps(process)}
    return [str(_SEGMENTS / name) for name in sorted((names & _segments()) - mapped)]


def _maps(process: psutil.Process) -> Sequence[Any]:
    return process.info["memory_maps"] or ()  # None where it is not ours to read


def _marked_processes(mark: str) -> list[str]:
    found = (process.info for process in psutil.process_iter(["pid", "environ", "cmdline"]))
    marked = [info for info in found if (info["environ"] or {}).get(_MARK) == mark]
    lines = [f"process {info['pid']}: {' '.join(info['cmdline'])}" for info in marked if info["cmdline"]]
    # Python's own resource tracker lives as long as the test process that started it.
    return [line for line in lines if "resource_tracker" not in line]
