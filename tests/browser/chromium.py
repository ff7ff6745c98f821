"""A headless Chromium of this machine, driven by Playwright."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


@contextmanager
def opened(url, width=1280, height=900):
    """A page of a browser of its own; only one at a time in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield tab(browser, url, width, height)
        browser.close()


def tab(browser, url, width=1280, height=900):
    """A page; whatever it complains about or asks the network for is in ``page.complaints`` and ``page.asked``."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.complaints, page.asked = [], []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(url)
    return page


def photographed(page, path):
    """A picture of the page in a file; whether it shows more than an empty one would."""
    page.screenshot(path=path)
    return path.stat().st_size > 30_000
