"""Untrusted text, end to end: no terminal, log, report or badge gets it raw or whole."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET

import pytest
from workplace import ROOT, Workplace

from harness.__main__ import main
from harness.commands import report
from harness.report import badges, html, markdown
from harness.toolkit import checkout
from harness.toolkit.printable import KEPT, KEPT_LINE

#: Text that is never shown: control characters, and commands to a CI's runner.
RAW = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|^\\s*::|##\\w*\\[", re.MULTILINE
)

ENTRIES = "bert long lines exits declines absent"

Loud = tuple[Workplace, subprocess.CompletedProcess[str]]


def raw(text: str) -> list[str]:
    """Where a text speaks to a terminal or a runner."""
    return [text[max(0, found.start() - 60) : found.end() + 20] for found in RAW.finditer(text)]


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Loud:
    workplace = Workplace(tmp_path_factory.mktemp("loud"))
    workplace.write(vision=ENTRIES)
    junit = workplace.folder / "junit.xml"
    # The fork server finds the module that the backend has it import.
    path = str(ROOT / "tests")
    done = workplace.run("loud", "-v", "-rA", f"--junitxml={junit}", CI="true", PYTHONPATH=path)
    assert set(workplace.cells("loud")) == set(ENTRIES.split()), done.stdout
    return workplace, done


def test_a_run_prints_nothing_raw_and_nothing_whole(loud: Loud) -> None:
    _, done = loud
    assert raw(done.stdout) == []
    assert len(done.stdout) < 30_000
    assert done.stdout.count("as it is imported") == 3  # by the fork server
    assert "device: Loud \\x1b[2J" in done.stdout
    assert "more characters, in the results" in done.stdout
    assert re.search(r"^\\::error file=x::no", done.stdout, re.MULTILINE)


def test_junit_holds_nothing_raw(loud: Loud) -> None:
    workplace, _ = loud
    text = (workplace.folder / "junit.xml").read_text()
    ET.fromstring(text)
    assert raw(text) == []
    assert len(text) < 60_000


def test_a_result_keeps_a_bounded_text(loud: Loud) -> None:
    workplace, _ = loud
    cell = workplace.cells("loud")["long"]
    assert len(cell["error"]) < 1.1 * KEPT
    assert "characters left out" in cell["error"]
    assert "from C code" in cell["error"]  # the end of what the child printed
    assert len(cell["reason"]) < KEPT_LINE + 100


def test_reports_and_commands_show_nothing_raw(
    loud: Loud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace, _ = loud
    monkeypatch.setattr(checkout, "ROOT", workplace.folder)
    made = report.read(workplace.results)
    page, text = html.render(made), markdown.render(made)
    assert raw(page) == raw(text) == []
    assert len(page) < 700_000  # 500,000 of it are the charts, and a message was of 5 MB
    assert len(text) < 50_000
    for badge in badges.badges(made.totals, made.runs).values():
        assert raw(badge) == []
    given = [f"--results={workplace.results}", f"--root={workplace.folder}"]
    (workplace.folder / "backends").mkdir(exist_ok=True)
    for command in (["advise", "long"], ["operators"], ["advise", "long", "--json"]):
        main([*command, *given])
    printed = capsys.readouterr()
    assert "known faults" in printed.out
    assert raw(printed.out + printed.err) == []
