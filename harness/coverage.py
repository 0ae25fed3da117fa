"""How much of the model lists has been run and passes, counted from the last results.

The unit is the entry. Of each backend's environment, four counts, each a part of the one before:
the entries that are listed, those that are **applicable** (all but the ones whose own `requires`
this environment does not meet), those that were **run**, and those that **pass**: every cell of
the entry that ran there passed, in each head and precision.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import catalog as catalogs
from harness import registry
from harness.catalog import Catalog
from harness.contract import BASE, PRIORITIES, REAL_WEIGHTS, Entry, HarnessError, Outcome, Priority
from harness.expectations import DECLARED_ABSENT
from harness.report import queries, results
from harness.report.queries import CellRow
from harness.toml_text import replace_file

#: Which share of the entries of a priority should have been run with their real weights.
REAL_WEIGHTS_TARGETS: Mapping[Priority, float] = {"critical": 1.0, "high": 0.5, "medium": 0.25}

#: What `--write` writes stands between these two lines.
BEGIN = "<!-- coverage: `nox -s coverage -- --write README.md` -->"
END = "<!-- end of coverage -->"

_ABOUT = (
    "{entries} entries are listed. An entry is *applicable* on a backend unless a run there found "
    "that its own `requires` rule the environment out; it was *run* when it has any other result; "
    "it *passes* when every cell of it that ran there passed. The last result of each cell counts."
)
_ABOUT_WAYS = (
    "Passing cells, in every precision: the headless models and the task heads, and how many of "
    "both also gave the right numbers through `from_pretrained()`, `pipeline()` and `generate()` "
    "or another loop of inferences."
)
_ABOUT_WEIGHTS = (
    "The target is a share of all entries of a priority. An entry counts once a cell of it passed "
    "with the weights of its checkpoint."
)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of entries, each a part of the one before."""

    entries: int
    applicable: int
    run: int
    passed: int


@dataclass(frozen=True, slots=True)
class BackendCoverage:
    """What one backend has run, over all entries, by family and by priority."""

    name: str
    emulated: bool
    total: Tally
    families: Mapping[str, Tally]
    priorities: Mapping[str, Tally]
    never_run: tuple[str, ...]  # applicable entries


@dataclass(frozen=True, slots=True)
class Ways:
    """How many cells of a backend passed, and how many of those through each way of use."""

    backend: str
    headless: int
    heads: int
    pretrained: int  # from_pretrained()
    pipelines: int
    generated: int  # generate(), or another loop


