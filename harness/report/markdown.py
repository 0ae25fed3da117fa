"""Markdown report, for the step summary of a GitHub workflow."""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.report import words
from harness.report.content import Report
from harness.report.first_screen import age
from harness.report.labels import by_size, emulated, grouped, label, name, outcomes, speeds, where
from harness.report.words import plural
from harness.results.changed_cells import Group
from harness.results.news import Since
from harness.results.queries import CellRow
from harness.results.totals import Total
from harness.toolkit import markdown_text, printable

#: GitHub drops a step summary beyond 1 MiB; other steps may want a few lines of it.
LIMIT_BYTES = 1_000_000

#: Causes, entries in a list, and unexpected cells of one verdict that are written out.
CAUSES, ENTRIES, UNEXPECTED = 25, 40, 40

#: Groups of changes on the first screen, and cells in each.
GROUPS, NAMES = 6, 6

#: How much of a traceback is shown, once for each cause.
TAIL_LINES, TAIL_CHARACTERS = 8, 800


def render(report: Report) -> str:
    """The report as Markdown; without the matrix where that is too long for a step summary."""
    text = _render(report, matrix=True)
    if len(text.encode()) > LIMIT_BYTES:
        text = _render(report, matrix=False)
    return text


def comment(report: Report) -> str:
    """The first screen alone as Markdown, for a comment on a pull request."""
    return _cleaned(_environment().get_template("first.md").render(**_first_screen(report)))


def delta(since: Since | None) -> Markup:
    """Cells that broke and were mended since a run: `-2 +1`; `=` for none, a dash for no run."""
    if since is None:
        return Markup(words.NOTHING)
    told = [f"-{since.broke}" if since.broke else "", f"+{since.mended}" if since.mended else ""]
    alike = f"≠{len(since.changes)}" if since.changes else "="
    return Markup(" ".join(filter(None, told)) or alike)


def changed_names(group: Group) -> Markup:
    """The first cells of a group of changes, each as code, with their columns."""
    told = [
        f"{code(one.key.name)} on {escape(where(one.key.backend, one.key.precision))}"
        for one in group.changes[:NAMES]
    ]
    rest = len(group.changes) - NAMES
    return Markup(", ".join(told) + (f" and {rest} more" if rest > 0 else ""))


def escape(value: object) -> str:
    """A value as plain text in a paragraph or a table cell, whatever it holds."""
    return value if isinstance(value, Markup) else markdown_text.plain(str(value))


def code(value: object) -> Markup:
    """A value as a code span, also in a table cell."""
    return Markup(markdown_text.code(str(value)))


def fenced(text: str) -> Markup:
    """A block of code with a fence that nothing in it can close."""
    return Markup(markdown_text.block(text))


def summary(value: object) -> Markup:
    """A value within `<summary>`, which is HTML: Markdown means nothing there."""
    return Markup(html.escape(printable.line(str(value))))


def entries(names: Sequence[str]) -> Markup:
    """The first of some names, each as code, and how many more there are."""
    text = ", ".join(code(name) for name in names[:ENTRIES])
    rest = len(names) - ENTRIES
    return Markup(f"{text} and {rest} more" if rest > 0 else text)


def fraction(total: Total) -> str:
    """Passed of judged cells: `601 / 690`."""
    return f"{words.number(total.passed)}\u00a0/\u00a0{words.number(total.judged)}"


def _render(report: Report, *, matrix: bool) -> str:
    foreign = report.foreign()

    def mark(cell: CellRow | None) -> str:
        if cell is None:
            return "·"
        text = " ".join(filter(None, (label(cell), words.MARKS.get(cell.verdict))))
        return f"{text}†" if cell.run_id in foreign else text

    text = (
        _environment()
        .get_template("report.md")
        .render(
            **_first_screen(report),
            matrix=matrix,
            mark=mark,
            shown=outcomes(report),
            emulated=emulated(report),
            mixed={mixture.backend for mixture in report.mixtures},
        )
    )
    return _cleaned(text)


def _first_screen(report: Report) -> dict[str, Any]:
    """The variables of the first screen's template."""
    titles = {name: one.title for one in report.cause_texts for name in one.fingerprints}
    return {"report": report, "titles": titles}


def _cleaned(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.report"),
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(code=code, grouped=grouped, summary=summary)
    environment.globals.update(
        words=words,
        label=label,
        name=name,
        plural=plural,
        entries=entries,
        where=where,
        speeds_of=speeds,
        sized=by_size,
        fenced=fenced,
        fraction=fraction,
        age=age,
        delta=delta,
        changed_names=changed_names,
        KINDS=words.KINDS,
        GROUPS=GROUPS,
        CAUSES=CAUSES,
        UNEXPECTED=UNEXPECTED,
        TAIL_LINES=TAIL_LINES,
        TAIL_CHARACTERS=TAIL_CHARACTERS,
    )
    return environment
