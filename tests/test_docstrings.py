"""Style of docstrings: the first words name the thing, which "What ..." never does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("harness", "backends", "tools", "benchmarks", "tests")
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
FIX = "Fix: begin with the thing itself, by the field's own term, as in `A fork server ...`"


def described(source: str) -> Iterator[tuple[int, str]]:
    """The line and text of each docstring, and of each comment of a constant (`#:`)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text
    comment = re.compile(r"^\s*#: *(.*)")
    before = None
    for number, line in enumerate(source.splitlines(), 1):
        match = comment.match(line)
        if match and not before:  # the first line of the comment
            yield number, match[1]
        before = match


def riddles(source: str) -> list[int]:
    """The lines of descriptions that begin with "What"."""
    return [line for line, text in described(source) if re.match(r"What\b", text)]


@pytest.mark.parametrize(
    "path", [*FILES, ROOT / "noxfile.py"], ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_a_description_begins_with_the_thing(path: Path) -> None:
    found = riddles(path.read_text(encoding="utf-8"))
    assert not found, f"{path.name}: descriptions begin with `What` in lines {found}. {FIX}"


def test_riddles_are_found() -> None:
    lines = ['"""What it is."""', "#: What one row holds,", "#: What else.", "ROW = 1"]
    lines += ["def f():", '    """What f does."""', "class A:", '    """Whatever it is."""']
    source = "\n".join(lines)
    assert riddles(source) == [1, 6, 2]
