"""What is generated into the documents is what the code gives today."""

from __future__ import annotations

from pathlib import Path

import fault_table

from tools import architecture

ROOT = Path(__file__).resolve().parent.parent


def between(document: Path, begin: str, end: str) -> str:
    """What stands between two marks."""
    return document.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def test_the_diagram_is_that_of_the_imports() -> None:
    written = between(architecture.DOCUMENT, architecture.BEGIN, architecture.END)
    assert written == architecture.diagram(), "Fix: python -m tools.architecture --write"


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert architecture.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_every_planted_fault_is_seen_as_the_table_says() -> None:
    written = between(fault_table.DOCUMENT, fault_table.BEGIN, fault_table.END)
    made = fault_table.table(fault_table.observe())
    assert written == made, "Fix: python -m tests.fault_table --write, if the change is meant"
