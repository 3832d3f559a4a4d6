"""What the pages say is run: commands, examples, launch strings, links, and the list of elements."""

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
from tests.documents import Block, blocks, launch_strings

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]
ALL = list(blocks(ROOT, PAGES))
RUN = [block for block in ALL if block.language in ("sh", "python") and block.order != "not run"]
SECTIONS = {
    "README.md": ("Install", "A live camera", "Subscribe", "Export and train", "When to use something else"),
    "docs/how-to/troubleshooting.md": ("No picture", "Slow", "After a crash"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all blocks of all pages run, one after the other, as a reader would type them."""
    return tmp_path_factory.mktemp("reader")


@contextmanager
def running(command: str, folder: Path) -> Iterator[None]:
    """The command that a page says is run beside a block."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        assert process.poll() is None, f"{command} ended by itself: {process.communicate()[1]}"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def environment() -> dict[str, str]:
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}


def command_of(block: Block) -> list[str]:
    return [sys.executable, "-c", block.text] if block.language == "python" else ["bash", "-euo", "pipefail", "-c", block.text]  # fmt: skip # noqa: E501


@pytest.mark.parametrize("block", RUN, ids=str)
def test_what_a_page_says_to_type_works(block: Block, folder: Path, no_leaks: None) -> None:
    beside = running(block.told, folder) if block.order == "run beside" else nullcontext()
    with beside:
        answer = subprocess.run(
            command_of(block), cwd=folder, env=environment(), capture_output=True, text=True, timeout=100, check=False
        )
    assert answer.returncode == 0, f"{block}\n{block.text}\n{answer.stdout[-2000:]}\n{answer.stderr[-2000:]}"


def test_the_pages_hold_something_to_run() -> None:
    assert {block.page for block in RUN} >= {"README.md", "docs/tutorials/getting-started.md"}


@pytest.mark.parametrize("page", PAGES)
def test_every_line_a_page_launches_can_be_linked(page: str) -> None:
    for line in launch_strings((ROOT / page).read_text("utf-8")):
        if "mine." in line:
            continue  # an element that the page itself writes; its block is run
        assert parse_launch(line).negotiate()


@pytest.mark.parametrize("block", [block for block in ALL if block.language == "yaml"], ids=str)
def test_every_line_a_page_writes_in_yaml_can_be_linked(block: Block) -> None:
    if "line" in block.text:
        assert parse_yaml(textwrap.dedent(block.text)).negotiate()


@pytest.mark.parametrize("page", SECTIONS)
def test_a_page_has_the_sections_people_look_for(page: str) -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert set(SECTIONS[page]) <= set(headings)


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
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


def test_the_page_of_elements_is_what_inspect_prints() -> None:
    assert (ROOT / "docs" / "reference" / "elements.md").read_text("utf-8") == elements_page(), "run 'make pages'"


def test_the_readme_names_every_element_that_ships() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in element_names() if f"| `{name}` |" not in text] == []


def test_decisions_are_dated_pages() -> None:
    for path in (ROOT / "docs" / "explanation" / "decisions").glob("*.md"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d-[a-z0-9-]+", path.stem) or path.stem == "README", path.name
