"""HTML report: one self-contained file, without network, server or script."""

from __future__ import annotations

import functools
import re

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from harness import contract
from harness.contract import GREEN, Outcome, Stage, Verdict
from harness.report import words
from harness.report.content import Report
from harness.report.labels import emulated, grouped, label, outcomes, plural, speeds
from harness.results.queries import CellRow
from harness.toolkit import printable

#: How much of a traceback is shown, once for each cause and place.
TAIL_LINES, TAIL_CHARACTERS = 14, 1600

#: Tracebacks shown in all, so that the page stays small; the rest is in the results files.
TAILS = 300

#: Characters of any other text that are shown in a line.
LINE = 1_000

#: Causes and unexpected cells shown at once; the others are folded away.
CAUSES, UNEXPECTED = 12, 40

#: Outcomes of cells of which nothing can be said, drawn without the alarm of a failure.
_NEUTRAL = frozenset(
    {
        Outcome.TOO_LARGE,
        Outcome.UNSUPPORTED,
        Outcome.LIBRARY,
        Outcome.UNTESTED,
        Outcome.INCONCLUSIVE,
    }
)


def render(report: Report) -> str:
    """The report as one HTML page."""
    return _template().render(
        report=report,
        tails=tails(report),
        shown=outcomes(report),
        emulated=emulated(report),
        mixed={mixture.backend for mixture in report.mixtures},
        foreign=report.foreign(),
        numbers={run.run_id: number for number, run in enumerate(report.runs, 1)},
        precise=any(column.precision != "default" for column in report.columns),
    )


@functools.cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["grouped"] = grouped
    environment.globals.update(
        words=words,
        anchor=anchor,
        breakable=breakable,
        cell_class=cell_class,
        label=label,
        plural=plural,
        speeds_of=speeds,
        stages=tuple(Stage),
        CAUSES=CAUSES,
        UNEXPECTED=UNEXPECTED,
    )
    return environment.get_template("report.html")


def shown(value: object) -> object:
    """A value of the template as it is shown: text without control characters, and not too long."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return printable.block(value, LINE, "in the results")


def anchor(entry: str, head: str = "base") -> str:
    """HTML id of an entry's row: letters, digits, `_`, `-`, `.` and `:` only."""
    name = printable.line(contract.label(entry, head))
    return "e-" + re.sub(r"[^\w.:-]", "-", name, flags=re.ASCII)


def breakable(name: str) -> Markup:
    """A name that may wrap behind `-`, `_`, `/` and `.`, and nowhere else."""
    parts = re.findall(r"[^-_/.]+[-_/.]*|[-_/.]+", printable.line(name))
    return Markup("<wbr>").join(parts)


def cell_class(cell: CellRow) -> str:
    """CSS class of a cell.

    `p` passed, `i` improved, `x` failed as expected, `u` unexpected, `n` nothing can be said,
    `a` absent.
    """
    if cell.verdict == Verdict.IMPROVED:
        return "i"
    if cell.outcome == Outcome.PASS:
        return "p"
    if cell.verdict not in GREEN:
        return "u"
    if cell.outcome == Outcome.ABSENT:
        return "a"
    return "n" if cell.outcome in _NEUTRAL else "x"


def tails(report: Report) -> dict[tuple[str, int], str]:
    """The end of the traceback by cause and place, for the causes that block most."""
    found: dict[tuple[str, int], str] = {}
    for cause in report.causes:
        seen: set[str] = set()
        for at, place in enumerate(cause.places):
            text = words.tail(place.error, TAIL_LINES, TAIL_CHARACTERS)
            if text and text not in seen and len(found) < TAILS:
                seen.add(text)
                found[cause.name, at] = text
    return found
