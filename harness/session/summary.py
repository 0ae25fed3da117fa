"""Summary at the end of a run: totals by family and outcome, causes, slowest cells, cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.contract import BASE, FAMILIES, GREEN, CellResult, Outcome, Stage, Verdict, label
from harness.report import measured
from harness.session.changed import false_green
from harness.session.cost import Cost
from harness.session.news import news
from harness.session.on_cluster import cluster_notes
from harness.session.run import Run
from harness.toolkit import printable, typed_commands
from harness.toolkit.checkout import shown_path
from harness.toolkit.durations import duration
from harness.toolkit.text_table import plain_table

#: How many causes are listed; `-v` lists them all.
CAUSES = 10

#: How many entries are listed for each cause; `-v` lists them all.
EXAMPLES = 4

#: How many of the slowest cells are listed.
SLOWEST = 5

#: Stages whose CPU time is the model's and the backend's. The other CPU time is the harness's own.
WORK = frozenset(Stage) - {Stage.INPUTS, Stage.VERIFY}


@dataclass(frozen=True, slots=True)
class Selection:
    """How many cells a run was to run, and how many of those selected are in other shards."""

    cells: int
    in_other_shards: int = 0


def summarise(
    run: Run, used: Cost, verbosity: int, updated: str, selection: Selection
) -> tuple[str, list[str]]:
    """The title and the lines of the summary.

    Args:
        run: with its results.
        used: the cost of the run.
        verbosity: pytest's; below 0, only totals.
        updated: `rewritten` or `unchanged`, of the expectations; empty where they were to stay.
        selection: of cells.
    """
    results = run.results
    title = f"{run.spec.name}: nothing was run"
    if run.absence is not None:
        return title, [printable.block(f"skipped: {run.absence}")]
    if not selection.cells and selection.in_other_shards:
        shard = "{}/{}".format(*run.options.shard)
        title = f"{run.spec.name}: shard {shard} holds no cells"
        return title, [f"{title}; the other shards hold all {selection.in_other_shards}"]
    left = selection.cells - len(results)
    if not results and run.supply.done_before and not selection.cells:
        entries = len({cell.entry.name for cell in run.supply.done_before})
        done = f"the policy is done: all {entries} of its entries have run with these pins"
        return f"{run.spec.name}: {done}", [
            f"{done}; `{typed_commands.coverage()}` counts what passed"
        ]
    still = run.untouched.summary()
    left -= run.untouched.count
    if not results and run.untouched.count and not left:
        return f"{run.spec.name}: nothing has changed", [still]
    if not results and left:
        return title, [f"{left} cells were not run"]
    if not results:
        of = f"0 of {len(run.catalog.entries)} entries ran"
        return title, [f"{of}. Fix: `python -m harness list` shows what --models and -k can name"]
    passed = sum(result.outcome is Outcome.PASS for result in results)
    absent = sum(result.outcome is Outcome.ABSENT for result in results)
    judged = len(results) - absent
    title = f"{run.spec.name}: {passed} of {judged} cells passed"
    if not judged:
        title = f"{run.spec.name}: nothing was run, {absent} of {absent} cells are absent"
    if run.fallback:
        title += f" on the fallback {printable.line(run.fallback)}, 0 on the device"
    totals = f"{verdicts(results)}; {len(results)} cells" + (
        f", {absent} of them absent from this environment and not counted" if absent else ""
    )
    if still:
        totals += f"; {still}"
    if left:
        totals += f"; {left} of the {selection.cells} selected cells were not run"
    place = (
        f"results: {shown_path(run.path)}; `{typed_commands.report()}` shows them with those of "
        "other sessions"
    )
    notes = [f"NOTE: {run.note}"] if run.note else []
    if run.unchanged is not None and (said := false_green(run.unchanged)):
        notes.append(said)
    notes += cluster_notes(run.cluster, run.schedule)
    if run.faults:
        notes.append(f"NOTE: with --fault {run.faults}, these results count nowhere")
    if verbosity < 0:
        return title, [f"{title}: {totals}", place, *notes]
    changed = news(results, run.last, everything=verbosity > 0)
    lines = [*changed, *([""] if changed else []), *table(results), "", totals]
    if blocking := causes(results, everything=verbosity > 0):
        lines += ["", "causes, by the entries that each keeps from passing", *blocking]
    rows = (measured.row(label(r.entry, r.head), measured.numbers(r)) for r in results)
    if speeds := measured.table(list(rows)):
        lines += ["", "measured, one cell at a time", *plain_table(speeds)]
    lines += ["", f"slowest: {slowest(results)}", f"cost: {cost(results, used)}", place]
    if updated:
        lines.append(
            f"expectations: {shown_path(run.spec.expectations)} {updated}; new rows want a reason"
        )
    return title, [*lines, *notes]


def table(results: Sequence[CellResult]) -> list[str]:
    """Table of cells, family x outcome, with the share that passed and its denominator.

    Where both were run, headless models and task heads have a row each.
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
    """Counts of the verdicts, such as `812 ok, 20 xfail, 2 regressed`."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(f"{counts[v]} {v}" for v in Verdict if counts[v])


def causes(results: Iterable[CellResult], *, everything: bool = False) -> list[str]:
    """Causes of failures, each with the entries that it blocks; most entries first."""
    blocked: dict[tuple[str, Stage, Outcome], list[CellResult]] = defaultdict(list)
    for result in results:
        for failure in result.failures:
            cause = failure.cause or failure.reason or "no reason given"
            blocked[cause, failure.stage, failure.outcome].append(result)
    ranked = sorted(
        blocked.items(), key=lambda item: (-len({r.entry for r in item[1]}), item[0][0])
    )
    shown = ranked if everything else ranked[:CAUSES]
    lines = []
    for (cause, stage, outcome), failures in shown:
        names = sorted({label(result.entry, result.head) for result in failures})
        note = ", expected" if all(result.verdict in GREEN for result in failures) else ""
        lines.append(f"{len(names):4}  {outcome} at {stage}{note}: {printable.line(cause)}")
        examples = names if everything else names[:EXAMPLES]
        more = f" and {len(names) - len(examples)} more" if len(names) > len(examples) else ""
        lines.append(f"      {', '.join(examples)}{more}")
    if len(ranked) > len(shown):
        lines.append(f"      and {len(ranked) - len(shown)} causes more (`-v` shows them)")
    return lines


def slowest(results: Iterable[CellResult]) -> str:
    """The slowest cells in one line."""
    ranked = sorted(results, key=lambda result: -result.seconds)[:SLOWEST]
    return ", ".join(f"{label(r.entry, r.head)} {duration(r.seconds)}" for r in ranked)


def cost(results: Sequence[CellResult], used: Cost) -> str:
    """Wall time, CPU a cell, the harness's own share of the CPU, and memory, in one line."""
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
