"""`python -m harness localise`: the first submodule or operator at which a cell goes wrong.

Runs in the backend's environment. Parts of the model are prepared and run on the backend in child
processes; nothing is stored.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from harness.catalog import backends
from harness.catalog.cells import cell_of
from harness.cell.request import Job
from harness.commands.backends_option import add_backends_dir, backends_dir
from harness.commands.lists_option import add_lists, catalog_of
from harness.report import culprits
from harness.session.options import add_passed_on, passed_on
from harness.toolkit.printable import show, show_json
from harness.workers import fork_server
from harness.workers.localisation import localise
from harness.workers.task_endings import settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness localise`."""
    parser.description = "Names the first submodule that diverges, and its smallest failing part."
    parser.add_argument("model", metavar="ENTRY[:HEAD]", help="as in bert or bert:fill-mask")
    parser.add_argument("--backend", required=True, help="whose environment this is")
    parser.add_argument("--precision", default="default", help="how the backend shall compute")
    parser.add_argument("--input", default="", metavar="NAME", help="only this input of the cell")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one cell")
    parser.add_argument("--json", action="store_true", help="as JSON")
    add_passed_on(parser)
    add_lists(parser)
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the culprit; the exit status is 1 where no part was found.

    Raises:
        HarnessError: the entry, the head, the backend, the precision or the input is not there.
    """
    spec = backends.find(args.backend, backends_dir(args))
    cell = cell_of(args.model, spec.name, args.precision, catalog_of(args))
    job = Job(cell, args.seed, "tiny", spec.folder.parent, options=passed_on(args))
    settings = settings_of(spec, args.timeout, workers=1)
    try:
        (culprit,) = localise([job], settings, chosen=args.input)
    finally:
        fork_server.end_session()
    if args.json:
        show_json({"cell": cell.id, **asdict(culprit)})
    else:
        show("\n".join([cell.id, *culprits.lines(culprit)]))
    return 0 if culprit.found else 1
