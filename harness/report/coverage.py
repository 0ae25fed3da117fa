"""Coverage tables in Markdown: entries, run and passed, by family, priority and backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.catalog import policy
from harness.report.labels import where
from harness.results.coverage import BackendCoverage, Coverage, Tally
from harness.toolkit import markdown_text, typed_commands
from harness.toolkit.text_table import markdown_table

#: Markers: `--write` replaces the text between these two lines.
BEGIN = "<!-- coverage: `nox -s coverage -- --write README.md` -->"

END = "<!-- end of coverage -->"

_ABOUT = (
    "{entries} entries are listed. An entry is *applicable* on a backend unless a run there found "
    "that its own `requires` rule the environment out, or the backend has a list of its own "
    "without it; it was *run* when it has any other result; it *passes* when every cell of it that "
    "ran there passed. The last result of each cell counts."
)

_ABOUT_WAYS = (
    "Passing cells: the headless models and the task heads, and how many of both also gave the "
    "right numbers through `from_pretrained()`, `pipeline()` and `generate()` or another loop of "
    "inferences."
)

_ABOUT_WEIGHTS = (
    "The target is a share of all entries of a priority. An entry counts once a cell of it passed "
    "with the weights of its checkpoint."
)


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
                    _heading(column),
                    *_counts(column.total),
                    _share(column.total.passed, column.total.applicable)
                    if column.total.run
                    else "not run",
                )
                for column in coverage.columns
            ],
        ),
        *_notes(coverage.columns),
    ]
    for title, groups in (
        ("family", lambda column: column.families),
        ("priority", lambda column: column.priorities),
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
                    f"{row.target} ({policy.TARGETS[row.priority]:.0%})",
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
    """The tables of `markdown` that a README has room for: columns that ran, and families."""
    ran = [column for column in coverage.columns if column.total.run]
    rows = [
        (family, tally.entries, *(_of(column.families[family]) for column in ran))
        for family, tally in (ran[0].families.items() if ran else ())
    ]
    if ran:
        rows.append(("all", coverage.entries, *(_of(column.total) for column in ran)))
    heads = ("family", "entries", *(_heading(column, runs=True) for column in ran))
    return "\n\n".join([_table(heads, rows), *_notes(ran), _ways_table(coverage)])


def _heading(column: BackendCoverage, *, runs: bool = False) -> str:
    """A column's name; with `runs`, also how little has run: `openvino f32 (30 of 673 run)`."""
    said = ["emulated"] * column.emulated
    if runs and column.partial:
        said.append(f"{column.total.run} of {column.total.applicable} run")
    name = _name(column)
    return f"{name} ({', '.join(said)})" if said else name


def _name(column: BackendCoverage) -> str:
    return markdown_text.plain(where(column.name, column.precision))


def _notes(columns: Sequence[BackendCoverage]) -> list[str]:
    """Lines below a table: the columns that are partial, and the backends with other lists."""
    partial = [
        f"{_name(column)} ({markdown_text.code(_session(column))})"
        for column in columns
        if column.partial
    ]
    limited = {column.name: column.models for column in columns if column.models}
    notes = []
    if partial:
        notes.append(f"Partial, with the command that runs the rest: {', '.join(partial)}.")
    if limited:
        lists = ", ".join(f"{name} (`{models}`)" for name, models in limited.items())
        notes.append(f"Backends with a list of their own: {lists}.")
    return notes


def _session(column: BackendCoverage) -> str:
    """The command that runs every applicable entry of a column."""
    other = column.precision != "default"
    return typed_commands.session(column.name, ["--precision", column.precision] if other else [])


def _of(tally: Tally) -> str:
    return f"{tally.passed} / {tally.run}" if tally.run else ""


def _ways_table(coverage: Coverage) -> str:
    heads = ("headless models", "task heads", "`from_pretrained`", "`pipeline`", "`generate`")
    rows = [
        (
            _heading(column, runs=True),
            way.headless,
            way.heads,
            way.pretrained,
            way.pipelines,
            way.generated,
        )
        for column in coverage.columns
        if (way := column.ways)
    ]
    return _table(("passing cells", *heads), rows)


def _by_group(
    coverage: Coverage,
    title: str,
    groups: Callable[[BackendCoverage], Mapping[str, Tally]],
) -> str:
    """One row a group: pass / run / applicable of each backend and precision."""
    if not coverage.columns:
        return "No backend."
    rows = [
        (
            group,
            tally.entries,
            *(
                f"{counted.passed} / {counted.run} / {counted.applicable}"
                for counted in (groups(column)[group] for column in coverage.columns)
            ),
        )
        for group, tally in groups(coverage.columns[0]).items()
    ]
    names = [f"{_name(column)}: pass / run / applicable" for column in coverage.columns]
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


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(markdown_table(heads, rows, numbers=True))
