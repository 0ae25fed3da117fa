"""`python -m harness bisect`: the version of a package since which a cell fails.

Exit status: 0 the first bad version is named; 1 it is one of several, because those in between
could not be judged; 2 the ends are not as they were said to be, or bad usage.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.catalog.cells import cell_of
from harness.catalog.chosen_lists import BESIDE
from harness.commands.backends_option import add_backends_dir, backends_dir
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import HarnessError
from harness.environments import locks, swapped
from harness.environments.bisection import Bisection, CellQuestion
from harness.environments.findings import Finding, of_locks, of_versions
from harness.toolkit import checkout, printable
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.printable import show, show_json
from harness.toolkit.text_table import plain_table

ABOUT = """\
Finds the version of a package since which a cell fails, or, with the good end newer than the bad
one, since which it is mended. Each end is a version of --package, or a file of pins, as the
requirements.txt of a revision; of two files, first the package is found, and then its version.

uv makes an environment for each version that is asked, and keeps it in the user's cache folder. A
version that cannot be installed, or on which the cell fails otherwise, is passed over.
"""

#: Characters of a reason in the table.
REASON = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness bisect`."""
    parser.description = ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("entry", metavar="ENTRY[:HEAD]", help="the cell, as bert:fill-mask")
    parser.add_argument("--backend", required=True, metavar="NAME", help="whose pins are varied")
    for end in ("good", "bad"):
        parser.add_argument(
            f"--{end}", required=True, metavar="VERSION|FILE", help=f"a version that is {end}"
        )
    parser.add_argument(
        "--package", default="transformers", metavar="NAME", help="whose versions; transformers"
    )
    parser.add_argument("--precision", default="default", metavar="NAME", help="default")
    parser.add_argument("--pre", action="store_true", help="ask pre-releases too")
    parser.add_argument(
        "--attempts",
        type=int,
        default=3,
        metavar="N",
        help="how often a version is asked before it counts as good, once an answer wavers; 3",
    )
    parser.add_argument(
        "--any-failure",
        action="store_true",
        help="any failure that the good end lacks is bad, not only those of the bad end",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_backends_dir(parser)
    add_lists(parser)
    parser.add_argument("session", nargs="*", help="after --: options of each session, as --seed 1")


def main(args: argparse.Namespace) -> int:
    """Prints every version that was asked, and the first bad one.

    Raises:
        HarnessError: an option names nothing, uv is missing, or the ends do not differ.
    """
    spec = backends.find(args.backend, backends_dir(args))
    cell = cell_of(args.entry, spec.name, args.precision, catalog_of(args))
    if not 1 <= args.attempts <= 100:
        raise HarnessError(
            f"expected --attempts to be a number from 1 to 100, found {args.attempts}. Fix: choose "
            "one in between"
        )
    question = CellQuestion(
        spec, cell.entry.name, cell.head, cell.precision, args.attempts, _options(args)
    )
    files = [text for text in (args.good, args.bad) if Path(text).is_file()]
    if len(files) == 1:
        raise HarnessError(
            f"expected two versions or two files of pins, found the file {files[0]} and a version. "
            "Fix: name two of a kind"
        )
    bisection = Bisection(question, args.any_failure, _tell)
    if files:
        good, bad = (Path(text).read_text(encoding="utf-8") for text in (args.good, args.bad))
        if not locks.changed(good, bad):
            raise HarnessError(
                f"expected other pins in {args.bad} than in {args.good}, found the same. Fix: name "
                "another file"
            )
        swapped.check_uv()
        found = of_locks(bisection, good, bad, pre=args.pre)
    else:
        _check_package(spec, args.package)
        swapped.check_uv()
        found = of_versions(bisection, args.package, args.good, args.bad, pre=args.pre)
    if args.json:
        show_json({**asdict(found), "certain": found.certain, "conclusion": found.conclusion})
    else:
        show(text(found))
    return 0 if found.certain else 1


def _options(args: argparse.Namespace) -> tuple[str, ...]:
    """The options of each session: its lists, by their full path, and what stands after `--`."""
    given = tuple(args.session or ())
    if not args.lists:
        return given
    beside = BESIDE if args.lists.startswith(BESIDE) else ""
    return (f"--lists={beside}{Path(args.lists.removeprefix(BESIDE)).resolve()}", *given)


def text(found: Finding) -> str:
    """The finding as a table of what was asked, notes and the conclusion."""
    rows = [("asked", "verdict", "result")]
    for asked in found.asked:
        times = f" (wavers, asked {asked.attempts} times)" if asked.wavers else ""
        rows.append(
            (asked.candidate, f"{asked.judged}{times}", printable.line(asked.reason, REASON))
        )
    lines = [*plain_table(rows), ""]
    if found.others:
        lines.append(f"changed with it: {', '.join(found.others)}")
    if found.alone is False:
        lines.append("that package alone does not change the result: those before it take part")
    return "\n".join([*lines, found.conclusion])


def _check_package(spec: BackendSpec, package: str) -> None:
    pinned = locks.pins(spec.lock.read_text(encoding="utf-8"))
    if locks.name_of(package) not in pinned:
        raise HarnessError(
            f"expected --package to be one that {spec.name} pins, found {package!r}."
            f"{did_you_mean(package, pinned)} Fix: {checkout.shown_path(spec.lock)} has them all"
        )


def _tell(line: str) -> None:
    show(printable.line(line, REASON + 60), file=sys.stderr)
