"""A run in words and tables: what it will do, what failed in it, what it came to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contract import BASE, FAMILIES, GREEN, Cell, CellResult, Outcome, Stage, Verdict, label
from harness.toolkit.durations import duration
from harness.toolkit.text_table import plain_table

if TYPE_CHECKING:
    from harness.session.run import Cost, Run

#: How many causes, examples of each, and slow cells are listed; `-v` lists them all.
CAUSES = 10
EXAMPLES = 4
SLOWEST = 5
#: Lines of a traceback that are shown; the whole of it is stored.
TRACEBACK = 12

#: The stages whose CPU time is the model's and the backend's. The rest is the harness's own.
WORK = frozenset(Stage) - {Stage.INPUTS, Stage.VERIFY}


def begin(run: Run, cells: Sequence[Cell]) -> list[str]:
    """Backend, device, size and limits of a run that is about to begin."""
    options, settings = run.options, run.settings
    lines = [f"backend: {run.spec.name}, {run.spec.title}"]
    if run.device is not None:
        device = run.device.device
        versions = ", ".join(f"{name} {version}" for name, version in device.versions.items())
        emulated = ", EMULATED: no hardware result" if device.emulated else ""
        lines.append(f"device: {device.name} ({device.kind}{emulated})" + _after("; ", versions))
    if run.fallback:
        lines.append(
            f"fallback: {run.fallback} stands in for the missing device; every row is marked so, "
            f"and none counts for {run.spec.name}"
        )
    if run.absence is not None:
        lines.append(f"device: none. {run.absence}")
    entries = len({cell.entry.name for cell in cells})
    precisions = list(dict.fromkeys(cell.precision for cell in cells))
    threads = "thread" if settings.threads == 1 else "threads"
    size = f"precision {', '.join(precisions) or 'none'}, size {options.size}, seed {options.seed}"
    at_once = f"{settings.workers} at once with {settings.threads} {threads}"
    limits = f"{settings.limits.seconds:g} s and {settings.limits.memory_mb} MB for each"
    limits += "".join(
        f", {settings.limits.with_patience(patience).seconds:g} s in {name}"
        for name, patience in run.patience().items()
        if patience != 1.0 and name in precisions
    )
    lines.append(f"entries: {entries} of {len(run.catalog.entries)}, {size}")
    lines.append(f"cells: {len(cells)}, {at_once}, {limits}")
    warnings = [*run.expectations.warnings, *filter(None, [run.cache.obstacle()])]
    return [*lines, *(f"warning: {warning}" for warning in warnings)]


def explain(run: Run, result: CellResult) -> str:
    """A cell that is not green: what it did, what was expected, and how to run it alone."""
    stage, outcome = result.stage, result.outcome
    path = _shown(run.spec.expectations)
    lines = [f"{result.verdict}: {outcome} at {stage}"]
    if result.reason:
        lines.append(result.reason)
    known = [
        row.failure
        for row in run.expectations.rows
        if row.entry == result.entry and row.scope.holds(result.head, result.precision)
    ]
    rows = "; ".join(
        f"{f.outcome or 'a failure'} at {f.stage}" + (f" with {f.match!r}" if f.match else "")
        for f in known
    )
    if result.verdict is Verdict.IMPROVED:
        lines.append(f"expected {rows}; it passes now. Fix: delete that row of {path}")
    elif result.verdict is Verdict.CHANGED:
        lines.append(f"expected {rows} ({path})")
    elif result.verdict is Verdict.REGRESSED:
        lines.append("it passed in the run before")
    if result.error and outcome is not Outcome.PASS:
        lines += ["", *_excerpt(result.error.strip().splitlines()), ""]
    return "\n".join([*lines, f"rerun: {run.rerun(result)}"])


def end(run: Run, used: Cost, verbosity: int, updated: str) -> tuple[str, list[str]]:
    """What a run came to: a title, and lines.

    Args:
        run: with its results.
        used: what it cost.
        verbosity: pytest's; below 0, only totals.
        updated: what became of the expectations, where they were to be rewritten.
    """
    results = run.results
    title = f"{run.spec.name}: nothing was run"
    if run.absence is not None:
        return title, [f"skipped: {run.absence}"]
    if not results:
        of = f"0 of {len(run.catalog.entries)} entries ran"
        return title, [f"{of}. Fix: `python -m harness list` shows what --models and -k can name"]
    passed = sum(result.outcome is Outcome.PASS for result in results)
    absent = sum(result.outcome is Outcome.ABSENT for result in results)
    judged = len(results) - absent
    title = f"{run.spec.name}: {passed} of {judged} cells passed"
    if run.fallback:
        title += f" on the fallback {run.fallback}, 0 on the device"
    totals = f"{verdicts(results)}; {len(results)} cells" + (
        f", {absent} of them absent from this environment and not counted" if absent else ""
    )
    place = f"results: {_shown(run.path)}; `nox -s report` shows them with those of other sessions"
    if verbosity < 0:
        return title, [f"{title}: {totals}", place]
    lines = [*table(results), "", totals]
    if blocking := causes(results, everything=verbosity > 0):
        lines += ["", "causes, by the entries that each keeps from passing", *blocking]
    lines += ["", f"slowest: {slowest(results)}", f"cost: {cost(results, used)}", place]
    if updated:
        lines.append(
            f"expectations: {_shown(run.spec.expectations)} {updated}; new rows want a reason"
        )
    return title, lines


def table(results: Sequence[CellResult]) -> list[str]:
    """Family x outcome, in cells, with the share that passed and what it is a share of.

    Where both were run, headless models and task heads have a row of their own each.
    """
    outcomes = [o for o in Outcome if any(r.outcome is o for r in results)]
    if Outcome.PASS not in outcomes:
        outcomes.insert(0, Outcome.PASS)
    families = [f for f in FAMILIES if any(r.family == f for r in results)]
    families += sorted({r.family for r in results} - set(families))
    counts = {f: Counter(r.outcome for r in results if r.family == f) for f in families}
    rows = [["family", *outcomes, "passed"]]
    rows += [[f, *_row(counts[f], outcomes)] for f in families]
    parts = {
        "headless models": Counter(r.outcome for r in results if r.head == BASE),
        "task heads": Counter(r.outcome for r in results if r.head != BASE),
    }
    if all(parts.values()):
        rows += [[name, *_row(counted, outcomes)] for name, counted in parts.items()]
    if len(families) > 1 or all(parts.values()):
        rows.append(["all", *_row(Counter(r.outcome for r in results), outcomes)])
    return plain_table(rows, numbers=True)


def verdicts(results: Iterable[CellResult]) -> str:
    """`812 ok, 20 xfail, 2 regressed`."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[v]} {v}" for v in Verdict if counts[v])


