from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.toolkit import toml_text
from harness.toolkit.atomic_write import write_atomically

SAME_EVERY_TIME = settings(derandomize=True, deadline=None)
NAMES = st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)
SCALARS = (
    st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@SAME_EVERY_TIME
@given(VALUES)
def test_a_value_reads_back_as_it_was(item: object) -> None:
    assert tomllib.loads(f"x = {toml_text.value(item)}")["x"] == item


@SAME_EVERY_TIME
@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=6))
def test_a_table_reads_back_as_it_was(name: str, items: dict[str, object]) -> None:
    assert tomllib.loads(toml_text.table(name, items)) == {name: items}


def test_none_has_no_toml() -> None:
    with pytest.raises(TypeError, match="NoneType"):
        toml_text.value(None)


def test_a_table_that_fits_no_line_becomes_a_subtable() -> None:
    config = {f"a_rather_long_name_{index}": index for index in range(5)}
    text = toml_text.table("m", {"architecture": "m", "config": config})
    assert "\n\n[m.config]\na_rather_long_name_0 = 0\n" in text
    assert max(map(len, text.splitlines())) <= toml_text.WIDTH
    assert tomllib.loads(text)["m"]["config"] == config


def test_a_table_of_tables_has_no_empty_header() -> None:
    parts = {side: {f"field_{index}": 1000 + index for index in range(9)} for side in ("a", "b")}
    text = toml_text.table("m", {"config": parts})
    assert text.startswith("[m.config.a]\n")
    assert tomllib.loads(text) == {"m": {"config": parts}}


def test_a_long_list_is_broken_into_lines() -> None:
    names = [f"entry_number_{index}" for index in range(20)]
    text = toml_text.table("x", {"entries": names})
    assert max(map(len, text.splitlines())) <= toml_text.WIDTH
    assert tomllib.loads(text)["x"]["entries"] == names


FILE = """\
# A header.

[bart]
x = 1   # as it was

# about gpt2
[gpt2]
x = 2
[gpt2.config]
[gpt2.config.deep]

["t5"]
x = 3"""


@pytest.mark.parametrize("name", ["albert", "bert", "gpt3", "t6"])
def test_a_new_table_goes_where_its_name_belongs(name: str) -> None:
    block = toml_text.table(name, {"x": 9}, comment="review")
    text = toml_text.insert_tables(FILE, {name: block})
    assert sorted(tomllib.loads(text)) == list(tomllib.loads(text))
    assert f"# review\n[{name}]\nx = 9\n" in text
    assert text.startswith("# A header.\n\n")
    assert "# about gpt2\n[gpt2]" in text
    # Whatever was there is still there, line by line.
    rest = text.replace(block, "", 1)
    assert [line for line in rest.splitlines() if line] == [
        line for line in FILE.splitlines() if line
    ]


def test_tables_of_an_empty_file() -> None:
    blocks = {name: toml_text.table(name, {"x": 1}) for name in ("b", "a")}
    assert toml_text.insert_tables("", blocks) == "[a]\nx = 1\n\n[b]\nx = 1\n"


@SAME_EVERY_TIME
@given(st.sets(NAMES, max_size=6), st.sets(NAMES, max_size=6))
def test_inserting_keeps_order_and_content(old: set[str], new: set[str]) -> None:
    text = "".join(toml_text.table(name, {"x": 1}) + "\n" for name in sorted(old))
    added = {name: toml_text.table(name, {"x": 2}) for name in new - old}
    found = tomllib.loads(toml_text.insert_tables(text, added))
    assert list(found) == sorted(old | new)
    assert {name for name, table in found.items() if table["x"] == 1} == old


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("old", encoding="utf-8")
    write_atomically(path, "new\n")
    assert path.read_bytes() == b"new\n"
    assert [item.name for item in tmp_path.iterdir()] == ["a.toml"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.toml"]
