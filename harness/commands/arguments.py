"""`python -m harness arguments`: the arguments of `forward` that no input of a cell has.

Runs in an environment that has the real libraries; each model is built in a process of its own.
"""

from __future__ import annotations

import argparse
import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping

from harness.catalog import backends
from harness.cell.request import Job
from harness.commands.backends_option import add_backends_dir, backends_dir
from harness.commands.lists_option import add_lists, catalog_of
from harness.contract import (
    HIDDEN,
    MASKED_MEDIA,
    PROCESSED,
    SHORT,
    WHOLE,
    WITH_VIDEO,
    Cell,
    HarnessError,
    Stage,
)
from harness.inputs import ungiven
from harness.toolkit.printable import show
from harness.toolkit.text_table import plain_table
from harness.workers.task_endings import task_endings

#: The variants of a case's inputs that may have arguments which the plain ones lack.
VARIANTS = (
    PROCESSED,
    WITH_VIDEO,
    *(kind + medium for kind in (WHOLE, SHORT, HIDDEN) for medium in MASKED_MEDIA),
)

#: How many models of a row are named.
NAMED = 4


def arguments_of(job: Job, report: Callable[[Stage], None]) -> list[tuple[str, bool]]:
    """Arguments that no variant gives, each with whether a processor sends it; runs in a child."""
    from harness.models import processor_keys
    from harness.models.case import TinyCase

    case = TinyCase(job.cell.entry, job.seed, job.size, job.cell.head)
    taken = inspect.signature(case.module().forward).parameters.values()
    report(Stage.INPUTS)
    outputs = case.reference(case.inputs(), "float32")
    given = {*case.inputs(), *case.options(), *(each.name for each in case.ungiven(outputs))}
    for variant in VARIANTS:
        try:
            given |= case.inputs(variant).keys()
        except Exception:  # whatever the library says to inputs that it does not take
            continue
    sent = processor_keys.sent(job.cell.entry.architecture)
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [(p.name, p.name in sent) for p in taken if p.kind not in kinds and p.name not in given]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m harness arguments`."""
    parser.description = "Lists the arguments of forward that no input of a cell has."
    parser.add_argument(
        "models", nargs="?", default="", help="LIST, FAMILY or NAME, ...: only these"
    )
    parser.add_argument("--backend", default="torch-cpu", help="whose environment this is")
    parser.add_argument("--sent", action="store_true", help="only those that processors send")
    parser.add_argument("--all", action="store_true", help="those with a known reason too")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one entry")
    add_lists(parser)
    add_backends_dir(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the arguments, those that most entries lack first.

    Raises:
        HarnessError: nothing builds here.
    """
    spec = backends.find(args.backend, backends_dir(args))
    lists = catalog_of(args)
    chosen = lists.select(args.models) if args.models else list(lists.entries.values())
    cells = [Cell(e, spec.name, head=head) for e in chosen for head in e.built]
    jobs = {cell.label: Job(cell, 0, "tiny", spec.folder.parent) for cell in cells}
    lacking: dict[str, list[str]] = defaultdict(list)
    senders: dict[str, int] = defaultdict(int)
    problems: list[str] = []
    target = f"{__name__}:{arguments_of.__name__}"
    for label, ending in task_endings(spec, target, jobs, args.timeout).items():
        if not isinstance(ending.value, list):
            problems.append(f"{label}: {ending.reason}")
            continue
        architecture = jobs[label].cell.entry.architecture
        for name, sent in ending.value:
            senders[name] += sent
            if (sent or not args.sent) and (args.all or not ungiven.reason(architecture, name)):
                lacking[name].append(label)
    if len(problems) == len(jobs):
        raise HarnessError(
            f"expected a model that builds, found none ({min(problems)}). Fix: run this in the "
            f"environment of {spec.install}"
        )
    for line in table(lacking, senders):
        show(line)
    built = len(jobs) - len(problems)
    show(f"{built} of {len(jobs)} models built here; `--all` shows arguments with a reason too")
    return 0


def table(lacking: Mapping[str, list[str]], senders: Mapping[str, int]) -> list[str]:
    """The lines of a table of arguments.

    Args:
        lacking: argument -> the entries that take it and have no input with it.
        senders: argument -> how many entries' processors send it.
    """
    order = sorted(lacking.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        [name, str(len(entries)), str(senders.get(name, 0)), _some(entries)]
        for name, entries in order
    ]
    return plain_table([["argument", "models", "sent by processors of", "such as"], *rows])


def _some(entries: list[str]) -> str:
    more = f" and {len(entries) - NAMED} more" if len(entries) > NAMED else ""
    return ", ".join(sorted(entries)[:NAMED]) + more
