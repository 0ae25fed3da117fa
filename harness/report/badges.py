"""SVG badge of a backend: how many of its judged cells pass, in figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

from harness.report import words
from harness.results.queries import RunRow
from harness.results.totals import Total
from harness.toolkit import printable

#: Width in px of a character of 11 px Verdana, by kind; a badge has no means to measure text.
_NARROW, _WIDE, _OTHER = 4.2, 10.0, 7.0

#: Characters of a backend's name and precision that a badge shows.
LABEL = 60

#: Colour of a badge by the least share of judged cells that pass.
_COLOURS = ((0.9, "#2c7f45"), (0.7, "#6b7a1d"), (0.5, "#9a6700"), (0.0, "#b3262e"))


def badges(totals: Sequence[Total], runs: Sequence[RunRow]) -> Mapping[str, str]:
    """SVG texts by backend. A badge counts the first precision: what a user gets by default."""
    emulated = {run.backend for run in runs if run.emulated}
    found: dict[str, str] = {}
    for total in totals:
        if total.backend not in found:
            found[total.backend] = badge(total, emulated=total.backend in emulated)
    return found


def endpoints(totals: Sequence[Total], runs: Sequence[RunRow]) -> Mapping[str, str]:
    """JSON texts by backend, as the endpoint badge of shields.io reads them."""
    emulated = {run.backend for run in runs if run.emulated}
    found: dict[str, str] = {}
    for total in totals:
        if total.backend not in found:
            label, value, colour = _words(total, emulated=total.backend in emulated)
            told = {"schemaVersion": 1, "label": label, "message": value, "color": colour}
            found[total.backend] = json.dumps(told) + "\n"
    return found


def badge(total: Total, *, emulated: bool) -> str:
    """One badge as SVG: `openvino | 601/690 pass`, or `none judged`."""
    label, value, colour = _words(total, emulated=emulated)
    left, right = _width(label), _width(value)
    title = f"{label}: {value}"
    if total.judged:
        title += f" ({words.share(total.passed, total.judged)} of the judged cells)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="#444"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{colour}"/></g>'
        '<g fill="#fff" text-anchor="middle" '
        'font-family="Verdana,Geneva,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2:g}" y="14" textLength="{left - 12}">{escape(label)}</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{escape(value)}</text>'
        "</g></svg>\n"
    )


def _words(total: Total, *, emulated: bool) -> tuple[str, str, str]:
    """Label, value and colour of a badge."""
    label = total.backend
    if total.precision != "default":
        label += f" {total.precision}"
    if emulated:
        label += " (emulated)"
    value = f"{total.passed}/{total.judged} pass" if total.judged else "none judged"
    part = total.passed / total.judged if total.judged else 0.0
    colour = next(colour for limit, colour in _COLOURS if part >= limit)
    if not total.judged:
        colour = "#666"
    label = printable.line(label, LABEL)
    return label, value, colour


def _width(text: str) -> int:
    """Width of a text in px, with 6 px on either side."""
    width = 12.0
    for character in text:
        if character in "fijlrt.,:;!|'()[]/ -":
            width += _NARROW
        else:
            width += _WIDE if character in "mwMW@%" else _OTHER
    return round(width)
