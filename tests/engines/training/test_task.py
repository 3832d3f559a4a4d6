"""Progress of a training where no terminal shows a bar."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("torch", reason="training needs PyTorch (pip install '.[torch]')")

from rich.console import Console

from engines.training.task import progress_bar


def test_a_log_file_gets_a_line_for_each_tenth() -> None:
    log = io.StringIO()
    with progress_bar(Console(file=log)) as bar:
        scenes = bar.add_task("rendering", total=40)
        for _ in range(40):
            bar.advance(scenes)
        training = bar.add_task("training", total=100, completed=55)  # one that resumes
        for step in range(56, 75):
            bar.update(training, completed=step, description="loss 0.5")
    lines = [line.partition(",")[0] for line in log.getvalue().splitlines()]
    assert lines == [*(f"rendering: {count} of 40" for count in range(4, 41, 4)), "loss 0.5: 60 of 100", "loss 0.5: 70 of 100"]  # fmt: skip # noqa: E501


def test_a_terminal_gets_a_bar() -> None:
    screen = io.StringIO()
    with progress_bar(Console(file=screen, force_terminal=True)) as bar:
        bar.advance(bar.add_task("rendering", total=1))
    assert "━" in screen.getvalue()
