"""Where log records go, from which level on, and that they hold no passwords."""

from __future__ import annotations

import logging
import os
import sys

import pytest

from stream.logs import LEVEL_VARIABLE, is_quiet, level_from_environment, logging_to_stderr, redacting_stderr

_log = logging.getLogger("stream.somewhere")

Capture = pytest.CaptureFixture[str]


def test_a_warning_is_one_line_and_what_is_below_the_level_is_none(capsys: Capture) -> None:
    with logging_to_stderr(logging.WARNING, prefix="posestream: "):
        _log.warning("%s is damaged", "clip.mp4")
        _log.info("not shown")
    assert capsys.readouterr().err == "posestream: warning: clip.mp4 is damaged\n"


def test_details_come_with_the_name_of_their_logger(capsys: Capture) -> None:
    with logging_to_stderr(logging.DEBUG):
        _log.debug("opened")
        _log.info("running")
    assert capsys.readouterr().err == "debug: stream.somewhere: opened\ninfo: running\n"


def test_a_password_is_left_out_of_records_and_their_tracebacks(capsys: Capture) -> None:
    with logging_to_stderr(logging.WARNING):
        try:
            raise OSError("no route to rtsp://admin:hunter2@10.0.0.7/")
        except OSError:
            _log.exception("rtsp://admin:hunter2@10.0.0.7/ is lost")
    printed = capsys.readouterr().err
    assert "rtsp://***@10.0.0.7/ is lost" in printed
    assert "Traceback" in printed
    assert "hunter2" not in printed


def test_what_libraries_print_shows_no_password_and_stderr_is_as_before(capsys: Capture) -> None:
    before = sys.stderr
    with redacting_stderr("launch rtspsrc rtsp://admin:hun ter22@h/x"):
        print("near 'ter22@h/x' and rtsp://u:p@h", file=sys.stderr)
        sys.stderr.writelines(["hun\n", "ter22\n"])
        assert sys.stderr.isatty() == before.isatty()
    assert sys.stderr is before
    printed = capsys.readouterr().err
    assert "***@h/x' and rtsp://***@h" in printed
    assert not any(part in printed for part in ("hun", "ter22", "u:p"))


def test_parts_inherit_the_level_and_afterwards_all_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LEVEL_VARIABLE, raising=False)
    before = logging.getLogger().level
    with logging_to_stderr(logging.ERROR):
        assert os.environ[LEVEL_VARIABLE] == "error"
        assert level_from_environment() == logging.ERROR
        assert is_quiet()
    assert LEVEL_VARIABLE not in os.environ
    assert level_from_environment() == logging.WARNING
    assert logging.getLogger().level == before
