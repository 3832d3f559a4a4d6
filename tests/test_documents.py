"""Runs what the pages show: commands, programs, launch strings, links, and the element reference."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from scripts.elements_page import page as elements_page
from stream.pipeline.launch import parse_launch, parse_yaml
from stream.registry import element_names
from tests.documents import Block, extract_imports, find_launch_strings, read_blocks

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
]
ALL = list(read_blocks(ROOT, PAGES))
RUN = [block for block in ALL if block.language in ("sh", "python") and block.mode != "not run"]
IMPORTED = [block for block in ALL if block.language == "python" and block.mode == "not run"]
SECTIONS = {
    "README.md": ("Install", "A live camera", "Subscribe", "Export and train", "When to use something else"),
    "docs/how-to/troubleshooting.md": ("No picture", "Slow", "After a crash"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all blocks of all pages run, one after the other, as a reader would type them."""
    return tmp_path_factory.mktemp("reader")


@contextmanager
def run_beside(command: str, folder: Path) -> Iterator[None]:
    """Run the command that a page names beside a block, until the block has ended."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=folder,
        env=make_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        assert process.poll() is None, f"{command} ended before the block: {process.communicate()[1]}"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def make_environment() -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}


def execute(block: Block, text: str, folder: Path) -> None:
    interpreter = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    ended = subprocess.run(
        [*interpreter, text],
        cwd=folder,
        env=make_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, f"{block}\n{text}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"


def skip_without_torch(block: Block) -> None:
    if re.search(r"\btorch\b|load_pretrained", block.text):
        pytest.importorskip("torch", reason=f"{block} needs PyTorch (pip install '.[torch]')")


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_runs(block: Block, folder: Path, no_leaks: None) -> None:
    if block.language == "python":
        skip_without_torch(block)
    with run_beside(block.note, folder) if block.mode == "run beside" else nullcontext():
        execute(block, block.text, folder)


@pytest.mark.parametrize("block", IMPORTED, ids=str)
def test_the_imports_of_a_block_that_is_not_run_succeed(block: Block, folder: Path) -> None:
    skip_without_torch(block)
    execute(block, extract_imports(block.text), folder)


def test_every_kind_of_block_is_found() -> None:
    assert {block.page for block in RUN} >= {"README.md", "docs/tutorials/getting-started.md"}
    assert {block.page for block in IMPORTED} >= {"README.md", "docs/reference/networks.md"}
    assert all(extract_imports(block.text) for block in IMPORTED)


def test_no_page_installs_posestream_from_an_index() -> None:
    for page in PAGES:
        assert not re.search(r"pip install\s+(-\S+\s+)*'?posestream", (ROOT / page).read_text("utf-8")), page


@pytest.mark.parametrize("page", PAGES)
def test_every_launch_string_of_a_page_can_be_linked(page: str) -> None:
    for line in find_launch_strings((ROOT / page).read_text("utf-8")):
        if "mine." in line:
            continue  # an element that the page itself defines; its block is run
        assert parse_launch(line).negotiate()


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "yaml"], ids=str)
def test_every_yaml_line_of_a_page_can_be_linked(block: Block) -> None:
    if re.search(r"^\s*line:", block.text, re.MULTILINE):
        assert parse_yaml(textwrap.dedent(block.text)).negotiate()


@pytest.mark.parametrize("page", SECTIONS)
def test_a_page_has_its_main_sections(page: str) -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert set(SECTIONS[page]) <= set(headings)


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_have_targets(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in _anchors(file), f"{page} links to {target}"


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_element_reference_is_what_inspect_prints() -> None:
    assert (ROOT / "docs" / "reference" / "elements.md").read_text("utf-8") == elements_page(), "run 'make pages'"


def test_the_readme_names_every_element_that_ships() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in element_names() if f"| `{name}` |" not in text] == []


def test_decisions_are_dated_pages() -> None:
    for path in (ROOT / "docs" / "explanation" / "decisions").glob("*.md"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d-[a-z0-9-]+", path.stem) or path.stem == "README", path.name
