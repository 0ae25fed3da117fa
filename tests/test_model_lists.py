"""The lists of this repository. What a list must look like is `test_catalog.py`'s business."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from harness import catalog, discover, toml_text
from harness.catalog import ENTRY_KEYS, ROOT
from harness.contract import FAMILIES, PRIORITIES

CATALOG = catalog.load()
LISTS = sorted(set(CATALOG.files.values()))


def test_every_family_has_entries() -> None:
    assert CATALOG.families() == FAMILIES


def test_every_architecture_of_the_installed_transformers_is_listed() -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("no transformers in this environment: `nox -s torch-cpu` has it")
    difference = discover.compare(discover.installed(), CATALOG)
    fix = "Fix: `python -m harness discover --write`, then review the new rows"
    assert not difference.new, f"unlisted: {', '.join(difference.new)}. {fix}"
    assert not difference.gone, f"gone from transformers: {', '.join(difference.gone)}"
    assert not difference.renamed, f"renamed: {difference.renamed}"


def test_guesses_are_mostly_right() -> None:
    """What `discover --write` would have said about a third of what people listed."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("no transformers in this environment: `nox -s torch-cpu` has it")
    library = discover.installed()
    right = Counter(
        library.guess(entry.architecture).family == entry.family
        for entry in list(CATALOG.entries.values())[::3]
        if entry.architecture in library.architectures
    )
    assert right[True] / right.total() > 0.9


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_list_is_sorted_and_its_keys_stand_in_their_order(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    assert list(tables) == sorted(tables)
    for name, table in tables.items():
        assert list(table) == [key for key in ENTRY_KEYS if key in table], name


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_list_reads_as_our_writer_writes_it(path: Path) -> None:
    """So that a row that `discover --write` adds looks like the ones around it."""
    text = path.read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    header = text[: text.index("\n\n[") + 1]
    written = header + "".join("\n" + toml_text.table(name, tables[name]) for name in tables)
    comments = re.compile(r"^# .*\n", re.MULTILINE)
    assert comments.sub("", text) == comments.sub("", written)


def test_nothing_is_left_to_review() -> None:
    left = [path.name for path in LISTS if "# review:" in path.read_text(encoding="utf-8")]
    assert not left, f"rows that nobody has reviewed: {left}"


def test_entries_say_what_a_user_needs() -> None:
    for entry in CATALOG.entries.values():
        assert re.fullmatch(r"[a-z0-9-]+", entry.task), entry
        assert entry.library == "transformers" or entry.requires, entry
        assert not entry.notes or entry.notes.endswith("."), entry


def test_priorities_are_a_pyramid() -> None:
    counts = Counter(entry.priority for entry in CATALOG.entries.values())
    numbers = [counts[priority] for priority in PRIORITIES]
    assert numbers == sorted(numbers)
    assert 15 <= counts["critical"] <= 25


def test_the_smoke_list_spans_all_families() -> None:
    smoke = CATALOG.select("smoke")
    assert {entry.family for entry in smoke} == set(FAMILIES)
    assert len(smoke) <= 35


def test_the_readme_names_every_key_and_list() -> None:
    readme = (ROOT / "model_lists" / "README.md").read_text(encoding="utf-8")
    for word in [*ENTRY_KEYS, *(path.stem for path in LISTS)]:
        assert f"`{word}`" in readme, word
