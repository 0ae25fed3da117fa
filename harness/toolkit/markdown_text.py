"""Text in GitHub Markdown: as plain text, as code, or in a block, whatever the text holds."""

from __future__ import annotations

import html
import re

from harness.toolkit import printable

#: Characters that begin or end Markdown of any kind within a line.
_ACTIVE = re.compile(r"[\\`*_\[\]|~#$]")

#: Beginning of a list's item, a rule or a heading's underline.
_LEADING = re.compile(r"^( ?)([-+=]|\d+(?=[.)](?:\s|$)))")

#: Links that GitHub makes without any brackets.
_BARE_LINK = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)


def plain(text: str, limit: int = printable.LINE) -> str:
    """Text in one line of a paragraph or a cell of a table, with no meaning in Markdown or HTML.

    Args:
        text: of any length.
        limit: how many of its characters stay (`harness.toolkit.printable.line`).
    """
    shown = html.escape(printable.line(text, limit), quote=False)
    shown = _BARE_LINK.sub(r"\\", _ACTIVE.sub(r"\\\g<0>", shown))
    return _LEADING.sub(_escaped_start, shown)


def code(text: str, limit: int = printable.LINE) -> str:
    """Text in one line as code, also in a cell of a table; `limit` as of `plain`."""
    shown = printable.line(text, limit)
    if shown and not re.search(r"[`|]", shown):
        return f"`{shown}`"
    # A pipe ends a cell, and a backslash before one has two readings within backticks.
    return f"<code>{plain(text, limit)}</code>"


def block(text: str) -> str:
    """Text of several lines as a block of code with a fence that nothing in it can close."""
    shown = printable.block(text)
    longest = max(map(len, re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def _escaped_start(found: re.Match[str]) -> str:
    indent, start = found.groups()
    return f"{indent}{start}\\" if start.isdigit() else f"{indent}\\{start}"
