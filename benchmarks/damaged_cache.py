"""Share of the generating heads whose generate check fails once the key-value cache is damaged.

    .nox/torch-cpu/bin/python -m benchmarks.damaged_cache            # ten minutes on 2 cores
    .nox/torch-cpu/bin/python -m benchmarks.damaged_cache --quick    # six models
    .nox/torch-cpu/bin/python -m benchmarks.damaged_cache gpt2 t5    # as --models takes them

Each head generates on the CPU in float32 as it is, which must pass, and once for each damage of
`harness.models.damaged_cache`, which must fail. Beside it stands what the tokens alone would show.
A damage that finds nothing to touch is left out: a model without keys has none to shift.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.catalog import heads, model_lists
from harness.catalog.backend_spec import BACKENDS
from harness.cell import reference
from harness.cell.generating import GenerationJudge
from harness.cell.progress import CellProgress, Report
from harness.cell.request import Job
from harness.checks import generation, negative_control
from harness.checks.variant import Variants
from harness.contract import (
    BASE,
    GENERATED_TOKENS,
    Absent,
    Arrays,
    Cell,
    CellResult,
    CheckFailed,
    Generated,
    GenerationRequest,
    Inconclusive,
    Outcome,
    Precision,
    Stage,
)
from harness.models.case import TinyCase
from harness.models.damaged_cache import DAMAGES
from harness.toolkit import checkout, numerics
from harness.workers.cell_result import result_of
from harness.workers.ending import Ending
from harness.workers.limits import Limits
from harness.workers.pool import Pool
from harness.workers.settings import WorkerSettings, cores
from harness.workers.task import Task

#: Of the heads that pass undamaged, the share that must fail with each damage.
CLAIM = 0.99

#: The models of a quick run: tied and untied, with an encoder, recurrent, mixed.
QUICK = "gpt2,bloom,llama,t5,mamba,jamba"

#: In metrics: the damaged cache was seen (1) or not (0), by logits and by tokens alone.
SEEN, BY_TOKENS = "seen", "seen by tokens"

FLOAT32 = Precision("default", "float32")


def check(job: Job, report: Report) -> CellResult:
    """Generates with each damage, and notes which of them the check sees; runs in a child."""
    entry = job.cell.entry
    result = CellResult(
        entry=entry.name,
        family=entry.family,
        architecture=entry.architecture,
        head=job.cell.head,
        precision=job.cell.precision,
        stage=Stage.GENERATE,
        outcome=Outcome.PASS,
    )
    try:
        case = TinyCase(entry, job.seed, job.size, job.cell.head)
        if case.generation is None:
            raise Absent("does not generate")
        _check(case, result, CellProgress(result, report))
    except Absent as error:
        result.outcome, result.reason = Outcome.ABSENT, str(error)
    except Inconclusive as error:
        result.outcome, result.reason = Outcome.INCONCLUSIVE, str(error)
    except Exception as error:
        result.outcome, result.reason = Outcome.FAIL, f"{type(error).__name__}: {error}"
    return result


def _check(case: TinyCase, result: CellResult, progress: CellProgress) -> None:
    assert case.generation is not None
    base = case.inputs("base")
    known = _known(case, base)
    given = generation.prompt(base, case.generation.argument)
    request = GenerationRequest(given, GENERATED_TOKENS)
    right = case.with_damaged_cache(request, None)
    assert right is not None
    judge = GenerationJudge(case, case.generation, known, progress)
    judge.plain(given, right)
    for damage in DAMAGES:
        made = case.with_damaged_cache(request, damage)
        if made is None:
            continue
        for metric, judged in ((SEEN, made), (BY_TOKENS, Generated(made.sequences))):
            try:
                judge.plain(given, judged)
                seen = 0
            except (CheckFailed, Inconclusive):
                seen = 1
            progress.metric(f"{metric}/{damage}", seen, "1")


def _known(case: TinyCase, base: Arrays) -> reference.Reference:
    """A reference that knows the noise floor of the plain example, and nothing else."""
    want, dtype = reference.first_reference(case, base)
    noisy = reference.noisy_inference(case, dtype, FLOAT32)
    noise = numerics.difference(noisy(base), want)
    return reference.Reference(
        dtype,
        FLOAT32,
        noisy,
        lambda inputs: case.jittered(inputs, FLOAT32.dtype),
        lambda inputs: case.reference(inputs, dtype),
        {"base": base},
        {"base": want},
        {},
        reference.noise_floor(noise, FLOAT32),
        noise.mismatched,
        negative_control.WrongReference({}, "", 0.0, 0.0),
        Variants(),
    )


def measure(jobs: Mapping[str, Job], workers: int, seconds: float) -> list[CellResult]:
    """The result of each head, in the order given."""
    done: list[str] = []

    def finish(task: Task, ending: Ending) -> CellResult:
        done.append(task.label)
        if sys.stderr.isatty():
            print(f"\r{len(done)} of {len(jobs)}", end="", file=sys.stderr)
        return result_of(jobs[task.label], ending)

    settings = WorkerSettings(
        workers=workers,
        limits=Limits(seconds),
        preload=("torch", "transformers", "harness.models.preload"),
    )
    with Pool(finish, settings) as pool:
        tasks = [Task("benchmarks.damaged_cache:check", job, name) for name, job in jobs.items()]
        results = [future.result() for future in pool.start(tasks)]
    if sys.stderr.isatty():
        print("\r", end="", file=sys.stderr)
    return results


def show(results: Sequence[CellResult]) -> float:
    """Prints shares by damage, and every head that the check fails; returns the least share."""
    passed = [r for r in results if r.outcome is Outcome.PASS]
    for result in results:
        if result.outcome not in (Outcome.PASS, Outcome.ABSENT):
            print(f"left out: {result.entry}:{result.head} {result.outcome}: {result.reason}")
    print(f"{len(passed)} generating heads pass undamaged; of those that a damage touches, seen:")
    by_metric: dict[str, dict[str, float]] = defaultdict(dict)
    for result in passed:
        for metric in result.metrics:
            by_metric[metric.name][f"{result.entry}:{result.head}"] = metric.value
    least = 1.0
    for damage in DAMAGES:
        seen, tokens = by_metric[f"{SEEN}/{damage}"], by_metric[f"{BY_TOKENS}/{damage}"]
        missed = [name for name, value in seen.items() if not value]
        share = 1 - len(missed) / max(len(seen), 1)
        least = min(least, share)
        print(
            f"{damage:16} {len(seen) - len(missed):4} of {len(seen):4}  {share:6.1%}"
            f"   by tokens alone {sum(tokens.values()) / max(len(tokens), 1):6.1%}"
        )
        if missed:
            print(f"    not seen: {', '.join(missed)}")
    return least


def main() -> int:
    """Measures and prints; 1 where the claim does not hold here."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.damaged_cache",
        description=__doc__.splitlines()[0] if __doc__ else "",
    )
    parser.add_argument("models", nargs="*", help="as --models takes them; all if none is named")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", "--workers", type=int, default=cores())
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one head")
    args = parser.parse_args()
    lists = model_lists.load(checkout.ROOT)
    chosen = QUICK if args.quick else ",".join(args.models)
    entries = lists.select(chosen) if chosen else list(lists.entries.values())
    jobs = {
        f"{entry.name}:{head}": Job(
            Cell(entry, "torch-cpu", head=head), args.seed, "tiny", BACKENDS
        )
        for entry in entries
        for head in entry.heads
        if head != BASE and heads.known_heads()[head].generates
    }
    return int(show(measure(jobs, args.workers, args.timeout)) < CLAIM)


if __name__ == "__main__":
    sys.exit(main())
