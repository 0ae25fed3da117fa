"""`python -m harness diff`: regressed, improved, changed, new and gone cells between two results.

Exit status: 0 no cell is worse; 1 a cell fails, newly or otherwise than before, and nobody expects
it, or a measured cell is slower than noise explains; 2 a side cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from harness.contract import HarnessError
from harness.report.comparison import markdown, text
from harness.results import side
from harness.results.changed_cells import Kind
from harness.results.comparison import Comparison, compare, with_kinds
from harness.results.side import Side
from harness.toolkit import checkout
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.printable import show, show_json

ABOUT = """\
Compares two sides, each of which is
  a file of results, or a folder with such files, as the artefacts of CI shards;
  a backend for its last run, or BACKEND~1 for the run before it;
  the id of a run, or its beginning;
  git:REVISION for the expectations of that revision, git: for those as they are.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness diff`."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("before", metavar="A", help="the one side, as torch-cpu~1")
    parser.add_argument(
        "after",
        metavar="B",
        nargs="?",
        help="the other side (default: the last run of A's backend; for git:REVISION the "
        "expectations as they are; for files the results folder)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as Markdown, for a step summary")
    parser.add_argument(
        "--only",
        metavar="KIND,...",
        help=f"show some changes only: {', '.join(Kind)}; the exit status follows from all",
    )
    parser.add_argument("--results", type=Path, metavar="DIR", help="the results (results/)")
    parser.add_argument("--root", type=Path, default=checkout.ROOT, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Prints the difference; returns 1 where a cell is worse or slower and nobody expects it.

    Raises:
        HarnessError: a side is none, or has nothing that can be read.
    """
    folder = args.results or checkout.results_folder(args.root)
    kinds = _kinds(args.only)
    known = side.KnownRuns(folder)
    before = side.find(args.before, folder, args.root, known)
    other = args.after or _counterpart(before, args.before, folder)
    after = side.find(other, folder, args.root, known)
    found = compare(before, after)
    shown = with_kinds(found, kinds) if kinds else found
    if args.json:
        show_json(as_json(shown))
    elif args.markdown:
        show(markdown(shown), end="")
    else:
        show(text(shown))
    for remark in found.remarks:
        show(remark, file=sys.stderr)
    return 1 if found.worse or found.slower else 0


def as_json(found: Comparison) -> dict[str, object]:
    """The comparison as an object of JSON, with the numbers of cells that are worse or slower."""
    return {**asdict(found), "worse": found.worse, "slower": found.slower}


def _counterpart(before: Side, text: str, folder: Path) -> str:
    """The default of the other side, as `harness.results.side` reads it."""
    if before.expectations:
        return side.REVISION
    if Path(text).exists():
        return str(folder)
    (backend,) = before.runs  # a run has one
    return backend


def _kinds(names: str | None) -> set[Kind]:
    wanted = [name.strip() for name in names.split(",")] if names else []
    for name in wanted:
        if name not in list(Kind):
            raise HarnessError(
                f"expected --only {','.join(Kind)} or some of them, found {name!r}."
                f"{did_you_mean(name, list(Kind))}"
            )
    return set(map(Kind, wanted))
