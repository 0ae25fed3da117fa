"""TOML files: whatever one holds, its reader answers with its tables or one clear message."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.contract import HarnessError
from harness.inputs.recipe import Recipe
from harness.toolkit.dataclass_keys import keys_of
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import (
    ANY,
    BOOLEAN,
    INTEGER,
    INTEGERS,
    NUMBER,
    PATTERN,
    PATTERNS,
    SIZES,
    STRING,
    STRINGS,
    TABLE,
    Key,
)

DIGITS = "9" * 5000


def read(folder: Path, text: str | bytes) -> TomlFile:
    path = folder / "some.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return TomlFile(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a\n", r"some\.toml:1: expected TOML, found: "),
        ("[a]\nx =\n", r"some\.toml:2: expected TOML, found: "),
        (b"\xff\xfe", r"some\.toml: expected a readable UTF-8 file, found: "),
        ("x = 1".encode("utf-16"), "expected a readable UTF-8 file"),
        (b"\xef\xbb\xbfx = 1", r"some\.toml:1: expected TOML, found a byte order mark"),
        ("x = " + "[" * 100_000, "nest deeper"),
        ("x = " + "{a = " * 10_000, "nest deeper"),
        ("x = " + "[" * 40 + "]" * 40, r"`x` to nest deeper"),
        (".".join("a" * 3000) + " = 1", "nest deeper"),
        (f"x = {DIGITS}", "found a value that cannot be read"),
        ("x = 0x" + "f" * 5000, r"some\.toml:1: expected a whole number of at most 64 bits"),
        ("[a]\ny = 1\nx = 9223372036854775808", r"some\.toml:3: \[a\] expected a whole number"),
        ("x = -9223372036854775809", "at most 64 bits, found one of 64 bits"),
        ("x = nan", "a finite number, found nan"),
        ("[a.b]\nx = [[-inf]]", r"some\.toml:\d: \[a\] expected a finite number, found -inf"),
        ("x = 1e999", "a finite number, found inf"),
        ("x = 2026-11-29", "found the date 2026-11-29"),
        ("x = 2026-11-29T07:50:50Z", "found the datetime"),
        ("x = 07:50:50", "found the time 07:50:50"),
        ("x = 2026-02-30", "expected TOML, found"),
        ('x = "a\\u0000b"', "a string without NUL"),
        ('"a\\u0000b" = 1', "a name without NUL"),
        ("x = 'a\0b'", "expected TOML, found"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_nothing_has_a_use_for_is_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(HarnessError, match=message) as error:
        read(tmp_path, text)
    assert "Fix: " in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without FIFOs")
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "some.toml")
    with pytest.raises(HarnessError, match="found: it is no file"):
        TomlFile(tmp_path / "some.toml")


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError, match="expected a readable UTF-8 file"):
        TomlFile(tmp_path / name)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (STRING, ['"a"', '""'], ["1", "[]", "true", "{}"]),
        (STRINGS, ["[]", '["a"]'], ['"a"', "[1]", '[["a"]]', "{}"]),
        (INTEGER, ["1", "-1"], ["1.0", "true", '"1"', "[1]"]),
        (SIZES, ["[1, 'hidden_size']"], ["1", "[true]", "[1.5]", "[[1]]"]),
        (INTEGERS, ["[1]"], ["1", "[true]", "[1.5]", "[[1]]"]),
        (NUMBER, ["1", "0.5"], ["true", '"1"', "[1]"]),
        (PATTERN, ["'.*_size'"], ["'('", "'*'", "1", "'a{9999999999999999999999}'"]),
        (PATTERNS, ["['a', 'b']"], ["'a'", "['(']", "[1]"]),
        (BOOLEAN, ["true"], ["1", '"true"', "[true]"]),
        (TABLE, ["{}", "{ a = 1 }"], ["[]", "1"]),
        (ANY, ["1", "[]", "{}", '"a"'], []),
    ],
)
def test_a_value_of_another_kind_is_refused(
    tmp_path: Path, kind: str, right: list[str], wrong: list[str]
) -> None:
    keys = {"x": Key("A value.", kind)}
    for value in right:
        read(tmp_path, f"[a]\nx = {value}").check_tables(keys)
        read(tmp_path, f"x = {value}").check_top(keys)
    for value in wrong:
        with pytest.raises(HarnessError, match=re.escape(f"some.toml:2: [a] expected {kind}, f")):
            read(tmp_path, f"[a]\nx = {value}").check_tables(keys)
        with pytest.raises(HarnessError, match=f":1: expected x to be {kind}, found .* Fix: "):
            read(tmp_path, f"x = {value}").check_top(keys)


KEYS = {
    "kind": Key("Its kind.", choices=("near", "far"), required=True),
    "sizes": Key("Sizes by name.", TABLE, keys=Key("A size.", INTEGER)),
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[a]\n[b]\n",
            r":1: \[a\] expected `kind`, one of near, far, found none. Fix: add `kind =",
        ),
        (
            '[a]\nkind = "nere"\n',
            r":2: \[a\] expected one of near, far, found 'nere'. Did .*`near`",
        ),
        ('[a]\nkind = "far"\nsises = {}\n', r":3: .* the key `sises`. Did you mean `sizes`\?"),
        ('[a]\nkind = "far"\n[a.sizes]\nb = "c"\n', r":4: \[a\] expected sizes.b to be a whole"),
        ('[a]\nkind = "far"\nsizes = [1]\n', r":3: \[a\] expected a table, found \[1\]"),
        ("a = 1\n", r":1: \[a\] expected tables only, found the bare key `a`"),
        ("[[a]]\n", r":1: \[a\] expected tables only"),
    ],
)
def test_a_wrong_table_says_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        read(tmp_path, text).check_tables(KEYS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[row]\n", r":1: \[row\] expected `\[\[row\]\]` with two brackets, found `\[row\]`"),
        ("row = 3\n", r":1: \[row\] expected .*two brackets, found 3"),
        ("row = [1]\n", r":1: \[row\] expected .*two brackets, found \[1\]"),
        ('[[row]]\nkind = "far"\n\n[[row]]\n', r":4: \[\[row\]\] expected `kind`"),
        ('[[row]]\nkind = "far"\n[[row]]\nkind = "a"\n', r":4: \[\[row\]\] expected one of near"),
        (
            '[[row]]\nkind = "far"\n[[row]]\nkind = 3\n',
            r":4: \[\[row\]\] expected a string, found 3",
        ),
    ],
)
def test_a_wrong_row_says_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        read(tmp_path, text).check_rows("row", KEYS)


def test_a_message_is_short_whatever_was_found(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as error:
        read(tmp_path, f'[a]\nkind = "{"x" * 10_000}"\n').check_tables(KEYS)
    assert len(str(error.value)) < 300
    with pytest.raises(HarnessError) as error:
        read(tmp_path, f"[a]\n{'x' * 10_000} = 1\n").check_tables(KEYS)
    assert len(str(error.value)) < 300


def test_the_keys_of_a_dataclass_are_those_of_its_table(tmp_path: Path) -> None:
    keys = keys_of(Recipe)
    read(
        tmp_path, "[a]\nadd = ['b']\nshapes = { b = [1, 2] }\nlength = 3\nseeded = true\n"
    ).check_tables(keys)
    for line, words in (
        ("add = 'b'", "a list of strings"),
        ("shapes = { b = 1 }", "shapes.b to be a list of whole numbers"),
        ("length = 'b'", "a whole number"),
        ("seeded = 1", "true or false"),
        ("addd = ['b']", "Did you mean `add`"),
    ):
        with pytest.raises(HarnessError, match=words):
            read(tmp_path, f"[a]\n{line}\n").check_tables(keys)
