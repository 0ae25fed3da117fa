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


def test_every_planted_fault_is_seen_as_the_table_says() -> None:
    written = between(fault_table.DOCUMENT, fault_table.BEGIN, fault_table.END)
    # In a process of its own: one process has one fork server, with one list of preloaded modules.
    done = subprocess.run(
        [sys.executable, "-m", "tests.fault_table"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert written == done.stdout.strip(), (
        "Fix: python -m tests.fault_table --write, if the change is meant"
    )
