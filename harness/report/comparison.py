"""Comparison of two sets of results as plain text and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.report import words
from harness.report.labels import where
from harness.report.words import plural
from harness.results.changed_cells import Change, Group, Kind
from harness.results.comparison import Comparison
from harness.results.ratios import Outlier, Ratios
from harness.results.speed_gate import SpeedChange
from harness.toolkit import markdown_text, printable
from harness.toolkit.durations import digits
from harness.toolkit.text_table import markdown_table, plain_table

#: Cells of one cause, and outliers of one quantity, that are written out.
CELLS, OUTLIERS = 12, 5

#: Meaning of each kind of change.
MEANINGS = {
    Kind.REGRESSED: "passed, and does not now",
    Kind.CHANGED: "failed, and fails otherwise now",
    Kind.FLAKY: "passes and fails now, when it is run again",
    Kind.NEW: "run on the second side only",
    Kind.GONE: "run on the first side only",
    Kind.IMPROVED: "did not pass, and does now",
}


def text(found: Comparison) -> str:
    """The comparison as plain text, for a terminal."""
    lines = [f"before  {found.before}", f"after   {found.after}"]
    for backend, changes in found.environments.items():
        told = ", ".join(f"{c.name} {c.before or '-'} -> {c.after or '-'}" for c in changes)
        lines.append(f"{backend}: {told}")
    lines += ["", counts(found)]
    for group in found.groups:
        lines += ["", *_group(group)]
    if found.measured:
        lines += ["", _about_ratios(found)]
        lines += plain_table([_HEADS, *map(_row, found.measured)])
        for measured in found.measured:
            lines += [f"  {_outlier(measured, outlier)}" for outlier in _shown(measured)]
    if found.speeds:
        lines += ["", _about_speeds(found), *(f"  {_speed(c)}" for c in _beyond(found))]
    return "\n".join(lines)


def markdown(found: Comparison) -> str:
    """The comparison as Markdown, for a step summary or a comment; ends in a newline."""
    plain, code = markdown_text.plain, markdown_text.code
    lines = ["## What changed", "", f"From {code(found.before)} to {code(found.after)}.", ""]
    for backend, changes in found.environments.items():
        told = ", ".join(f"{c.name} {c.before or '-'} → {c.after or '-'}" for c in changes)
        lines += [f"- {code(backend)}: {plain(told, printable.KEPT_LINE)}"]
    lines += ["", f"**{plain(counts(found), printable.KEPT_LINE)}**"]
    for kind in Kind:
        groups = [group for group in found.groups if group.kind is kind]
        if groups:
            lines += ["", f"### {kind.capitalize()}: {MEANINGS[kind]}", ""]
            heads = ("cells", "cause", "which")
            lines += markdown_table(heads, [_markdown_row(group) for group in groups])
    if found.measured:
        lines += ["", "### Times, memory, scores", "", plain(_about_ratios(found), 400), ""]
        lines += markdown_table(_HEADS, [[plain(cell) for cell in _row(m)] for m in found.measured])
        outliers = [_outlier(m, outlier) for m in found.measured for outlier in _shown(m)]
        lines += ["", *(f"- {plain(outlier)}" for outlier in outliers)]
    if found.speeds:
        lines += ["", "### Measured speed", "", plain(_about_speeds(found), 400), ""]
        lines += [f"- {plain(_speed(change))}" for change in _beyond(found)]
    return "\n".join(lines) + "\n"


def counts(found: Comparison) -> str:
    """One line with the number of cells of each kind of change."""
    before, after = found.passing
    changed = [f"{words.number(found.count(kind))} {kind}" for kind in Kind if found.count(kind)]
    unexpected = f"; {words.number(found.worse)} not expected" if found.worse else ""
    return (
        f"{plural(found.common, 'common cell')}, of which {words.number(before)} passed and "
        f"{words.number(after)} pass: {', '.join(changed) or 'nothing changed'}{unexpected}"
    )


_HEADS = ("over common passing cells", "of", "cells", "median ratio", "95 % interval")


def _about_ratios(found: Comparison) -> str:
    hosts = any(change.name == "host" for of in found.environments.values() for change in of)
    apart = " The hosts differ: times say nothing of a change." if hosts else ""
    return (
        "Times, memory and scores are compared over common cells that pass on both sides. A "
        f"single cell is named where it stands out from the noise of all.{apart}"
    )


def _about_speeds(found: Comparison) -> str:
    cells = plural(len({change.key for change in found.speeds}), "cell")
    slower, faster = found.slower, len({c.key for c in found.speeds if c.faster})
    limits = sorted(change.limit for change in found.speeds)
    usual = limits[len(limits) // 2]
    return (
        f"{cells} measured on both sides: {words.number(slower)} slower, {words.number(faster)} "
        f"faster, by more than the noise of both runs, which is {100 * (usual - 1):.0f} % at the "
        "median"
    )


def _beyond(found: Comparison) -> list[SpeedChange]:
    """The measured times that changed by more than noise."""
    return [change for change in found.speeds if change.slower or change.faster]


def _speed(change: SpeedChange) -> str:
    column = where(change.key.backend, change.key.precision)
    before, after = words.seconds(change.before), words.seconds(change.after)
    word = "SLOWER" if change.slower else "faster"
    return (
        f"{word} {column} {change.key.name}: {change.quantity.name} {before} to {after}, "
        f"{change.ratio:.2f} x, where noise explains {change.limit:.2f} x"
    )


def _group(group: Group) -> list[str]:
    cells = plural(len(group.changes), "cell")
    told = printable.line(_title(group), 160)
    mark = "" if group.worse or group.kind in (Kind.GONE, Kind.IMPROVED) else ", as expected"
    lines = [f"{group.kind.upper()}  {cells}{mark}: {told}"]
    by_backend = _by_column(group.changes)
    lines += [f"    {column}: {names}" for column, names in by_backend]
    example = group.changes[0]
    if group.kind is Kind.CHANGED and example.before is not None and example.after is not None:
        lines += [
            f"    was: {printable.line(_told(example.before.told, example.before.reason), 160)}",
            f"    now: {printable.line(_told(example.after.told, example.after.reason), 160)}",
        ]
    return lines


def _told(outcome: str, reason: str) -> str:
    return f"{outcome}: {reason}" if reason else outcome


def _title(group: Group) -> str:
    """The telling line of a group: its first cell's outcome and reason."""
    example = group.changes[0]
    state = next(
        (s for s in (example.after, example.before) if s is not None and not s.passes), None
    )
    return MEANINGS[group.kind] if state is None else _told(state.told, state.reason)


