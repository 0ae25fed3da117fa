"""`python -m harness report`: results/*.duckdb of all sessions -> report.html, report.md, badges.

Exit status: 0 the report is complete; 1 it was written, but a results file or the model lists could
not be read, and it says so; 2 there was nothing to report, and nothing was written.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from harness.catalog import model_lists, selection
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import HarnessError
from harness.report import badges, content, words
from harness.report.exports import EXPORTS
from harness.report.server import PORT, ReportServer, seen
from harness.results import merged
from harness.results.snapshots import Snapshots
from harness.toolkit import checkout, typed_commands
from harness.toolkit.atomic_write import write_atomically
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.printable import show

#: The folder that sessions write to, from the root of the checkout.
RESULTS = Path("results")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness report`."""
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="DIR",
        help="folder with the sessions' *.duckdb, subfolders included (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where report.html, report.md and badges/ go (default: the results folder)",
    )
    parser.add_argument(
        "--export",
        action="append",
        default=[],
        type=_exports,
        metavar="NAMES",
        help=f"also write the results for other programs: {', '.join(EXPORTS)}",
    )
    parser.add_argument(
        "--serve",
        nargs="?",
        type=int,
        const=PORT,
        metavar="PORT",
        help="show the report on this machine, and renew it as sessions write "
        f"(default: port {PORT})",
    )
    add_lists(parser)


def _exports(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in EXPORTS]:
        raise argparse.ArgumentTypeError(
            f"expected names of {', '.join(EXPORTS)}, found {unknown[0]!r}."
            f"{did_you_mean(unknown[0], EXPORTS)}"
        )
    return names


def main(arguments: argparse.Namespace) -> int:
    """Write the report; returns 0 when it is complete and 1 when it had to leave something out.

    Raises:
        HarnessError: there are no results that can be read, or the report cannot be written.
    """
    if arguments.serve is not None:
        return serve(arguments)
    from harness.report import html, markdown  # which import jinja2

    folder: Path = arguments.results
    output: Path = arguments.output or folder
    report = read(folder, lambda: catalog_of(arguments))
    files: dict[Path, str | bytes] = {
        Path("report.html"): html.render(report),
        Path("report.md"): markdown.render(report),
        Path("comment.md"): markdown.comment(report),
    }
    for backend, text in badges.badges(report.totals, report.runs).items():
        files[Path("badges") / f"{backend}.svg"] = text
    for backend, text in badges.endpoints(report.totals, report.runs).items():
        files[Path("badges") / f"{backend}.json"] = text
    for name in dict.fromkeys(name for names in arguments.export for name in names):
        file, write = EXPORTS[name]
        files[Path(file)] = write(report)
    for path, written in files.items():
        _write(output / path, written)
    for total in report.totals:
        part = words.share(total.passed, total.judged)
        column = f"{total.backend} {total.precision}"
        show(f"{column:<28} {total.passed} of {total.judged} judged cells pass ({part})")
    show(f"Report: {output / 'report.html'}, {output / 'report.md'}, {output / 'badges'}")
    problems = [f"left out: {file}" for file in report.left_out]
    if report.catalog_error:
        problems.append(f"left out: the model lists could not be read: {report.catalog_error}")
    for problem in [*problems, *(f"doubted: {doubt}" for doubt in report.doubts)]:
        show(problem, file=sys.stderr)
    return 1 if problems else 0


def serve(arguments: argparse.Namespace) -> int:
    """Show the report on loopback until Ctrl-C, written anew when a results file has changed.

    Raises:
        HarnessError: the port is taken, or there are no results yet.
    """
    from harness.report import html  # which imports jinja2

    folder: Path = arguments.results
    with tempfile.TemporaryDirectory(prefix="harness-") as copies:
        snapshots = Snapshots(folder, Path(copies))

        def written() -> str:
            snapshots.refresh()
            return html.render(read(Path(copies), lambda: catalog_of(arguments)), live=True)

        server = ReportServer(written, lambda: seen(folder), arguments.serve)
        show(f"The report is at {server.address} until Ctrl-C; it is renewed as sessions write.")
        server.run()
    return 0


def read(folder: Path, load: Callable[[], selection.Catalog] | None = None) -> content.Report:
    """The content of the report on the results in a folder.

    Args:
        folder: with the results.
        load: reads the model lists; this project's by default.

    Raises:
        HarnessError: no results file can be read, or none holds a result of a listed entry.
    """
    paths = merged.find(folder)
    if not paths:
        raise HarnessError(
            f"expected the results of at least one session in {folder}/*.duckdb, found none. "
            f"Fix: run one, for example {typed_commands.session('mock')}, or name another folder "
            "with --results DIR"
        )
    lists: selection.Catalog | None = None
    catalog_error = ""
    try:
        lists = load() if load is not None else model_lists.load(checkout.ROOT)
    except HarnessError as error:
        catalog_error = str(error)
    entries = None if lists is None else list(lists.entries.values())
    gathered = merged.gather(paths, entries, history=True)
    with gathered.connection:
        if not gathered.files:
            found = "\n".join(map(str, gathered.left_out))
            raise HarnessError(f"expected results that can be read, found only\n{found}")
        report = content.collect(gathered, lists, catalog_error, datetime.now(UTC))
    if not report.columns:
        for remark in gathered.remarks():
            show(remark, file=sys.stderr)
        raise HarnessError(
            f"expected results of listed entries in {', '.join(map(str, gathered.files))}, found "
            "none that counts (what ran with --fallback or --fault does not). Fix: let a session "
            f"finish at least one cell, for example {typed_commands.session('mock')}"
        )
    return report


def _write(path: Path, text: str | bytes) -> None:
    """Write a file as a whole or, on a full disk or an interruption, leave the old one.

    Raises:
        HarnessError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise HarnessError(
            f"the report cannot be written to {path}: {error}. An earlier one was left as it was. "
            "Fix: make room, or write elsewhere with --output DIR"
        ) from error
