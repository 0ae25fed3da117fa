"""Generated parts of the documents are what the code gives today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fault_table

from tools import architecture

ROOT = Path(__file__).resolve().parent.parent


def between(document: Path, begin: str, end: str) -> str:
    """The text between two marks."""
    return document.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def test_the_diagram_is_that_of_the_imports() -> None:
    written = between(architecture.DOCUMENT, architecture.BEGIN, architecture.END)
    assert written == architecture.diagram(), "Fix: python -m tools.architecture --write"


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert architecture.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


#: A few, for each model. All of them take ten minutes: `python -m tests.fault_table`.
PLANTED = "default,weight-off,own-buffer,wrong-later"


def test_planted_faults_are_caught_and_named() -> None:
    # In a process of its own: one process has one fork server, with one list of preloaded modules.
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault_table", "--faults", PLANTED],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_table_has_every_planted_fault() -> None:
    from fakes.vendor.faults import FAULTS

    written = between(fault_table.DOCUMENT, fault_table.BEGIN, fault_table.END)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in written.splitlines()]
    faults = {row[0]: row[1] for row in rows if len(row) == 6 and row[0] in FAULTS}
    assert faults == {name: fault.about for name, fault in FAULTS.items()}, (
        "Fix: python -m tests.fault_table --write"
    )
    models = {row[0]: row[1:] for row in rows if len(row) == 6 and row[0] in fault_table.MODELS}
    assert models.keys() == set(fault_table.MODELS)
    for planted, caught, named, harmless, passed in models.values():
        assert planted == caught == named
        assert harmless == passed
