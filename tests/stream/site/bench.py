"""A site whose lines are fake, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import PosestreamError
from stream.pipeline.launch import parse_launch
from stream.pipeline.pipeline import Pipeline
from stream.runtime.process import OnStderr
from stream.site.folder import CameraFolder
from stream.site.site import Site
from stream.site.template import Template

LINE = "testsrc realtime=true fps=25 width=64 height=64 people=1 noise=1 ! tests.toys.oracle ! keypointsink prefix=p/"


def make_template(text: str = LINE) -> Template:
    return Template(parse_launch(text), "site.yaml")


class FakeLine:
    """A line that ends a while after it is stopped."""

    def __init__(self, pipeline: Pipeline, run_dir: Path, on_stderr: OnStderr) -> None:
        self.pipeline, self.run_dir, self.on_stderr = pipeline, run_dir, on_stderr
        self.did: list[str] = []
        self.has_ended = False
        self.error: PosestreamError | None = None

    def play(self) -> None:
        self.did.append("play")

    def stop(self) -> None:
        self.did.append("stop")

    def kill(self) -> None:
        self.did.append("kill")
        self.has_ended = True

    def wait(self, timeout_s: float | None = None) -> bool:
        assert timeout_s == 0, "a turn does not wait"
        if self.error is not None:
            raise self.error
        return self.has_ended


class Bench:
    """A site of fake lines, and what it printed."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[FakeLine] = []
        self.printed: list[str] = []
        self.folder = CameraFolder(folder)
        self.site = Site(make_template(), self.folder, on_stderr=self.printed.append, start=self._start)

    def _start(self, pipeline: Pipeline, run_dir: Path, on_stderr: OnStderr) -> FakeLine:
        self.lines.append(FakeLine(pipeline, run_dir, on_stderr))
        return self.lines[-1]

    def states(self) -> dict[str, str]:
        self.site.turn()
        return {report.name: report.state for report in self.site.reports}

    def why(self, name: str) -> str:
        return next(report.why for report in self.site.reports if report.name == name)


@contextmanager
def open_bench(folder: Path) -> Iterator[Bench]:
    """A site with its cameras in ``folder``; in the end all lines have ended."""
    bench = Bench(folder)
    try:
        yield bench
    finally:
        for line in bench.lines:
            line.has_ended = True
        bench.site.close()
