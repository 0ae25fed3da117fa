"""Printable text: what a model, a backend or a results file says, made harmless and short.

Such text may hold control characters, which move a terminal's cursor or set its title;
bidirectional controls, which show text in another order than it has; lone surrogates, which no
file takes; and commands to a CI's runner, which obeys certain lines of the log. All of these are
escaped where text is printed or rendered. Results keep messages as they were, but for surrogates
and length.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from typing import Any, TextIO

#: Characters of one message that are shown in a line.
LINE = 500

#: Characters of a one-line message that a result keeps.
KEPT_LINE = 4_000

#: Characters of a traceback, with the end of what a child printed, that a result keeps: its head
#: and its tail.
KEPT = 64_000

#: Characters of a device's name or of a version that a result keeps, `escaped`: short enough for
#: what reads a results file (`harness.results.screening`).
KEPT_NAME = 900

#: Share of `KEPT` that the tail gets: a traceback ends with the exception.
_TAIL = 0.75

#: Beginnings of what a runner obeys: GitHub a line that begins with `::`, behind white space too,
#: and `##[...]` anywhere in it; Azure Pipelines `##[...]` and `##vso[...]`; TeamCity `##teamcity[`.
#: GitLab's section markers and Jenkins' console notes need control characters.
_COMMAND = re.compile(r"^(?P<indent>[^\S\n]*)(?P<colons>::)|(?P<hashes>##)(?=\w*\[)", re.MULTILINE)


def escaped(text: str) -> str:
    r"""Text of any number of lines without control characters and commands to a CI's runner.

    Every character that is neither printable, a space, a tab nor the end of a line becomes its
    Python escape, such as `\x1b`, and a runner's command gets a backslash: `\::error::no`.
    """
    text = text.replace("\r\n", "\n")
    if not text.isprintable():
        text = "".join(char if _is_harmless(char) else _escape(char) for char in text)
    return _COMMAND.sub(_disarmed, text)


def line(text: str, limit: int = LINE, whole: str = "") -> str:
    """Text in one line, `escaped`, and cut to a length.

    Args:
        text: white space within it, line ends included, becomes a single space.
        limit: the number of characters of `text` that stay; then follows how many more there are.
        whole: where all of the text is, such as `in the results`, for a text that was cut.
    """
    beginning = re.sub(r"[ \t\n\r\f\v]+", " ", text[: 2 * limit + 1])
    if len(text) > 2 * limit + 1 or len(beginning) > limit:
        return f"{escaped(beginning[:limit])}{_more(len(text) - limit, whole)}"
    return escaped(beginning)


def lines(text: str, limit: int = LINE, whole: str = "") -> list[str]:
    """The lines of a text, each `escaped` and cut as `line` does, with its indentation."""
    return [
        escaped(each[:limit]) + (_more(len(each) - limit, whole) if len(each) > limit else "")
        for each in text.replace("\r\n", "\n").split("\n")
    ]


def block(text: str, limit: int = KEPT_LINE, whole: str = "") -> str:
    """A text of several lines, such as an error with its fix: its `lines`, joined."""
    return "\n".join(lines(text, limit, whole))


def show(text: str, file: TextIO | None = None, end: str = "\n") -> None:
    """Print a text of any number of lines, `escaped`, and write it out at once.

    Args:
        text: without a limit on its length.
        file: standard output by default.
        end: what follows the text.
    """
    print(escaped(text), end=end, file=file or sys.stdout, flush=True)


def show_json(value: Any) -> None:
    """Print a value as JSON, in ASCII, with no command to a CI's runner in it."""
    print(json.dumps(value, indent=2).replace("##", "\\u0023#"))


def kept_line(text: str) -> str:
    """The beginning of a one-line message, as long as a result keeps it; not escaped."""
    text = storable(text)
    if len(text) <= KEPT_LINE:
        return text
    return f"{text[:KEPT_LINE]}{_more(len(text) - KEPT_LINE)}"


def kept_name(text: str) -> str:
    """A name that a backend gives, such as its device's, in one line as a result keeps it."""
    return line(escaped(text), KEPT_NAME)


def kept(text: str) -> str:
    """The head and the tail of a long text, as long as a result keeps them; not escaped."""
    text = storable(text)
    if len(text) <= KEPT:
        return text
    tail = int(KEPT * _TAIL)
    head = KEPT - tail
    left_out = len(text) - KEPT
    return f"{text[:head]}\n... {left_out} characters left out ...\n{text[-tail:]}"


def _more(count: int, whole: str = "") -> str:
    noun = "character" if count == 1 else "characters"
    return f"... {count} more {noun}{f', {whole}' if whole else ''}"


def storable(text: str) -> str:
    r"""Text with lone surrogates escaped, as `\udce9`: UTF-8, and so a file, has none of them.

    `os.fsdecode` makes them of file names that are no UTF-8.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _disarmed(found: re.Match[str]) -> str:
    return "#\\#" if found["hashes"] else f"{found['indent']}\\::"
