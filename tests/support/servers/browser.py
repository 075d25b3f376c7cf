"""A real browser for tests: Chromium, driven by Playwright.

Looked for in this order: the program that ``SECURE_XCOM_TEST_CHROMIUM`` names, Chromium or Chrome on PATH, the one
that ``playwright install chromium`` has put into its cache, and, as root on Debian where tests may install things
(``SECURE_XCOM_TEST_BUILD=true``, or CI), Debian's own package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, BrowserType, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_SECONDS = 420
# The sandbox needs a user of its own, and nothing but 127.0.0.1 is to be asked for anything.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000
"""How long a test waits for a page: a browser on a machine with much other work is slow."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Find the browser and start it; it ends with the context. Skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program(started.chromium), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def profiled_chromium(folder: Path, **options: Any) -> Iterator[BrowserContext]:
    """Start the browser with a profile in a folder, as a person's own has; it ends with the context."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        context = started.chromium.launch_persistent_context(
            folder, executable_path=program(started.chromium), args=list(ARGUMENTS), **options
        )
        try:
            yield context
        finally:
            context.close()


def end_login(window: Page, act: Callable[[], None]) -> None:
    """Do what ends a login in its window, which may close itself before the browser has said that it was done."""
    playwright = pytest.importorskip("playwright.sync_api")
    try:
        act()
    except playwright.Error:
        if not window.is_closed():
            raise


def program(of: BrowserType) -> str:
    """The path of the browser's program. Skips where there is none."""
    if given := os.environ.get("SECURE_XCOM_TEST_CHROMIUM"):
        return given
    if (found := _on_path()) or (found := _from_playwright(of)) or (found := _from_debian()):
        return found
    pytest.skip("no Chromium: install it, or name it in SECURE_XCOM_TEST_CHROMIUM")


def _on_path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _from_playwright(of: BrowserType) -> str | None:
    return of.executable_path if Path(of.executable_path).exists() else None


def _from_debian() -> str | None:
    allowed = "true" in (os.environ.get("SECURE_XCOM_TEST_BUILD"), os.environ.get("CI"))
    if not allowed or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    for command in (
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", "chromium"],
    ):
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode and "install" in command:
            pytest.fail(f"`{' '.join(command)}` failed: {done.stderr[-2000:]}")
    return _on_path()
