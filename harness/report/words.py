"""Spelling of numbers, outcomes and verdicts, for HTML, Markdown and badges alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from harness.contract import Outcome, Verdict
from harness.results.changed_cells import Kind
from harness.toolkit.durations import digits, duration

#: A mark for every verdict that is not green; text, so that it survives a copy and a printer.
MARKS: dict[str, str] = {
    Verdict.REGRESSED: "▼",
    Verdict.CHANGED: "≠",
    Verdict.NEW: "+",
    Verdict.IMPROVED: "▲",
    Verdict.FLAKY: "~",
}

#: Meaning of each outcome, in the legend of a report.
OUTCOMES: dict[str, str] = {
    Outcome.PASS: "ran, and every check held",
    Outcome.FAIL: "an error, or a wrong result",
    Outcome.CRASH: "the process died",
    Outcome.TIMEOUT: "ran into the time limit",
    Outcome.OOM: "ran into the memory limit",
    Outcome.TOO_LARGE: "needs more memory than there is; nothing was allocated",
    Outcome.FLAKY: "passed and failed when it was run again",
    Outcome.UNSUPPORTED: "the backend says it cannot",
    Outcome.LIBRARY: "the library's own fault: its model is not what its architecture says",
    Outcome.UNTESTED: "build, inputs or reference failed: never the backend's fault",
    Outcome.INCONCLUSIVE: "the reference itself is too ill-conditioned to judge by",
    Outcome.ABSENT: "the environment's pins do not have it; not in any denominator",
}

VERDICTS: dict[str, str] = {
    Verdict.REGRESSED: "passed before, does not now",
    Verdict.CHANGED: "fails, but not as expected",
    Verdict.NEW: "does not pass, and nothing was expected",
    Verdict.IMPROVED: "expected to fail, passes",
    Verdict.FLAKY: "passes and fails, and nobody expected that",
}

#: Kinds of change in words, after a count.
KINDS: Mapping[str, str] = {
    Kind.REGRESSED: "broke",
    Kind.CHANGED: "failing otherwise",
    Kind.FLAKY: "now passing and failing",
    Kind.IMPROVED: "mended",
}

NOTHING = "\N{EN DASH}"


def share(part: int, whole: int) -> str:
    """A share as `87.1 %`, rounded down, so that only a whole is 100 %; a dash for none."""
    if not whole:
        return NOTHING
    return "100\u00a0%" if part == whole else f"{part * 1000 // whole / 10:.1f}\u00a0%"


def number(value: int | None) -> str:
    """A count as `12 345`, with narrow no-break spaces."""
    return NOTHING if value is None else f"{value:,}".replace(",", "\u202f")


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun: `1 entry`, `12 entries`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def parameters(value: int | None) -> str:
    """A number of parameters as `209 k`, `1.4 M`."""
    if value is None:
        return NOTHING
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{digits(value / limit)} {unit}"
    return str(value)


def seconds(value: float | None) -> str:
    """A duration, given in seconds, as `12 ms` or `2 min 05 s`; a dash for none."""
    return NOTHING if value is None else duration(value)


def megabytes(value: float | None) -> str:
    """Memory, given in MB, as `440 MB`, `1.24 GB`."""
    if value is None:
        return NOTHING
    return f"{value:.0f} MB" if value < 999.5 else f"{value / 1000:.2f} GB"


def memory(value: int | None) -> str:
    """Memory, given in bytes, as `512 B`, `75.5 MB`, `357 GB`."""
    if value is None:
        return NOTHING
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if value >= 0.9995 * 1000**power:
            return f"{value / 1000**power:.3g} {unit}"
    return f"{value} B"


def score(value: float | None) -> str:
    """An error in noise floors: `0.98`, `12`, `1e+06`."""
    if value is None:
        return NOTHING
    return digits(value) if value < 1e5 else f"{value:.0e}"


def part(value: float | None) -> str:
    """A share from 0 to 1 as `92.5 %`, rounded down."""
    return NOTHING if value is None else share(int(value * 1000 + 1e-9), 1000)


def moment(value: datetime | None) -> str:
    """A time in UTC as `2026-11-21 14:56`."""
    return NOTHING if value is None else value.strftime("%Y-%m-%d %H:%M")


def tail(error: str, lines: int, characters: int) -> str:
    """The end of a traceback, where the message stands, cut at a line where possible."""
    kept = "\n".join(error.rstrip().splitlines()[-lines:])
    if len(kept) > characters:
        kept = kept[-characters:]
        kept = "…" + (kept.split("\n", 1)[1] if "\n" in kept else kept)
    return kept
