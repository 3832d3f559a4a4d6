"""A real browser, driven over the Chrome DevTools Protocol: Debian's chromium-headless-shell, or chromium."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_START_S, _ANSWER_S = 60.0, 60.0


class Page:
    """One page of the browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._numbers = connection, itertools.count(1)
        self.errors: list[str] = []
        """What the page complained about: exceptions and violations of its Content-Security-Policy."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(_ANSWER_S))
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _note(self, event: dict[str, Any]) -> None:
        if event.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(event["params"]["exceptionDetails"]))
        entry = event.get("params", {}).get("entry", {}) if event.get("method") == "Log.entryAdded" else {}
        if entry.get("level") == "error":
            self.errors.append(entry["text"])

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in JavaScript, as JSON carries it."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = 60) -> Any:
        """Wait until an expression is true, and return its value."""
        end_s = time.monotonic() + timeout_s
        while not (value := self.run(script)):
            assert time.monotonic() < end_s, f"never true: {script}; {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window in px."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``, as the user's system does."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self) -> bytes:
        """The window as JPEG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="jpeg", quality=80)["data"])


@contextmanager
def open_browser(folder: Path) -> Iterator[Page]:
    """Start a browser with an empty profile in ``folder``. Raises :class:`LookupError` where none is installed."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        raise LookupError("no Chromium is installed (Debian: chromium-headless-shell)")
    command = [program, "--headless", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--disable-gpu"]
    command += ["--no-first-run", "--mute-audio", "--hide-scrollbars", "--disable-dev-shm-usage"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    # In a group of its own: what is installed is a script, which would end without the browser that it starts.
    process = subprocess.Popen(
        [*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with connect(_find_page(folder), max_size=2**26, compression=None) as connection:
            yield Page(connection)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _find_page(folder: Path) -> str:
    """The address of the first page of a browser, which writes its port to a file."""
    file, end_s = folder / "DevToolsActivePort", time.monotonic() + _START_S
    while not file.exists() or len(file.read_text().splitlines()) < 2:
        assert time.monotonic() < end_s, "the browser does not start"
        time.sleep(0.05)
    port = file.read_text().splitlines()[0]
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
            pages = [one for one in json.loads(answer.read()) if one["type"] == "page"]
        if pages:
            return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
