"""Table fault x check: which check of the harness catches which planted fault, as observed.

    python -m tests.fault_table                          print it, with the figures
    python -m tests.fault_table --write                  write it into docs/method.md
    python -m tests.fault_table --models vit --faults nan,leaks

Every fault of `tests/fakes/vendor` is run on five models as a session runs a cell: in a process of
its own, through all stages. What is printed is what came of it, not what ought to. The exit status
is 1 where a fault is not caught or not named, or a harmless backend does not pass.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.catalog import backends, model_lists
from harness.cell.request import Job
from harness.contract import BASE, Cell, CellResult, Entry, Outcome
from harness.session.notes import notes
from harness.session.preloading import preloaded_modules
from harness.toolkit.marked_text import write_between
from harness.workers.cell_result import RUN_CELL, result_of
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

if TYPE_CHECKING:
    from fakes.vendor.faults import Fault

ROOT = Path(__file__).resolve().parent.parent
FAKES = ROOT / "tests" / "fakes"
DOCUMENT = ROOT / "docs" / "method.md"
BEGIN = "<!-- faults: `python -m tests.fault_table --write` -->"
END = "<!-- end of faults -->"

#: The models that each fault is planted in, as far as the model has what the fault is about.
MODELS = ("bert", "gpt2", "t5", "vit", "whisper")

#: Limits of one cell.
LIMITS = Limits(seconds=60.0, memory_mb=4096)

#: The words in a reason that name the check.
SAID = (
    "nondeterminism",
    "threads",
    "relative error",
    "not finite",
    "expected shape",
    "outputs: expected",
    "result unreadable",
    "still at run",
)


@dataclass(frozen=True, slots=True)
class Observation:
    """The result of one planted fault on one model."""

    name: str
    fault: Fault
    model: str
    result: CellResult

    @property
    def text(self) -> str:
        """The reason or the notes of the cell that a user reads, in a line."""
        result = self.result
        if result.outcome is Outcome.PASS:
            return "; ".join(notes(result)) or "pass"
        return f"{result.outcome} at {result.stage}: {result.reason}"

    @property
    def is_caught(self) -> bool:
        """Whether a user is told of anything."""
        return self.text != "pass"

    @property
    def is_named(self) -> bool:
        """Whether a user is told of the fault, and not of another."""
        return re.search(self.fault.named, self.text, re.DOTALL) is not None

    @property
    def is_right(self) -> bool:
        """Whether the fault is caught and named, or the harmless backend passes."""
        return self.is_named and self.is_caught is not self.fault.harmless

    @property
    def _warned(self) -> str:
        kinds = {"nondeterministic": "nondeterministic", "other threads": "threads"}
        return next((kind for words, kind in kinds.items() if words in self.text), "leaks")

    @property
    def seen(self) -> str:
        """The input and the check that speak in the reason, without the numbers of this cell."""
        if self.result.outcome is Outcome.PASS:
            if self.is_caught:
                return f"a warning: {self._warned}"
            return "nothing to see" if self.fault.harmless else "**no check sees it yet**"
        reason = self.result.reason
        where = re.match(r"on input '([^']+)': ", reason)
        said = reason[where.end() :] if where else reason
        contract = re.match(r"contract: [^:]+", said)
        words = next((words for words in SAID if words in said), re.split(r" ?[:(]", said)[0])
        way = re.match(r"generate, [^:]+", said)
        kind = contract[0] if contract else way[0] if way else words
        return f"{kind}, on input `{where[1]}`" if where else kind


def observe(models: Sequence[str], only: Collection[str] = ()) -> list[Observation]:
    """Run faults on models: about a second each.

    Args:
        models: entries of the model lists.
        only: names of faults; all, where it is empty.
    """
    sys.path.insert(0, str(FAKES.parent))
    from fakes.vendor.faults import FAULTS

    spec = backends.find("vendor", FAKES)
    entries = model_lists.load().entries
    planted = {
        f"{name} on {model}": (name, fault, model)
        for name, fault in FAULTS.items()
        for model in models
        if (not only or name in only) and _applies(fault, entries[model])
    }
    jobs = {
        label: Job(Cell(entries[model], spec.name, name, _head(fault, entries[model])), 0, "tiny",
                   FAKES)
        for label, (name, fault, model) in planted.items()
    }  # fmt: skip
    settings = WorkerSettings(
        limits=LIMITS,
        start_method=spec.start_method,
        preload=preloaded_modules(spec, ("default",), [entries[model] for model in models]),
    )
    tasks = [Task(RUN_CELL, jobs[label], label, planted[label][1].patience) for label in planted]
    results: dict[str, CellResult] = {}

    def keep(task: Task, ending: Ending) -> None:
        results[task.label] = result_of(jobs[task.label], ending)

    with Pool(keep, settings) as pool:
        for future in pool.start(tasks):
            future.result()
    return [Observation(*planted[label], results[label]) for label in planted]


def _applies(fault: Fault, entry: Entry) -> bool:
    """Whether a model has what the fault is about."""
    from harness.models.case import TinyCase

    head = _head(fault, entry)
    if fault.where.name == "WRITTEN":
        return head != BASE and TinyCase(entry, head=head).pipeline() is not None
    if fault.where.name == "GENERATED":
        return head != BASE
    return not fault.needs or fault.needs in TinyCase(entry).inputs()


def _head(fault: Fault, entry: Entry) -> str:
    """The head that generates, for a fault of generation; else none."""
    from harness.models.case import TinyCase

    if fault.where.name not in ("GENERATED", "WRITTEN"):
        return BASE
    heads = (head for head in entry.heads if TinyCase(entry, head=head).generation is not None)
    return next(heads, BASE)


def table(observed: Sequence[Observation]) -> str:
    """The observations as a Markdown table, one row a fault."""
    lines = [
        "| fault | the backend ... | outcome | stage | seen as | caught and named |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in dict.fromkeys(o.name for o in observed):
        rows = [o for o in observed if o.name == name]
        outcomes, stages, seen = (
            ", ".join(dict.fromkeys(words))
            for words in (
                [str(o.result.outcome) for o in rows],
                ["" if o.result.outcome is Outcome.PASS else str(o.result.stage) for o in rows],
                [o.seen for o in rows],
            )
        )
        right = f"{sum(o.is_right for o in rows)} of {len(rows)}"
        lines.append(
            f"| {name} | {rows[0].fault.about} | {outcomes} | {stages} | {seen} | "
            f"{'passes: ' if rows[0].fault.harmless else ''}{right} |"
        )
    return "\n".join(lines)


def figures(observed: Sequence[Observation]) -> str:
    """How many of the planted faults were caught and named, on each model."""
    lines = [
        "| model | planted | caught | named | harmless | of these passed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    models = list(dict.fromkeys(o.model for o in observed))
    for model in (*models, "all"):
        rows = [o for o in observed if model in (o.model, "all")]
        faults = [o for o in rows if not o.fault.harmless]
        harmless = [o for o in rows if o.fault.harmless]
        lines.append(
            f"| {model} | {len(faults)} | {sum(o.is_caught for o in faults)} | "
            f"{sum(o.is_right for o in faults)} | {len(harmless)} | "
            f"{sum(o.is_right for o in harmless)} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the table, or write it between the marks of docs/method.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--faults", default="")
    chosen = parser.parse_args()
    observed = observe(chosen.models.split(","), [*filter(None, chosen.faults.split(","))])
    made = f"{figures(observed)}\n\n{table(observed)}"
    if chosen.write:
        write_between(DOCUMENT, BEGIN, END, made)
    else:
        print(made)
    wrong = [o for o in observed if not o.is_right]
    for o in wrong:
        print(f"{o.name} on {o.model}: expected {o.fault.named!r}, found: {o.text:.300}",
              file=sys.stderr)  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
