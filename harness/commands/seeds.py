"""`python -m harness seeds`: examples on which no choice that the model makes is nearly a tie.

A mixture of experts sends each token to the experts with the highest scores, a detector keeps the
best of its queries. Where two scores differ by less than a rounding, two right computations choose
differently, and their outputs have nothing in common. Which example is far from ties is found by
trying, and kept in `harness/models/example_seeds.toml`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.catalog import backends, model_lists
from harness.cell.request import Job
from harness.contract import Arrays, Cell, HarnessError, Stage, Unsupported
from harness.toolkit import numerics, padded_inputs
from harness.toolkit.atomic_write import write_atomically
from harness.workers.ending import Ending
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings
from harness.workers.task import Task

if TYPE_CHECKING:
    from harness.models.case import TinyCase
from harness.models.example_seeds import TABLE, table
from harness.toolkit.printable import show

#: Roundings of every weight that must leave the choices as they are: an accelerator rounds more
#: often than eager execution, and approximates activations.
ROUNDINGS = 4.0

DTYPE = "float16"

#: Least ratio of errors that shows a flipped choice, and so justifies another seed than 0.
FLIPPED = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m harness seeds`."""
    parser.add_argument("models", help="LIST, FAMILY or NAME, ...")
    parser.add_argument("--backend", help="whose environment this is", default="torch-cpu")
    parser.add_argument("--tries", type=int, default=24, help="seeds that are tried")


def main(args: argparse.Namespace) -> int:
    """Write the best seed of each architecture; the others keep theirs.

    Raises:
        HarnessError: no model builds here, so that nothing is written.
    """
    spec = backends.find(args.backend)
    chosen = {e.architecture: e for e in model_lists.load().select(args.models)}
    options = {"tries": str(args.tries)}
    jobs = {
        name: Job(Cell(entry, spec.name), 0, "tiny", spec.folder.parent, options=options)
        for name, entry in chosen.items()
    }
    found, problems = table(), []

    def keep(task: Task, ending: Ending) -> None:
        if not isinstance(ending.value, list):
            problems.append(f"{task.label}: at {ending.stage}: {ending.reason}")
            return
        seed, plain, best = ending.value
        found[task.label] = seed
        show(f"{task.label}: error {plain:.2g} with seed 0, {best:.2g} with {seed}")

    settings = WorkerSettings(start_method=spec.start_method, preload=spec.preload)
    with Pool(keep, settings) as pool:
        tasks = [Task(f"{__name__}:best_seed", job, name) for name, job in jobs.items()]
        for future in pool.start(tasks):
            future.result()
    for problem in sorted(problems):
        show(problem)
    if len(problems) == len(jobs):
        raise HarnessError(
            f"expected a model that builds, found none; {TABLE} is as it was. Fix: run this in the "
            f"environment of {spec.install}"
        )
    comment = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    lines = [f"{name} = {seed}" for name, seed in sorted(found.items()) if seed]
    write_atomically(TABLE, "\n".join([*comment, *lines]) + "\n")
    return 0


def best_seed(job: Job, report: Callable[[Stage], None]) -> list[float]:
    """The seed whose examples rounding moves least; runs in a child.

    Returns:
        The seed, the worst relative error with seed 0, and the worst with that seed.
    """
    from harness.models.case import TinyCase

    report(Stage.REFERENCE)
    case = TinyCase(job.cell.entry, job.seed)
    errors: dict[int, float] = {}
    for seed in range(int(job.options["tries"])):
        errors[seed] = _worst(case.with_examples_of(seed), min(errors.values(), default=1e9))
    best = min(errors, key=lambda seed: (errors[seed], seed))
    if errors[best] * FLIPPED > errors[0]:
        best = 0
    return [best, errors[0], errors[best]]


def _worst(case: TinyCase, enough: float) -> float:
    """The worst error that rounding makes on a case's examples; at least `enough`, if above it."""
    worst = 0.0
    for inputs in _examples(case):
        want = case.reference(inputs, "float32")
        noisy = [case.jittered(inputs, DTYPE, ROUNDINGS)]
        with suppress(RuntimeError):  # PyTorch cannot run it in 16 bits; the first says enough
            noisy.append(case.reference(inputs, DTYPE))
        worst = max(worst, *(numerics.difference(each, want).error for each in noisy))
        if worst > enough:
            break
    return worst


def _examples(case: TinyCase) -> list[Arrays]:
    """The inputs that a cell runs: the plain ones, others, padded ones, and another shape."""
    base = case.inputs("base")
    found = [base, case.inputs("other"), *padded_inputs.padded_batches(case, base).values()]
    with suppress(Unsupported):
        found.append(case.inputs("reshaped"))
    return found
