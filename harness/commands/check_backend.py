"""`python -m harness check-backend`: what of the contract holds of a backend, point by point.

Runs in the backend's environment, a process for each point and case; nothing is stored.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.catalog import backends
from harness.catalog.cells import cell_of
from harness.catalog.selection import Catalog
from harness.cell.conformance.finding import PointState
from harness.cell.request import Job
from harness.commands.backends_option import add_backends_dir, backends_dir
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import Cell, HarnessError, Unavailable
from harness.session.options import add_passed_on, passed_on
from harness.session.preloading import preloaded_modules
from harness.toolkit import printable
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.printable import show, show_json
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import Key
from harness.workers import fork_server
from harness.workers.conformance import PROMISES, CaseFinding, conformance
from harness.workers.task_endings import settings_of

TABLE = Path(__file__).with_suffix(".toml")

#: The point that is checked in any case: it says where the device is missing.
FIRST = "probe"

#: The answer of a row, by state.
ANSWERS: Mapping[PointState, str] = {
    PointState.HOLDS: "yes",
    PointState.BROKEN: "NO",
    PointState.UNCHECKED: "-",
}


@dataclass(frozen=True, slots=True)
class PointRow:
    """One point of the contract: broken where one case shows it broken, held where one holds."""

    point: str
    findings: Sequence[CaseFinding]

    @property
    def state(self) -> PointState:
        """The worst of what the cases show; unchecked only where no case could be checked."""
        states = {each.finding.state for each in self.findings}
        return next(
            s for s in (PointState.BROKEN, PointState.HOLDS, PointState.UNCHECKED) if s in states
        )

    @property
    def text(self) -> str:
        """The first finding of that state, and how many cases share the state."""
        alike = [each for each in self.findings if each.finding.state is self.state]
        first = alike[0]
        where = ""
        if len(self.findings) > 1 and self.state is PointState.BROKEN:
            where = f"{first.cell.partition('[')[0]}: "
        count = f" ({len(alike)} of {len(self.findings)} cases)" if len(self.findings) > 1 else ""
        return f"{where}{first.finding.text}{count}"


def models() -> list[str]:
    """The models of `check_backend.toml`, as a command line names them."""
    source = TomlFile(TABLE)
    source.check_tables(
        {
            "head": Key("The head of the model.", required=True),
            "reason": Key("The reason for this model.", required=True),
        }
    )
    return [f"{name}:{table['head']}" for name, table in source.tables.items()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness check-backend`."""
    parser.description = (
        "Drives a backend with small and with hostile cases, and says of each promise of "
        "harness/contract.py whether the backend keeps it."
    )
    parser.add_argument("name", metavar="NAME", help="of the backend, whose environment this is")
    parser.add_argument(
        "--models", default="", metavar="ENTRY[:HEAD],...", help="other cases than the usual ones"
    )
    parser.add_argument("--precision", default="default", help="how the backend shall compute")
    parser.add_argument("--points", default="", metavar="POINT,...", help="only these")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one point")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a point")
    add_passed_on(parser)
    add_lists(parser)
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints a row for each point; the exit status is 1 where one is broken.

    Raises:
        HarnessError: the backend, its device, its packages, an entry, a precision or a point is
            not there.
    """
    spec = backends.find(args.name, backends_dir(args))
    points = chosen_points(args.points)
    cells = cells_of(args, catalog_of(args), spec.name)
    options = passed_on(args)
    folder = spec.folder.parent
    jobs = [Job(cell, args.seed, "tiny", folder, options=options) for cell in cells]
    preload = preloaded_modules(spec, [args.precision], [cell.entry for cell in cells])
    settings = replace(settings_of(spec, args.timeout), preload=preload)
    rows = []
    width = max(map(len, points))
    try:
        if not args.json:
            labels = ", ".join(cell.label for cell in cells)
            show(f"{spec.name}, precision {args.precision}, on {labels}\n")
        for found in conformance(jobs, settings, points):
            row = PointRow(found[0].point, found)
            rows.append(row)
            if not args.json:
                text = printable.line(row.text, 2 * printable.LINE)
                show(f"{row.point:<{width}}  {ANSWERS[row.state]:<3}  {text}")
    except Unavailable as error:
        raise HarnessError(f"expected the device of {spec.name}: {error}") from error
    finally:
        fork_server.end_session()
    if args.json:
        show_json([_as_json(row) for row in rows])
    else:
        show(f"\n{totals(rows)}")
    return int(any(row.state is PointState.BROKEN for row in rows))


def chosen_points(text: str) -> list[str]:
    """The points that a command line names, after `probe`; all where it names none.

    Raises:
        HarnessError: there is no such point.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PROMISES:
            raise HarnessError(
                f"expected --points of {', '.join(PROMISES)}; found {name!r}."
                f"{did_you_mean(name, PROMISES)} Fix: name one of these"
            )
    return [FIRST, *(name for name in names if name != FIRST)] if names else list(PROMISES)


def cells_of(args: argparse.Namespace, catalog: Catalog, backend: str) -> list[Cell]:
    """The cells that the points are checked on.

    Raises:
        HarnessError: the lists have no such entry, or the entry no such head.
    """
    named = [each.strip() for each in args.models.split(",") if each.strip()] or models()
    return [cell_of(model, backend, args.precision, catalog) for model in named]


def totals(rows: Sequence[PointRow]) -> str:
    """The last line: how many points hold, are broken, and could not be checked."""
    count = {state: sum(row.state is state for row in rows) for state in PointState}
    return (
        f"{count[PointState.HOLDS]} of {len(rows)} points hold, {count[PointState.BROKEN]} broken, "
        f"{count[PointState.UNCHECKED]} not checked"
    )


def _as_json(row: PointRow) -> dict[str, object]:
    return {
        "point": row.point,
        "promise": PROMISES[row.point],
        "state": str(row.state),
        "cases": [
            {"cell": each.cell, "state": str(each.finding.state), "text": each.finding.text}
            for each in row.findings
        ],
    }