def _markdown_row(group: Group) -> Sequence[str]:
    which = "; ".join(f"{column}: {names}" for column, names in _by_column(group.changes))
    title = markdown_text.plain(_title(group), 200)
    return [str(len(group.changes)), title, markdown_text.plain(which, 600)]


def _by_column(changes: Iterable[Change]) -> list[tuple[str, str]]:
    """The first cells of each column, by name, and how many more there are."""
    columns: dict[str, list[str]] = {}
    for change in changes:
        column = where(change.key.backend, change.key.precision)
        columns.setdefault(column, []).append(change.key.name)
    return [
        (column, ", ".join(names[:CELLS]) + _more(len(names) - CELLS))
        for column, names in columns.items()
    ]


def _more(rest: int) -> str:
    return f" and {rest} more" if rest > 0 else ""


def _row(measured: Ratios) -> Sequence[str]:
    return (
        measured.quantity.name,
        where(measured.backend, measured.precision),
        str(measured.cells),
        f"{measured.median:.2f}",
        f"{measured.low:.2f} to {measured.high:.2f}",
    )


def _shown(measured: Ratios) -> Sequence[Outlier]:
    return measured.outliers[:OUTLIERS]


def _outlier(measured: Ratios, outlier: Outlier) -> str:
    spell = _SPELLED[measured.quantity.unit]
    column = where(measured.backend, measured.precision)
    before, after = spell(outlier.before), spell(outlier.after)
    ratio = digits(outlier.ratio)
    return f"{column} {outlier.key.name}: {measured.quantity.name} {before} -> {after} ({ratio} x)"


_SPELLED: dict[str, Callable[[float], str]] = {
    "s": words.seconds,
    "MB": words.megabytes,
    "": words.score,
}
