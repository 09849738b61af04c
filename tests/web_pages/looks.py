"""A browser, and what is looked at on every page."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

CHECKS = (Path(__file__).parent / "checks.js").read_text()
SECONDS = 60
DESK, PHONE = (1280, 900), (360, 740)
THEMES = ("light", "dark")


def chromium() -> str:
    """Its path; "" where there is none."""
    named = os.environ.get("SAMOVAR_CHROMIUM", "")
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return named or next((path for path in found if path), "")


def missing() -> str:
    """Why there is no browser; "" if there is one."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "no playwright"
    return "" if chromium() else "no chromium"


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """A Chromium. As root it has no sandbox, which is well: it sees pages of this machine alone. In containers /dev/shm
    is small, so it keeps off it."""
    from playwright.sync_api import expect, sync_playwright  # only here: tests without a browser do without

    expect.set_options(timeout=SECONDS * 1000)
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()


def at(url: str, *parts: str, query: str = "") -> str:
    """The address of a page."""
    return f"{url}#/{'/'.join(quote(part, safe='') for part in parts)}{query}"


class Visitor:
    """One tab, and what went wrong in it."""

    def __init__(self, browser: Any, url: str, size: tuple[int, int] = DESK, theme: str = "light", **more: Any) -> None:
        self.url = url
        width, height = size
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, **more)
        self.context.set_default_timeout(SECONDS * 1000)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.is_service_ended = False
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("request", self._requested)

    def _heard(self, message: Any) -> None:
        is_refusal = message.text.startswith("Failed to load resource")
        if message.text.endswith("net::ERR_NETWORK_CHANGED"):
            return  # of the machine, and no fault of the page; tests/web_pages/test_cut_off.py
        if message.type in ("error", "warning") and not (is_refusal and self.is_service_ended):
            self.wrong.append(f"console: {message.text}")

    def _asked(self, dialog: Any) -> None:
        self.wrong.append(f"a script ran: {dialog.message}")
        dialog.dismiss()

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

    def open(self, *parts: str, query: str = "") -> Any:
        """The page, when it shows what it is for."""
        self.page.goto(at(self.url, *parts, query=query))
        self.page.locator("main h1, main .problem").first.wait_for()
        return self.page

    def check(self) -> None:
        """Nothing is wrong with what is shown now, nor was since the last time."""
        found = [*self.wrong, *self.page.evaluate(CHECKS)]
        self.wrong.clear()
        assert not found, "\n".join(found)

    def check_both_themes(self) -> None:
        for theme in THEMES:
            self.page.emulate_media(color_scheme=theme)
            self.check()

    def close(self) -> None:
        self.context.close()
        assert not self.wrong, "\n".join(self.wrong)
