"""Text tables: alignment, as plain text and as Markdown."""

from __future__ import annotations

import pytest

from harness.toolkit.text_table import markdown_table, plain_table

ROWS = (("family", "pass", "of"), ("vision", "3", "10"), ("", "12", ""))


def test_columns_are_two_spaces_apart_and_lines_end_in_none() -> None:
    assert plain_table(ROWS) == ["family  pass  of", "vision  3     10", "        12"]


def test_numbers_are_aligned_to_the_right_but_the_first_column_is_not() -> None:
    assert plain_table(ROWS, numbers=True) == [
        "family  pass  of",
        "vision     3  10",
        "          12",
    ]


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        plain_table([("a", "b"), ("c",)])


def test_markdown_says_how_columns_are_aligned() -> None:
    assert markdown_table(("name", "count"), [("a", 1)]) == [
        "| name | count |",
        "| --- | --- |",
        "| a | 1 |",
    ]
    assert markdown_table(("name", "count"), [], numbers=True)[1] == "| --- | ---: |"
