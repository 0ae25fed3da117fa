"""Text from strangers: no terminal, no log and no runner obeys it, and none of it is too long."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.toolkit import printable
from harness.toolkit.printable import KEPT, KEPT_LINE, escaped, kept, kept_line, line, lines

#: Workflow commands of GitHub's runner, Azure's agent and TeamCity, as their sources have them:
#: `::` where a line begins, behind any white space; the others anywhere in a line.
COMMAND = re.compile(r"^\s*::|##\w*\[", re.MULTILINE)

#: Letters of commands and controls, so that random texts hold many of them.
NASTY = st.text(
    st.one_of(st.sampled_from(":#[ ev\n\r\t\x1b\x00\x9b\u202e\u2028\ud800\xa0"), st.characters())
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, with ü, 漢字 and a\ttab\n", "plain, with ü, 漢字 and a\ttab\n"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("nul \x00, C1 \x9b, delete \x7f", "nul \\x00, C1 \\x9b, delete \\x7f"),
        ("10%\r20%\r\nend", "10%\\r20%\nend"),
        ("user\u202eresu\u2066", "user\\u202eresu\\u2066"),
        ("next\u2028line\x85line", "next\\u2028line\\x85line"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("lone \udce9", "lone \\udce9"),
        ("::error file=x::no", "\\::error file=x::no"),
        ("a\n \t::set-output name=a::b", "a\n \t\\::set-output name=a::b"),
        ("model.toml::bert", "model.toml::bert"),
        (
            "x ##[group]y ##vso[task.x]z ##teamcity[a",
            "x #\\#[group]y #\\#vso[task.x]z #\\#teamcity[a",
        ),
        ("## heading", "## heading"),
        ("section_start:1:x\r\x1b[0K", "section_start:1:x\\r\\x1b[0K"),
    ],
)
def test_what_is_escaped(text: str, expected: str) -> None:
    assert escaped(text) == expected


@given(NASTY)
def test_no_text_moves_a_terminal_or_speaks_to_a_runner(text: str) -> None:
    made = escaped(text)
    assert not COMMAND.search(made)
    assert not {unicodedata.category(char) for char in made if char not in "\n\t"} & {
        "Cc", "Cf", "Cs", "Zl", "Zp",
    }  # fmt: skip
    made.encode()
    assert escaped(made) == made
    one = line(text)
    assert "\n" not in one
    assert not COMMAND.search(one)
    assert not COMMAND.search("\n".join(lines(text)))


def test_a_long_line_says_how_much_more_there_is_and_where() -> None:
    assert line("word\n  word") == "word word"
    assert line("x" * 500) == "x" * 500
    assert line("x" * 501) == "x" * 500 + "... 1 more character"
    assert line("x" * 5_000_000, 10, "in the results") == (
        "xxxxxxxxxx... 4999990 more characters, in the results"
    )
    assert len(line("\x00" * 5_000_000)) < 4 * printable.LINE + 50


def test_lines_keep_their_indentation() -> None:
    assert lines('  File "a"\n    x = 1\n::no', 9) == [
        '  File "a... 1 more character',
        "    x = 1",
        "\\::no",
    ]


def test_a_result_keeps_the_head_and_the_tail() -> None:
    assert kept("short\n") == "short\n"
    text = "head" + "x" * 5_000_000 + "tail"
    made = kept(text)
    assert len(made) < KEPT + 100
    assert made.startswith("headx")
    assert made.endswith("xtail")
    assert f"\n... {len(text) - KEPT} characters left out ...\n" in made
    assert len(kept_line(text)) < KEPT_LINE + 50
    assert kept_line(text).endswith("more characters")
    assert kept("\udce9\x1b") == kept_line("\udce9\x1b") == "\\udce9\x1b"
