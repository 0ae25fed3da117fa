"""HTML report: one self-contained file that needs no network; its essentials need no script."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from harness import contract
from harness.contract import GREEN, Outcome, Stage, Verdict
from harness.report import page_data, words
from harness.report.content import Report
from harness.report.first_screen import age
from harness.report.labels import by_size, emulated, grouped, label, outcomes, speeds
from harness.report.words import plural
from harness.results.changed_cells import Group
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

#: Groups of changes on the first screen, and names in each.
SHOWN, NAMES = 3, 4

#: The most cells of which the matrix for readers without script has the details too.
DETAILED = 12_000

#: The charting library with what it needs, as its makers publish it.
LIBRARIES = ("d3-7.9.2/d3.min.js", "observable-plot-0.6.17/plot.umd.min.js")

#: The page's own scripts, in the order in which each needs those before it.
SCRIPTS = ("data.js", "dom.js", "address.js", "filters.js", "heat_map.js", "pictures.js",
           "views.js", "main.js")  # fmt: skip

#: The script that asks a server for news.
LIVE = "live.js"

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


def render(report: Report, *, live: bool = False) -> str:
    """The report as one HTML page.

    Args:
        report: its content.
        live: whether a server renews the page, which then asks it for news.
    """
    scripts = page_scripts(live=live)
    cells = sum(len(row.cells) for family in report.families for row in family.rows)
    return _template().render(
        report=report,
        data=Markup(page_data.encoded(report)),
        scripts=[Markup(script) for script in scripts],
        policy=Markup(" ".join(map(_hash, scripts))),
        connect="connect-src 'self'; " if live else "",
        titles={name: text.title for text in report.cause_texts for name in text.fingerprints},
        detailed=cells <= DETAILED,
        tails=tails(report),
        shown=outcomes(report),
        emulated=emulated(report),
        mixed={mixture.backend for mixture in report.mixtures},
        foreign=report.foreign(),
        numbers={run.run_id: number for number, run in enumerate(report.runs, 1)},
        precise=any(column.precision != "default" for column in report.columns),
    )


def page_scripts(*, live: bool = False) -> list[str]:
    """The scripts of the page, each as it stands in the document.

    The page's policy names them by their hashes, so that no other script can run.
    """
    here = resources.files("harness.report")
    libraries = [(here / "vendor" / name).read_text("utf-8") for name in LIBRARIES]
    own = [(here / "templates" / "page" / name).read_text("utf-8") for name in SCRIPTS]
    if live:
        own.append((here / "templates" / "page" / LIVE).read_text("utf-8"))
    joined = "\n".join(own)
    return [*libraries, f"(() => {{\n'use strict';\n{joined}\n}})();"]


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def kinds_counted(groups: Sequence[Group]) -> list[tuple[str, int]]:
    """How many cells changed, by the kind of change, in the order of the groups."""
    counts: dict[str, int] = {}
    for group in groups:
        counts[group.kind] = counts.get(group.kind, 0) + len(group.changes)
    return list(counts.items())


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
        sized=by_size,
        stages=tuple(Stage),
        age=age,
        counts=kinds_counted,
        KINDS=words.KINDS,
        SHOWN=SHOWN,
        NAMES=NAMES,
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
    """HTML id of an entry's row, which is its address too: `/entry/bert:fill-mask`.

    After `/entry/` it has letters, digits, `_`, `-`, `.` and `:` only.
    """
    name = printable.line(contract.label(entry, head))
    return "/entry/" + re.sub(r"[^\w.:-]", "-", name, flags=re.ASCII)


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
    """The end of the traceback by the cause's id and place, for the causes that block most."""
    found: dict[tuple[str, int], str] = {}
    for cause in report.cause_texts:
        seen: set[str] = set()
        for at, place in enumerate(cause.places):
            text = words.tail(place.error, TAIL_LINES, TAIL_CHARACTERS)
            if text and text not in seen and len(found) < TAILS:
                seen.add(text)
                found[cause.id, at] = text
    return found
