"""What all commands have in common."""

from __future__ import annotations

from typing import Annotated

import pytest
import typer

from stream.cli.registration import add_command


def wait(
    seconds: Annotated[float, typer.Option("--for", "-f", min=0.1)] = 1.0, limit_s: float | None = None
) -> tuple[float, float | None]:
    """Wait."""
    return seconds, limit_s


def run(*words: str) -> object:
    app = typer.Typer()
    add_command(app, wait)
    return app(words, standalone_mode=False)


def test_finite_numbers_reach_the_command() -> None:
    assert run("--for", "2", "--limit-s", "3") == (2.0, 3.0)
    assert run() == (1.0, None)


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
@pytest.mark.parametrize("option", ["--for", "--limit-s"])
def test_numbers_that_are_not_finite_are_refused(option: str, value: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        run(option, value)
    assert option in refused.value.format_message()
