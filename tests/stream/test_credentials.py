from __future__ import annotations

import io
import logging

import pytest

from stream.credentials import RedactingFormatter, expand_variables, redact
from stream.errors import SourceError

SECRETS = [
    ("rtsp://admin:hunter2@10.0.0.7/ch1", "rtsp://***@10.0.0.7/ch1"),
    ("rtsp://admin@10.0.0.7/ch1", "rtsp://***@10.0.0.7/ch1"),
    ("rtsp://admin:hun@ter2@10.0.0.7:554/ch1", "rtsp://***@10.0.0.7:554/ch1"),
    ("rtsp://admin:hun/ter2@10.0.0.7:554/ch1", "rtsp://***@10.0.0.7:554/ch1"),
    ("rtsp://admin:hun?ter2@10.0.0.7:554/ch1", "rtsp://***@10.0.0.7:554/ch1"),
    ("rtsp://admin:hunter2@[fe80::1]:554/ch1", "rtsp://***@[fe80::1]:554/ch1"),
    ("HTTPS://u:p@host/x", "HTTPS://***@host/x"),
    ("rtsp://10.0.0.7/ch1?token=hunter2&stream=1", "rtsp://10.0.0.7/ch1?token=***&stream=1"),
    ("http://10.0.0.7/v?user=admin&pwd=hunter2", "http://10.0.0.7/v?user=***&pwd=***"),
    ("http://h/v?access_token=hunter_2-x&X-Amz-Signature=beef", "http://h/v?access_token=***&X-Amz-Signature=***"),
    ("rtsp://10.0.0.7/user=admin&password=hunter2&channel=1", "rtsp://10.0.0.7/user=***&password=***&channel=1"),
    ("rtsp://10.0.0.7/user=admin_password=hunter2_channel=1.sdp?x", "rtsp://10.0.0.7/user=***?x"),
    ("[Errno 111] refused: 'rtsp://a:b@h/x'; again", "[Errno 111] refused: 'rtsp://***@h/x'; again"),
    ("rtsp://a:b@h/1 and rtsp://c:d@h/2", "rtsp://***@h/1 and rtsp://***@h/2"),
    ("url=rtsp://a:b@h/1 ! detect", "url=rtsp://***@h/1 ! detect"),
    ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
]


@pytest.mark.parametrize(("text", "safe"), SECRETS)
def test_a_user_password_or_token_in_an_address_is_hidden(text: str, safe: str) -> None:
    assert redact(text) == safe


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7:554/ch1",
        "rtsp://[fe80::1]/ch1",
        "rtsp://[fe80::1]:554/a@b",
        "http://host/a@b?stream=2",
        "tcp://*:5570",
        "ipc:///tmp/run/frames.sock",
        "detect: min_score=3 is not valid",
        "a mail to me@example.org",
    ],
)
def test_a_text_without_credentials_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_hiding_twice_changes_nothing_more() -> None:
    for text, safe in SECRETS:
        assert redact(redact(text)) == safe


def test_a_log_line_and_its_traceback_show_no_password() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise OSError("rtsp://admin:hunter2@h/x: refused")
    except OSError:
        logger.exception("lost %s", "rtsp://admin:hunter2@h/x")
    assert "hunter2" not in written.getvalue()
    assert "lost rtsp://***@h/x" in written.getvalue()


def test_a_variable_of_the_environment_may_stand_in_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALL_PASSWORD", "hunter2")
    assert expand_variables("rtsp://admin:${HALL_PASSWORD}@h/$x") == "rtsp://admin:hunter2@h/$x"


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(SourceError, match=r"contains \$\{NO_SUCH_THING\}, but the variable NO_SUCH_THING is not set"):
        expand_variables("rtsp://${NO_SUCH_THING}@h/")
