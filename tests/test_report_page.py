"""The report in headless Chromium: first screen, filters, addresses, themes, print, accessibility.

Skipped where there is no Chromium, or an environment without Playwright.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from stored_results import MORNING, NIGHT, NOON, cell, run_info, session

from backends.webgpu_browser import chromium
from harness.catalog import model_lists
from harness.commands import report
from harness.contract import Metric, Outcome, Stage, Unavailable, Verdict
from harness.report import html

playwright = pytest.importorskip("playwright.sync_api")

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> bell \x07"


def measured(median: float) -> list[Metric]:
    numbers = {"median": median, "p95": median * 1.2, "peak_memory": 300.0, "predicted": median * 9,
               "predicted_low": median * 8, "predicted_high": median * 10}  # fmt: skip
    return [
        Metric("inference", median, "s"),
        *(Metric(f"measured_{name}", value, "1") for name, value in numbers.items()),
    ]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on two runs of one backend, in the second of which `vit` broke, and on another."""
    root = tmp_path_factory.mktemp("page")
    folder = root / "results"
    cpu, npu = folder / "cpu.duckdb", folder / "npu.duckdb"
    names = [f"model_{at}" for at in range(40)]
    good = [cell(name, score=1.0 + at / 40) for at, name in enumerate(names)]
    fast = cell("whisper", metrics=measured(0.004), score=1.2)
    session(cpu, run_info("first", "cpu", MORNING), cell("bert"), cell("vit"), fast, *good)
    broken = cell(
        "vit", Outcome.FAIL, stage=Stage.VERIFY, verdict=Verdict.REGRESSED, score=300.0,
        reason=f"last_hidden_state is off by 0.3 {HOSTILE}", cause=f"off {HOSTILE}", error=HOSTILE,
    )  # fmt: skip
    newer = {"torch": "2.14.0", "transformers": "5.23.0"}
    session(
        cpu, run_info("second", "cpu", NOON, versions=newer), cell("bert"), broken, fast, *good,
        cell("bert", Outcome.FAIL, precision="f16", cause="half", reason="half is too narrow"),
    )  # fmt: skip
    slow = cell("whisper", metrics=measured(0.04), score=2.0)
    failing = [cell(name, Outcome.CRASH, cause="boom", reason="it went boom") for name in names[:9]]
    session(npu, run_info("other", "npu", NIGHT, emulated=True), cell("bert"), slow, *failing)
    (root / model_lists.FOLDER).mkdir()
    read = report.read(folder, lambda: model_lists.load(root / "nowhere"))
    path = root / "report.html"
    path.write_text(html.render(read), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        executable = chromium.executable()
    except Unavailable as reason:
        pytest.skip(str(reason))
    flags = chromium.flags(has_gpu=True, is_root=True)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=executable, args=flags)
        yield opened
        opened.close()


class Tab:
    """A page of the report that keeps what the console says."""

    def __init__(self, browser: Any, path: Path, address: str = "", **context: Any) -> None:
        given: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
        self.page = browser.new_context(**(given | context)).new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(f"{path.as_uri()}{address}")
        if context.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-ready]", state="attached")

    def go(self, address: str) -> None:
        self.page.evaluate("to => { location.hash = to; }", address)
        self.page.wait_for_function("to => document.documentElement.dataset.shown === to",
                                    arg=address)  # fmt: skip

    def wait_for_count(self, text: str) -> None:
        """Wait until the filters' count begins with a text: a new address is shown by an event."""
        begins = "text => document.getElementById('count').textContent.startsWith(text)"
        self.page.wait_for_function(begins, arg=text)

    def shown(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())


@pytest.fixture
def tab(browser: Any, page_file: Path) -> Iterator[Tab]:
    opened = Tab(browser, page_file)
    yield opened
    assert opened.said == []
    opened.page.context.close()


ADDRESSES = ("#/", "#/entry/vit", "#/backend/cpu", "#/causes", "#/pictures", "#/runs",
             "#/compare?a=run:first&b=run:second", "#/?verdict=regressed")  # fmt: skip


def test_the_first_screen_says_what_broke_without_scrolling(tab: Tab) -> None:
    assert "1 cell broke in the last run; 1 in all is not as expected" in tab.shown(".judgement")
    news = tab.page.locator(".changes li").first
    assert re.match(r"1 broke: vit on cpu", news.inner_text())
    assert "9" in tab.page.locator(".worst li").first.inner_text()
    assert "it went boom" in tab.page.locator(".worst li").first.inner_text()
    for selector in (".judgement", ".fresh", ".changes", ".worst", "#filters", "#heat"):
        box = tab.page.locator(selector).first.bounding_box()
        assert box is not None, selector
        assert box["y"] + box["height"] <= 800, selector


def test_a_square_is_named_by_keyboard_and_pointer_and_opens(tab: Tab) -> None:
    heat = tab.page.locator("#heat")
    heat.focus()
    heat.press("n")
    assert tab.shown(".tip").startswith("vit on cpu")
    assert "regressed" in tab.shown(".tip")
    assert "vit on cpu" in (tab.page.locator("#spoken").text_content() or "")
    heat.press("Enter")
    tab.page.wait_for_selector("#view h2")
    assert tab.shown("#view h2") == "vit"
    tab.go("#/")
    box = heat.bounding_box()
    assert box is not None
    tab.page.mouse.move(box["x"] + 3, box["y"] + 3)
    assert " on cpu" in tab.shown(".tip")


