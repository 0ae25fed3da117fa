"""Table fault x check: which check of the harness catches which planted fault, as observed.

    python -m tests.fault_table            print it
    python -m tests.fault_table --write    write it into docs/method.md

Every fault of `tests/fakes/wrong` is run on `bert` as a session runs a cell: in a process of its
own, through all stages. What is printed is what came of it, not what ought to.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.catalog import backends, model_lists
from harness.cell.request import Job
from harness.contract import Cell, CellResult, Outcome
from harness.toolkit.marked_text import write_between
from harness.workers.cell_result import RUN_CELL, result_of
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

ROOT = Path(__file__).resolve().parent.parent
FAKES = ROOT / "tests" / "fakes"
DOCUMENT = ROOT / "docs" / "method.md"
BEGIN = "<!-- faults: `python -m tests.fault_table --write` -->"
END = "<!-- end of faults -->"

#: Seconds and MB of one cell, and the share of the former that is enough for one that hangs.
LIMITS = Limits(seconds=30.0, memory_mb=1024)
HANGS = {"hangs": 0.1}

#: The words in a reason that name the check.
SAID = (
    "nondeterminism",
    "relative error",
    "not finite",
    "expected shape",
    "outputs: expected",
    "placement",
    "result unreadable",
    "still at run",
)


@dataclass(frozen=True, slots=True)
class Observation:
    """The observed outcome of one planted fault."""

    fault: str
    about: str
    result: CellResult

    @property
    def seen(self) -> str:
        """The input and the check that speak in the reason, without the numbers of this cell."""
        if self.result.outcome is Outcome.PASS:
            return "nothing to see" if self.fault == "none" else "**no check sees it yet**"
        reason = self.result.reason
        where = re.match(r"on input '([^']+)': ", reason)
        said = reason[where.end() :] if where else reason
        contract = re.match(r"contract: [^:]+", said)
        words = next((words for words in SAID if words in said), re.split(r" ?[:(]", said)[0])
        kind = contract[0] if contract else words
        return f"{kind}, on input `{where[1]}`" if where else kind


def observe() -> list[Observation]:
    """Run every fault: a few seconds."""
    sys.path.insert(0, str(FAKES.parent))
    from fakes.wrong.backend import FAULTS

    spec = backends.find("wrong", FAKES)
    entry = model_lists.load().entries["bert"]
    results: dict[str, CellResult] = {}
    settings = WorkerSettings(limits=LIMITS, start_method=spec.start_method, preload=spec.preload)
    jobs = {
        name: Job(Cell(entry, spec.name, "default" if name == "none" else name), 0, "tiny", FAKES)
        for name in FAULTS
    }

    tasks = [Task(RUN_CELL, job, name, HANGS.get(name, 1.0)) for name, job in jobs.items()]

    def keep(task: Task, ending: Ending) -> None:
        results[task.label] = result_of(jobs[task.label], ending)

    with Pool(keep, settings) as pool:
        for future in pool.start(tasks):
            future.result()
    return [Observation(name, fault.about, results[name]) for name, fault in FAULTS.items()]


def table(observed: list[Observation]) -> str:
    """The observations as a Markdown table."""
    lines = [
        "| fault | the backend ... | outcome | stage | seen as |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {o.fault} | {o.about} | {o.result.outcome} | "
        f"{o.result.stage if o.result.outcome is not Outcome.PASS else ''} | {o.seen} |"
        for o in observed
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the table, or write it between the marks of docs/method.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    made = table(observe())
    if not parser.parse_args().write:
        print(made)
        return 0
    write_between(DOCUMENT, BEGIN, END, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
