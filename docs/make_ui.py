"""The pictures of docs/ui.md: the page as it is, in Chromium without a window.

    python docs/make_ui.py

Starts ``kintsugi ui`` with the package's models, mends two examples and writes docs/pictures/ui-*.webp. Needs the
extras [ui,audio], playwright and a Chromium (``apt-get install chromium``).
"""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
PATIENCE = 600_000  # milliseconds
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@contextmanager
def served() -> Iterator[str]:
    """The address of a page that runs as long as it is needed."""
    words = [sys.executable, "-m", "kintsugi", "ui", "--no-browser", "--device", "cpu"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(" ")[0]
        process.send_signal(signal.SIGINT)


@contextmanager
def window(browser: Any, address: str, width: int, height: int) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready=yes]")
    yield page
    context.close()


def mend(page: Any) -> None:
    page.click("#k-mend")
    page.wait_for_selector("#k-result:not(.k-running) #k-views")
    page.wait_for_function("[...document.querySelectorAll('#k-pair img')].every((x) => x.hidden || x.complete)")


def save(page: Any, name: str) -> None:
    """What the window shows."""
    with Image.open(io.BytesIO(page.screenshot())) as shown:
        shown.convert("RGB").save(HERE / "pictures" / f"ui-{name}.webp", quality=85, method=6)


def main() -> None:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit("no Chromium here: apt-get install chromium")
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        with window(browser, address, 1180, 800) as page:
            page.click("[data-example=parrots]")
            page.wait_for_selector("body[data-wrong=holes]")
            for control, value in (("k-samples", 4), ("k-texture", 1)):  # at texture 0 samples hardly differ
                page.fill(f"#{control} input[type=number]", str(value))
                page.keyboard.press("Tab")
            page.wait_for_timeout(1000)
            page.evaluate("window.scrollTo(0, 0)")
            save(page, "mask")
            mend(page)
            page.click("[data-view=gold]")
            page.wait_for_timeout(1000)
            page.evaluate("document.getElementById('k-views').scrollIntoView(); window.scrollBy(0, -16)")
            save(page, "gold")
        with window(browser, address, 1180, 1400) as page:
            page.click("[data-example=voice]")
            page.wait_for_selector("body[data-wrong=hiss]")
            mend(page)
            page.wait_for_timeout(1000)
            page.evaluate("window.scrollTo(0, 0)")
            save(page, "sound")
        browser.close()


if __name__ == "__main__":
    main()