def causes(results: Iterable[CellResult], *, everything: bool = False) -> list[str]:
    """What keeps entries from passing, the cause that blocks most entries first."""
    blocked: dict[tuple[str, Stage, Outcome], list[CellResult]] = defaultdict(list)
    for result in results:
        if result.outcome is not Outcome.PASS:
            cause = result.cause or result.reason or "no reason given"
            blocked[cause, result.stage, result.outcome].append(result)
    ranked = sorted(
        blocked.items(), key=lambda item: (-len({r.entry for r in item[1]}), item[0][0])
    )
    shown = ranked if everything else ranked[:CAUSES]
    lines = []
    for (cause, stage, outcome), those in shown:
        names = list(dict.fromkeys(label(result.entry, result.head) for result in those))
        expected = sum(result.verdict in GREEN for result in those)
        note = "" if expected < len(those) else ", expected"
        lines.append(f"{len(names):4}  {outcome} at {stage}{note}: {cause}")
        examples = names if everything else names[:EXAMPLES]
        more = f" and {len(names) - len(examples)} more" if len(names) > len(examples) else ""
        lines.append(f"      {', '.join(examples)}{more}")
    if len(ranked) > len(shown):
        lines.append(f"      and {len(ranked) - len(shown)} causes more (`-v` shows them)")
    return lines


def slowest(results: Iterable[CellResult]) -> str:
    """The slowest few in one line."""
    ranked = sorted(results, key=lambda result: -result.seconds)[:SLOWEST]
    return ", ".join(f"{label(r.entry, r.head)} {duration(r.seconds)}" for r in ranked)


def cost(results: Sequence[CellResult], used: Cost) -> str:
    """Wall time, CPU a cell, and the harness's own share of it, in one line."""
    cells = len(results) or 1
    parts = [f"{duration(used.wall)} wall", f"{used.cpu / cells:.2f} s of CPU a cell"]
    stages = {f"cpu_{stage}" for stage in WORK}
    work = sum(m.value for result in results for m in result.metrics if m.name in stages)
    if work and used.cpu:
        own = max(0.0, 1.0 - work / used.cpu)
        parts.append(f"{own:.0%} of the CPU is the harness's own, imports included")
    memory = sorted(result.peak_rss_mb for result in results if result.peak_rss_mb is not None)
    if memory:
        parts.append(f"{memory[len(memory) // 2]:.0f} MB a process at the median")
    return ", ".join(parts)


def _row(counts: Counter[Outcome], outcomes: Sequence[Outcome]) -> list[str]:
    judged = counts.total() - counts[Outcome.ABSENT]
    passed = counts[Outcome.PASS]
    share = f"{passed / judged:7.1%} of {judged}" if judged else "-"
    return [*(str(counts[o] or "") for o in outcomes), share]


def _excerpt(trace: Sequence[str]) -> list[str]:
    """The telling end of a traceback: its last lines, or the first ones of faulthandler's."""
    upside_down = [i for i, line in enumerate(trace) if line.endswith("(most recent call first):")]
    current = [i for i in upside_down if trace[i].startswith("Current thread")] or upside_down[-1:]
    start = max(0, current[0] - 2) if current else max(0, len(trace) - TRACEBACK)
    shown = trace[start : start + TRACEBACK]
    left = len(trace) - len(shown)
    return [*([f"... {left} lines more, in the results"] if left else []), *shown]


def _after(separator: str, text: str) -> str:
    return separator + text if text else ""


def _shown(path: Path) -> str:
    """A path as a person types it here."""
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)
