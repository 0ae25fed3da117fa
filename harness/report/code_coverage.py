"""Coverage of modeling code as Markdown: by file, lowest first, with the functions not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.results.code_coverage import TARGET, FileCoverage, median
from harness.toolkit import markdown_text
from harness.toolkit.text_table import markdown_table

#: Markers: `--write` replaces the text between these two lines.
BEGIN = "<!-- code: `python -m harness code-coverage --write docs/code-coverage.md` -->"

END = "<!-- end of code -->"

#: Functions that a row names.
NAMED = 4


def summary(files: Sequence[FileCoverage]) -> str:
    """The figures and the table of all files."""
    statements, run = sum(f.statements for f in files), sum(f.run for f in files)
    reach = sum(f.share >= TARGET for f in files)
    figures = (
        f"{len(files)} modeling files: at the median, {median(files):.0%} of the statements that "
        f"inference can reach are run by the file's own cells (the target is {TARGET:.0%}); "
        f"{reach} files reach it. In all {run:,} of {statements:,}, {run / max(statements, 1):.0%}."
    )
    heads = ("modeling file", "statements", "run", "of the whole file", "statements not run")
    rows = [
        (
            markdown_text.code(each.name),
            each.statements,
            f"{each.share:.0%}",
            f"{each.run / max(each.whole, 1):.0%}",
            _missed(each),
        )
        for each in files
    ]
    return "\n".join([figures, "", *markdown_table(heads, rows)])


def markdown(files: Sequence[FileCoverage]) -> str:
    """The whole page, ending in a newline."""
    return f"# Code of modeling files that is run\n\n{summary(files)}\n"


def switches(rows: Sequence[Mapping[str, Any]]) -> str:
    """The switches of which no entry gives one of the two answers, by modeling file."""
    half = [row for row in rows if len(row["answers"]) < 2]
    turned = len(rows) - len(half)
    figures = (
        f"{len(rows)} switches: tests of config fields in modeling files. Of {turned} both answers "
        f"occur among the entries; of these {len(half)} one is missing."
    )
    heads = ("modeling file", "field", "never", "line")
    table = [
        (
            markdown_text.code(row["file"]),
            markdown_text.code(row["field"]),
            markdown_text.code(f"{'not ' if row['answers'] == [True] else ''}({row['test']})"),
            row["line"],
        )
        for row in half
    ]
    lines = ["# Switches that no entry turns", "", figures, "", *markdown_table(heads, table)]
    return "\n".join(lines) + "\n"


def _missed(each: FileCoverage) -> str:
    """The functions with most statements that are not run, and the lines where these begin."""
    largest = sorted(each.missed.items(), key=lambda item: (-len(item[1]), item[0]))
    named = [f"{function} {len(lines)} ({lines[0]})" for function, lines in largest[:NAMED]]
    more = [f"{len(largest) - NAMED} more"] if len(largest) > NAMED else []
    return markdown_text.plain("; ".join(named + more))