def test_filters_combine_count_and_stay_in_the_address(tab: Tab) -> None:
    tab.page.locator(".facet[data-name=outcome] summary").click()
    tab.page.get_by_label("fail", exact=False).first.check()
    tab.wait_for_count("2 cells of ")
    assert "outcome=fail" in tab.page.url
    tab.page.locator(".facet[data-name=precision] summary").click()
    choices = tab.shown(".facet[data-name=precision] .choices")
    assert re.findall(r"default 1|f16 1", choices) == ["default 1", "f16 1"]
    tab.page.get_by_label("f16").check()
    tab.wait_for_count("1 cell of ")
    tab.page.get_by_placeholder("Find a model").fill("narrow")
    tab.page.wait_for_function("location.hash.includes('text=narrow')")
    assert "bert" in tab.shown("#matches tbody")
    tab.page.reload()
    tab.page.wait_for_selector("#matches tbody")
    tab.wait_for_count("1 cell of ")
    tab.page.get_by_role("button", name="show all").click()
    tab.page.wait_for_selector("#matches table", state="detached")


def test_every_address_shows_its_page(tab: Tab) -> None:
    found: Mapping[str, str] = {}
    for address in ADDRESSES[1:]:
        tab.go(address)
        selector = "#matches" if "verdict" in address else "#view"
        found = {**found, address: tab.shown(selector)}
    assert "broke" not in found["#/entry/vit"]
    assert "python -m harness localise vit --backend cpu" in found["#/entry/vit"]
    assert "torch 2.13.0 → 2.14.0" in found["#/backend/cpu"]
    assert "it went boom" in found["#/causes"]
    assert "Coverage by family" in found["#/pictures"]
    assert "Pass in cpu, run of 2026-11-20 06:00, not in cpu" in found[ADDRESSES[6]]
    assert "vit" in found["#/?verdict=regressed"]
    tab.go("#/entry/nobody")
    assert "There is no entry nobody" in tab.shown("#view")


def test_the_best_backend_for_a_model_is_named_first(tab: Tab) -> None:
    tab.go("#/entry/whisper")
    assert "Best backend here: cpu" in tab.shown(".best")
    assert "a real device before an emulated one" in tab.shown("#view")
    assert tab.page.locator("#view figure svg").count() >= 3  # scores, speed, memory


def test_hostile_texts_stay_texts(tab: Tab) -> None:
    tab.go("#/entry/vit")
    assert "<script>document.title" in tab.shown("#view")
    tab.page.locator("#view a[href^='#/cause/']").first.click()
    tab.page.wait_for_selector("#view pre")
    assert "onerror=alert(1)" in tab.shown("#view pre")
    assert "\\x07" in tab.shown("#view pre")
    assert tab.page.locator("img").count() == 0
    assert "taken" not in tab.page.evaluate("document.title.slice(0, 5)")


def test_the_data_cannot_end_its_element(page_file: Path) -> None:
    text = page_file.read_text("utf-8")
    packed = text.split("id=data>")[1].split("</script>")[0].strip()
    assert re.fullmatch(r"[A-Za-z0-9+/=]+", packed)
    data = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert any("</script>" in text for text in data["texts"])


@pytest.mark.parametrize(("scheme", "addresses"), [("light", ADDRESSES), ("dark", ADDRESSES[:3])])
def test_axe_finds_nothing_serious(
    browser: Any, page_file: Path, scheme: str, addresses: Sequence[str]
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    opened = Tab(browser, page_file, color_scheme=scheme)
    for address in addresses:
        opened.go(address)
        found = [
            (one["id"], one["nodes"][0]["html"][:200])
            for one in axe.run(opened.page).response["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert not found, address
    opened.page.context.close()
    assert opened.said == []


def test_a_phone_scrolls_down_only(browser: Any, page_file: Path) -> None:
    size = {"width": 390, "height": 844}
    opened = Tab(browser, page_file, viewport=size, device_scale_factor=2)
    for address in ADDRESSES:
        opened.go(address)
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390, address
    opened.page.context.close()
    assert opened.said == []


def test_print_has_no_controls_and_the_heat_map(browser: Any, page_file: Path) -> None:
    opened = Tab(browser, page_file)
    opened.page.emulate_media(media="print")
    assert not opened.page.locator("#filters").is_visible()
    assert opened.page.locator("#heat").is_visible()
    assert opened.page.pdf()[:4] == b"%PDF"
    opened.page.context.close()


def test_the_tables_are_there_without_script(browser: Any, page_file: Path) -> None:
    opened = Tab(browser, page_file, java_script_enabled=False)
    assert "vit" in opened.shown(".changes")
    assert opened.page.locator("#t").is_visible()
    assert not opened.page.locator("#heat").is_visible()
    opened.page.context.close()
