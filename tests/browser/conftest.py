"""A real browser with a fresh profile, which may open files and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..reports.conftest import four_runs, make_run  # noqa: F401  the runs that are drawn
from .ensure_chromium import REASON, find

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Opened:
    """A page in the browser, with everything that it logged and asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))

    def settle(self) -> None:
        """Until what was asked for has been painted: the page paints in animation frames."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def window(self) -> tuple[str, ...]:
        """The labels of the time axis: what part of the run is in view."""
        return tuple(self.page.locator("#axis text:not(.soft)").all_text_contents())


def _missing(reason: str) -> None:
    if os.environ.get("LOCKJAW_BROWSER") == "required":
        pytest.fail(reason)
    pytest.skip(reason)


# Per module: Playwright's synchronous interface keeps an event loop going, beside which no other test could run one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed (tox -e browser installs it)")
    path = find()
    if path is None:
        _missing(REASON)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS), timeout=60_000)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """``open_page(html, hash="", dark=False, size=(1200, 900))``: the text as a file, opened and painted."""
    contexts = []

    def go(text: str, fragment: str = "", *, dark: bool = False, size: tuple[int, int] = (1200, 900)) -> Opened:
        file = tmp_path / "report.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", offline=True
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.goto(file.as_uri() + fragment)
        opened.page.wait_for_selector("html[data-ready]", state="attached") if "<script" in text else None
        opened.settle()
        return opened

    yield go
    for context in contexts:
        context.close()


@pytest.fixture
def keep(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Opened, str], bytes]:
    """Takes a screenshot; LOCKJAW_SCREENSHOTS names the folder where a CI run keeps them."""
    folder = Path(os.environ.get("LOCKJAW_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(opened: Opened, name: str) -> bytes:
        return bytes(opened.page.screenshot(path=folder / f"{name}.png"))

    return shoot
