"""Share of the installed transformers' model types that rules alone build, run and find sane.

    .nox/torch-cpu/bin/python -m benchmarks.generality            # two minutes on 2 cores
    .nox/torch-cpu/bin/python -m benchmarks.generality --quick    # every 16th type
    .nox/torch-cpu/bin/python -m benchmarks.generality bert t5    # only these

Takes every type of `MODEL_MAPPING_NAMES`, in whatever version of transformers there is, without
looking at `model_lists/`: builds it small from its config's defaults, makes inputs, computes the
float64 reference and runs the controls on it (finite, not constant, of order 1, other inputs give
other outputs), each in a process of its own. Run it in a scratch environment with a version that
nobody tuned for, and it says how much of the claim rests on rules and how much on rows.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from harness.catalog import backend_spec, exemptions
from harness.cell import reference
from harness.cell.request import Job
from harness.checks import sanity
from harness.contract import Absent, Cell, CellResult, CheckFailed, Entry, Outcome, Stage
from harness.toolkit import fingerprints
from harness.workers.cell_result import result_of
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings, cores
from harness.workers.task import Task

#: Of all types whose packages are there, the share that must build, run and be sane.
CLAIM = 0.93

#: A quick run takes one type of so many.
QUICK_STEP = 16

#: The stage at which a type may fail, and that failure in words.
STAGES: Mapping[Stage, str] = {
    Stage.BUILD: "does not build",
    Stage.INPUTS: "no inputs",
    Stage.REFERENCE: "does not run",
    Stage.VERIFY: "not sane",
}


def check(job: Job, report: Callable[[Stage], None]) -> CellResult:
    """Builds one type, runs it, and holds its outputs against the controls; runs in a child."""
    entry = job.cell.entry
    result = CellResult(
        entry=entry.name,
        family=entry.family,
        architecture=entry.architecture,
        head=job.cell.head,
        precision=job.cell.precision,
        stage=Stage.BUILD,
        outcome=Outcome.PASS,
    )

    def enter(stage: Stage) -> None:
        report(stage)
        result.stage = stage

    try:
        _check(job, enter, result)
    except Exception as error:
        result.outcome = Outcome.ABSENT if _package_missing(error) else Outcome.FAIL
        lines = str(error).strip().splitlines() or [""]
        ours = isinstance(error, Absent | CheckFailed)
        result.reason = lines[0] if ours else f"{type(error).__name__}: {lines[0]}"
        result.cause = fingerprints.of(error)
    return result


def _package_missing(error: BaseException) -> bool:
    """Whether a type failed because of a package of its own, which this environment lacks."""
    if isinstance(error, Absent):
        return isinstance(error.__cause__, ImportError)
    return isinstance(error, ImportError) and " requires the " in str(error)


def _check(job: Job, enter: Callable[[Stage], None], result: CellResult) -> None:
    from harness.models.case import TinyCase

    case = TinyCase(job.cell.entry, job.seed, job.size)
    result.parameters = case.parameters()
    enter(Stage.INPUTS)
    base, other = case.inputs("base"), case.inputs("other")
    enter(Stage.REFERENCE)
    want, dtype = reference.first_reference(case, base)
    enter(Stage.VERIFY)
    sanity.sane(want, exemptions.exempt_outputs(job.cell.entry.architecture))
    sanity.sensitive(want, case.reference(other, dtype))


def measure(types: Sequence[str], workers: int, seconds: float) -> list[CellResult]:
    """The result of each type, in the order given."""
    jobs = {
        name: Job(Cell(Entry(name, "", name), "generality"), 0, "tiny", backend_spec.BACKENDS)
        for name in types
    }

    def finish(task: Task, ending: Ending) -> CellResult:
        done.append(task.label)
        if sys.stderr.isatty():
            print(f"\r{len(done)} of {len(jobs)}", end="", file=sys.stderr)
        return result_of(jobs[task.label], ending)

    done: list[str] = []
    preload = [f"harness.models.preload:transformers/{name}" for name in types]
    settings = WorkerSettings(
        workers=workers,
        limits=Limits(seconds),
        preload=("torch", "transformers", "harness.models.preload", *preload),
    )
    with Pool(finish, settings) as pool:
        tasks = [Task("benchmarks.generality:check", job, name) for name, job in jobs.items()]
        results = [future.result() for future in pool.start(tasks)]
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return results


def show(results: Sequence[CellResult]) -> float:
    """Prints the numbers and every failure by cause; returns the share that is sane."""
    absent = [r for r in results if r.outcome is Outcome.ABSENT]
    failed = [r for r in results if r.outcome not in (Outcome.PASS, Outcome.ABSENT)]
    by_cause: dict[str, list[CellResult]] = {}
    for result in failed:
        by_cause.setdefault(result.cause, []).append(result)
    for alike in sorted(by_cause.values(), key=lambda r: (-len(r), r[0].entry)):
        stage = STAGES.get(alike[0].stage, str(alike[0].stage))
        print(f"{stage}: {', '.join(r.entry for r in alike)}\n    {alike[0].reason}")
    for result in absent:
        print(f"absent: {result.entry}\n    {result.reason}")
    here = len(results) - len(absent)
    at = Counter(r.stage for r in failed)
    built = here - at[Stage.BUILD]
    ran = built - at[Stage.INPUTS] - at[Stage.REFERENCE]
    sane = ran - at[Stage.VERIFY]
    print(f"{len(results)} model types, {len(absent)} of them absent: a package is missing")
    for label, count in (("built", built), ("ran", ran), ("sane", sane)):
        print(
            f"{label:6}{count:5}   {count / max(here, 1):6.1%} of the {here} that are not absent"
            f"   {count / max(len(results), 1):6.1%} of all"
        )
    return sane / max(here, 1)


def main() -> int:
    """Measures and prints; 1 where the claim does not hold here, 2 for an unknown type."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.generality",
        description=__doc__.splitlines()[0] if __doc__ else "",
    )
    parser.add_argument("types", nargs="*", metavar="TYPE", help="only these; all if none is named")
    parser.add_argument("--quick", action="store_true", help=f"every {QUICK_STEP}th type")
    parser.add_argument("-n", "--workers", type=int, default=cores())
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one type")
    args = parser.parse_args()
    import torch
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    unknown = [name for name in args.types if name not in MODEL_MAPPING_NAMES]
    if unknown:
        print(
            f"expected model types of transformers {transformers.__version__}, found "
            f"{', '.join(unknown)}. Fix: `python -m harness list` shows how they are spelled",
            file=sys.stderr,
        )
        return 2
    step = QUICK_STEP if args.quick else 1
    types = args.types or sorted(MODEL_MAPPING_NAMES)[::step]
    results = measure(types, args.workers, args.timeout)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}")
    share = show(results)
    judged = not (args.types or args.quick)
    if judged:
        print(f"{'claim holds' if share >= CLAIM else 'NOT MET'}: at least {CLAIM:.0%} sane")
    return 1 if judged and share < CLAIM else 0


if __name__ == "__main__":
    sys.exit(main())