@dataclass(frozen=True, slots=True)
class WeightsTarget:
    """The policy of real weights for one priority, and where it stands. Counts of entries."""

    priority: Priority
    entries: int
    with_checkpoint: int
    target: int
    reached: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Everything that the command says."""

    entries: int
    backends: tuple[BackendCoverage, ...]
    ways: tuple[Ways, ...]
    weights: tuple[WeightsTarget, ...]
    never_run: Mapping[str, tuple[str, ...]]  # family -> entries that no device has run
    unavailable: Mapping[str, str]  # name -> reason


def count(catalog: Catalog, backends: Sequence[str], gathered: results.Gathered) -> Coverage:
    """Counts the last results against the lists.

    Args:
        catalog: the model lists.
        backends: the names of all backends, those without results included.
        gathered: the results, read with the catalog's entries.
    """
    entries = list(catalog.entries.values())
    by_backend: dict[str, dict[str, list[CellRow]]] = {name: {} for name in backends}
    for cell in queries.cells(gathered.connection):
        by_backend.setdefault(cell.backend, {}).setdefault(cell.entry, []).append(cell)
    emulated = {run.backend for run in queries.runs(gathered.connection) if run.emulated}
    covered = tuple(
        _backend(name, name in emulated, entries, cells) for name, cells in by_backend.items()
    )
    seen = {
        name
        for backend, cells in by_backend.items()
        if backend not in emulated
        for name, rows in cells.items()
        if _ran(rows)
    }
    missing = {
        family: tuple(
            entry.name for entry in entries if entry.family == family and entry.name not in seen
        )
        for family in catalog.families()
    }
    real = {
        str(row[0])
        for row in gathered.connection.execute(
            "SELECT DISTINCT entry FROM latest JOIN metrics "
            "USING (run_id, entry, head, precision) "
            "WHERE metrics.name = ? AND metrics.value > 0 AND outcome = ?",
            [REAL_WEIGHTS, Outcome.PASS.value],
        ).fetchall()
    }
    return Coverage(
        entries=len(entries),
        backends=covered,
        ways=_ways(gathered),
        weights=tuple(_weights(priority, entries, real) for priority in REAL_WEIGHTS_TARGETS),
        never_run={family: names for family, names in missing.items() if names},
        unavailable={name: model.reason for name, model in catalog.unavailable.items()},
    )


def _ways(gathered: results.Gathered) -> tuple[Ways, ...]:
    """Counts of passing cells by the metrics that only a way of use records."""
    rows = gathered.connection.execute(
        "SELECT backend, count(*) FILTER (head = ?), count(*) FILTER (head <> ?), "
        "count(*) FILTER (list_contains(names, 'wall_roundtrip')), "
        "count(*) FILTER (list_contains(names, 'pipelines')), "
        "count(*) FILTER (list_contains(names, 'wall_generate')) FROM ("
        "SELECT backend, latest.head, list(metrics.name) AS names FROM latest LEFT JOIN metrics "
        "USING (run_id, entry, head, precision) WHERE outcome = ? "
        "GROUP BY backend, run_id, entry, latest.head, precision) "
        "GROUP BY backend ORDER BY backend",
        [BASE, BASE, Outcome.PASS.value],
    ).fetchall()
    return tuple(Ways(str(row[0]), *map(int, row[1:])) for row in rows)


def markdown(coverage: Coverage) -> str:
    """The coverage as Markdown, ending in a newline."""
    blocks = [
        "# Coverage",
        _ABOUT.format(entries=coverage.entries),
        "## By backend",
        _table(
            ("backend", "entries", "applicable", "run", "pass", "pass of applicable"),
            [
                (
                    f"{backend.name}{' (emulated)' if backend.emulated else ''}",
                    *_counts(backend.total),
                    _share(backend.total.passed, backend.total.applicable)
                    if backend.total.run
                    else "not run",
                )
                for backend in coverage.backends
            ],
        ),
    ]
    for title, groups in (
        ("family", lambda backend: backend.families),
        ("priority", lambda backend: backend.priorities),
    ):
        blocks += [f"## By {title}", _by_group(coverage, title, groups)]
    blocks += [
        "## Ways of use",
        _ABOUT_WAYS,
        _ways_table(coverage),
        "## Real weights",
        _ABOUT_WEIGHTS,
        _table(
            ("priority", "entries", "with a checkpoint", "target", "reached", "to go"),
            [
                (
                    row.priority,
                    row.entries,
                    row.with_checkpoint,
                    f"{row.target} ({REAL_WEIGHTS_TARGETS[row.priority]:.0%})",
                    f"{row.reached} ({_share(row.reached, row.entries)})",
                    max(row.target - row.reached, 0),
                )
                for row in coverage.weights
            ],
        ),
        "## Never run",
        *_missing(coverage),
        f"## Unavailable ({len(coverage.unavailable)})",
        "\n".join(f"- `{name}`: {reason}" for name, reason in coverage.unavailable.items())
        or "None.",
    ]
    return "\n\n".join(blocks) + "\n"


def summary(coverage: Coverage) -> str:
    """The tables of `markdown` that a README has room for: backends that ran, and families."""
    ran = [backend for backend in coverage.backends if backend.total.run]
    rows = [
        (family, tally.entries, *(_of(backend.families[family]) for backend in ran))
        for family, tally in (ran[0].families.items() if ran else ())
    ]
    if ran:
        rows.append(("all", coverage.entries, *(_of(backend.total) for backend in ran)))
    names = [f"{backend.name}{' (emulated)' if backend.emulated else ''}" for backend in ran]
    return "\n\n".join([_table(("family", "entries", *names), rows), _ways_table(coverage)])


def _of(tally: Tally) -> str:
    return f"{tally.passed} / {tally.run}" if tally.run else ""


def _ways_table(coverage: Coverage) -> str:
    columns = ("headless models", "task heads", "`from_pretrained`", "`pipeline`", "`generate`")
    rows = [
        (way.backend, way.headless, way.heads, way.pretrained, way.pipelines, way.generated)
        for way in coverage.ways
    ]
    return _table(("passing cells", *columns), rows)


def write_between_markers(path: Path, text: str) -> bool:
    """Puts a text between the markers of a Markdown file; whether that changed it.

    Raises:
        HarnessError: the file has no markers, or cannot be written. It is as it was then.
    """
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    start, end = before.find(BEGIN), before.find(END)
    if not 0 <= start < end:
        raise HarnessError(
            f"expected {BEGIN} and, after it, {END} in {path}, found none. "
            "Fix: put both lines where the table belongs"
        )
    after = f"{before[: start + len(BEGIN)]}\n{text}\n{before[end:]}"
    if after != before:
        replace_file(path, after)
    return after != before


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness coverage`."""
    parser.description = "Counts from the last results what was run and what passes."
    parser.add_argument("--json", action="store_true", help="as JSON instead of Markdown")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help=f"put the short tables into FILE, between {BEGIN} and {END}",
    )
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    parser.add_argument("--root", type=Path, default=catalogs.ROOT, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Prints the coverage; results files that cannot be read are named on stderr.

    Raises:
        HarnessError: a model list or a backend.toml is wrong.
    """
    catalog = catalogs.load(args.root)
    folder = args.results or args.root / "results"
    gathered = results.gather(results.find(folder), list(catalog.entries.values()))
    coverage = count(catalog, list(registry.discover(args.root / "backends")), gathered)
    print(json.dumps(asdict(coverage), indent=2) if args.json else markdown(coverage), end="")
    if args.write is not None:
        changed = write_between_markers(args.write, summary(coverage))
        print(f"{args.write}: {'rewritten' if changed else 'unchanged'}", file=sys.stderr)
    for left_out in gathered.left_out:
        print(f"left out: {left_out}", file=sys.stderr)
    return 0


def _backend(
    name: str, emulated: bool, entries: Sequence[Entry], cells: Mapping[str, Sequence[CellRow]]
) -> BackendCoverage:
    families = dict.fromkeys(entry.family for entry in entries)
    return BackendCoverage(
        name=name,
        emulated=emulated,
        total=_tally(entries, cells),
        families={
            family: _tally([entry for entry in entries if entry.family == family], cells)
            for family in families
        },
        priorities={
            priority: _tally([entry for entry in entries if entry.priority == priority], cells)
            for priority in PRIORITIES
        },
        never_run=tuple(entry.name for entry in entries if not cells.get(entry.name)),
    )


def _tally(entries: Iterable[Entry], cells: Mapping[str, Sequence[CellRow]]) -> Tally:
    listed = applicable = run = passed = 0
    for entry in entries:
        rows = cells.get(entry.name, ())
        ran = _ran(rows)
        listed += 1
        applicable += bool(ran) or not rows
        run += bool(ran)
        passed += bool(ran) and all(row.outcome == Outcome.PASS for row in ran)
    return Tally(listed, applicable, run, passed)


def _ran(rows: Iterable[CellRow]) -> list[CellRow]:
    """The cells of an entry, without those that the entry's own `requires` rule out."""
    return [
        row
        for row in rows
        if not (row.outcome == Outcome.ABSENT and row.reason.startswith(DECLARED_ABSENT))
    ]


def _weights(priority: Priority, entries: Sequence[Entry], real: set[str]) -> WeightsTarget:
    chosen = [entry for entry in entries if entry.priority == priority]
    return WeightsTarget(
        priority=priority,
        entries=len(chosen),
        with_checkpoint=sum(bool(entry.checkpoint) for entry in chosen),
        target=math.ceil(REAL_WEIGHTS_TARGETS[priority] * len(chosen)),
        reached=sum(entry.name in real for entry in chosen),
    )


def _by_group(
    coverage: Coverage,
    title: str,
    groups: Callable[[BackendCoverage], Mapping[str, Tally]],
) -> str:
    """One row a group and one column a backend: pass / run / applicable."""
    if not coverage.backends:
        return "No backend."
    rows = [
        (
            group,
            tally.entries,
            *(
                f"{counted.passed} / {counted.run} / {counted.applicable}"
                for counted in (groups(backend)[group] for backend in coverage.backends)
            ),
        )
        for group, tally in groups(coverage.backends[0]).items()
    ]
    names = [f"{backend.name}: pass / run / applicable" for backend in coverage.backends]
    return _table((title, "entries", *names), rows)


def _missing(coverage: Coverage) -> list[str]:
    """How many entries no device has run, and which; an emulated device is none."""
    total = sum(map(len, coverage.never_run.values()))
    emulated = [backend.name for backend in coverage.backends if backend.emulated]
    aside = f", {', '.join(emulated)} (emulated) left aside" if emulated else ""
    names = "\n".join(
        f"- {family} ({len(entries)}): {', '.join(entries)}"
        for family, entries in coverage.never_run.items()
    )
    sentence = f"{total} of {coverage.entries} entries have run on no device{aside}."
    return [sentence, names] if names else [sentence]


def _counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.entries, tally.applicable, tally.run, tally.passed


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "none to count"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, the first column to the left and the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
