"""`python -m harness ran`: whether a session has stored a finished run, for CI with a history.

Exit status: 0 a new run came to its end and has results; 3 no new run has any: what lies there is
of earlier sessions; 4 one was cut short after some. Python itself ends with 1 and 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.commands.report import RESULTS
from harness.report.words import plural
from harness.results.new_runs import NewRun, new_runs
from harness.toolkit.printable import show

#: The exit statuses where no new run has results, and where one was cut short after some.
NOTHING, CUT_SHORT = 3, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness ran`."""
    parser.description = (
        "Says which runs are new in a folder of results, held against a copy from before the "
        "session. Exit status 0: one came to its end; 3: none has results, and what lies there is "
        "of earlier sessions; 4: one was cut short."
    )
    parser.add_argument("before", type=Path, metavar="BEFORE", help="the folder with the copy")
    parser.add_argument(
        "after",
        type=Path,
        nargs="?",
        default=RESULTS,
        metavar="AFTER",
        help="the results (default: %(default)s)",
    )


def main(args: argparse.Namespace) -> int:
    """Print a line on each new run; returns 0 where one came to its end and has results."""
    found = new_runs(args.before, args.after)
    for run in found:
        show(_line(run))
    if any(run.counts for run in found):
        return 0
    if any(run.cells for run in found):
        return CUT_SHORT
    show("Nothing was run. Results of earlier runs are not shown; the session's log says more.")
    return NOTHING


def _line(run: NewRun) -> str:
    ending = "finished" if run.finished else "was cut short"
    return f"{run.backend}: run {run.run_id} {ending}, {plural(run.cells, 'result')}."
