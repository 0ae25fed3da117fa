"""Screenshots of the report for README and docs, by headless Chromium.

    .nox/tests/bin/python -m tools.screenshots results/report.html

writes docs/report.png (the first screen), docs/report-entry.png (the page of a model) and
docs/report-pictures.png. Give it the report of a real set of sessions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import sync_playwright

from backends.webgpu_browser import chromium
from harness.toolkit.checkout import ROOT

#: Name of each picture, with its address, colour scheme and height.
PICTURES: Mapping[str, tuple[str, str, int]] = {
    "report": ("#/", "light", 720),
    "report-entry": ("#/entry/whisper", "light", 800),
    "report-pictures": ("#/pictures", "dark", 800),
}

#: Width of the window, as a small laptop's.
WIDTH = 1280


def main() -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("page", type=Path, help="the report.html that is shown")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="DIR")
    given = parser.parse_args()
    flags = chromium.flags(has_gpu=True, is_root=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium.executable(), args=flags)
        for name, (address, scheme, height) in PICTURES.items():
            size = {"width": WIDTH, "height": height}
            tab = browser.new_context(viewport=size, color_scheme=scheme).new_page()
            tab.goto(f"{given.page.absolute().as_uri()}{address}")
            tab.wait_for_selector("html[data-ready]", state="attached")
            if name == "report-pictures":
                tab.locator("figure", has_text="Scores").first.scroll_into_view_if_needed()
                tab.evaluate("""[...document.querySelectorAll('figcaption')]
                    .find(one => one.textContent.startsWith('Scores')).scrollIntoView()""")
            tab.screenshot(path=given.output / f"{name}.png")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
