"""The lists of this repository. What a list must look like is `test_catalog.py`'s business."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from harness.catalog import discovery, family_guess, installed, model_lists
from harness.catalog.heads import known_heads
from harness.catalog.model_lists import ENTRY_KEYS
from harness.contract import FAMILIES, PRIORITIES, HarnessError
from harness.toolkit import toml_text
from harness.toolkit.checkout import ROOT

CATALOG = model_lists.load()
LISTS = sorted({path for path in CATALOG.files.values() if path.name != model_lists.BRANCHES})


def test_every_family_has_entries() -> None:
    assert CATALOG.families() == FAMILIES


def test_every_architecture_of_the_installed_transformers_is_listed() -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("no transformers in this environment: `nox -s torch-cpu` has it")
    difference = discovery.compare(installed.installed(), CATALOG)
    fix = "Fix: `python -m harness discover --write`, then review the new rows"
    assert not difference.new, f"unlisted: {', '.join(difference.new)}. {fix}"
    assert not difference.gone, f"gone from transformers: {', '.join(difference.gone)}"
    assert not difference.renamed, f"renamed: {difference.renamed}"


def test_guesses_are_mostly_right() -> None:
    """The guesses of `discover --write` for a third of the entries that people listed."""
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("no transformers in this environment: `nox -s torch-cpu` has it")
    library = installed.installed()
    right = Counter(
        family_guess.guess(library, entry.architecture).family == entry.family
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


def test_every_head_is_a_class_of_its_own() -> None:
    """Each head that the lists ask for stands in the library, and is not the headless model."""
    pytest.importorskip("transformers")
    from harness.models import model_class

    names = model_class.mappings()
    for entry in CATALOG.entries.values():
        if entry.library != "transformers" or entry.requires or not entry.heads:
            continue
        for head in entry.heads:
            mapped = [
                names[f"MODEL_FOR_{mapping}_MAPPING_NAMES"].get(entry.architecture)
                for mapping in known_heads()[head].mappings
                if f"MODEL_FOR_{mapping}_MAPPING_NAMES" in names
            ]
            found = next((name for name in mapped if name is not None), None)
            assert found or known_heads()[head].classes, f"{entry.name}: no class for {head}"
            base = names["MODEL_MAPPING_NAMES"].get(entry.architecture)
            assert found is None or found != base, f"{entry.name}: {head} is the headless model"


def test_an_unknown_head_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model_lists"
    folder.mkdir()
    table = '[bert]\narchitecture = "bert"\nheads = ["fil-mask"]\n'
    (folder / "encoder_only.toml").write_text(table, encoding="utf-8")
    with pytest.raises(HarnessError, match=r"encoder_only.toml:3: .*'fil-mask'. Did you mean"):
        model_lists.load(tmp_path)


def test_heads_follow_the_task_unless_the_entry_says_otherwise() -> None:
    entries = CATALOG.entries
    assert entries["bert"].heads == ("fill-mask",)
    assert entries["canine"].heads == ("token-classification",)  # its task is another
    assert entries["sam"].heads == ()
    assert entries["clip"].heads == ()  # its task has none
