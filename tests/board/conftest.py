"""A board as an operator starts it, and a browser that looks at it. Without one tests fail with the line that installs it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from golive.environment import ROOT

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def inv(state: Path, *words: str, **more: Any) -> subprocess.Popen[str]:
    """``./inv`` with ``words``, with its state under ``state``."""
    argv = [sys.executable, "-P", "-m", "golive.program", "--search-root", str(ROOT), *words]
    environment = {**os.environ, "GOLIVE_STATE": str(state), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **more)


@contextmanager
def boarding(state: Path, env: str, *more: str, port: str = "0") -> Iterator[str]:
    """The board of ``env``, from here to the end of the block; its URL. It has to end well with Ctrl-C."""
    process = inv(state, "board", "--env", env, "--port", port, *more, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"http://\S+/", said)
    assert found, f"the board did not say where it is: {said}{process.stdout.read() if process.poll() is not None else ''}"
    try:
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, ""), rest


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("The board's tests drive a browser that this machine lacks; on Debian, as root: apt-get install chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watcher:
    """A page, and everything it asked for or complained of."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def measured(self, name: str) -> list[float]:
        """Milliseconds of every measure of that name."""
        found: list[float] = self.page.evaluate("name => performance.getEntriesByName(name, 'measure').map(entry => entry.duration)", name)
        return found

    def until(self, true: str, arg: Any = None, within_s: float = 60.0) -> None:
        """Waits until an expression, or a function of ``arg``, is true in the page. Playwright's own way needs eval, which it forbids."""
        end = time.monotonic() + within_s
        while not self.page.evaluate(true, arg):
            assert time.monotonic() < end, f"it was never true that {true} ({arg}); complaints: {self.complaints}"
            self.page.wait_for_timeout(30)

    def text(self, selector: str) -> str:
        return " ".join(self.page.inner_text(selector).split())


@pytest.fixture
def look(chromium: Browser) -> Iterator[Callable[..., Watcher]]:
    """Opens a page at a URL; at the end nothing may have been asked of anybody but the board, and no script may have failed."""
    opened: list[tuple[BrowserContext, Watcher, str]] = []

    def at(url: str, *, dark: bool = True, size: Any = None, wait: bool = True) -> Watcher:
        context = chromium.new_context(viewport=size or WIDE, color_scheme="dark" if dark else "light", reduced_motion="reduce")
        context.set_default_timeout(60_000)
        watcher = Watcher(context.new_page())
        watcher.page.on("request", lambda request: watcher.asked.append(request.url))
        watcher.page.on("pageerror", lambda error: watcher.complaints.append(str(error)))
        watcher.page.on("console", lambda said: watcher.complaints.append(said.text) if said.type in ("error", "warning") else None)
        opened.append((context, watcher, url))
        watcher.page.goto(url)
        if wait:
            watcher.until("performance.getEntriesByName('board:charts').length > 0")
        return watcher

    yield at
    for context, watcher, url in opened:
        context.close()
        assert [asked for asked in watcher.asked if not asked.startswith(url)] == []
        # A board that ended before the page, and one that asks for a token, are told of by the browser itself.
        assert [said for said in watcher.complaints if not re.search("401|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE", said)] == []
