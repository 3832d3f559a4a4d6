"""The source and the documents use ordinary English: none of the words that this project once had of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.structure import PACKAGES, WORDS, find_words

FOLDERS = (*PACKAGES, "configs", "docs", "examples", "tests", "benchmarks")
QUOTES = ("tests/test_language.py", "CHANGELOG.md")
"""Files that name such words in order to say what became of them."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_word_of_the_old_dialect_is_left_in(folder: str, root: Path) -> None:
    files = [*(root / folder).rglob("*.py"), *(root / folder).rglob("*.md"), *(root / folder).rglob("*.yaml")]
    kept = [file for file in files if file.relative_to(root).as_posix() not in QUOTES and "results" not in file.parts]
    found = [f"{file.relative_to(root)}:{line}: {word}" for file in kept for line, word in find_words(file)]
    assert not found, "\n".join(found)


def test_such_a_word_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"plain\nit is {WORDS[0]}\n")
    assert list(find_words(page)) == [(2, WORDS[0])]
