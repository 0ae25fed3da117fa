"""The stages of one cell, in the order of `harness.contract.Stage`; runs in the child process."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.cell import border
from harness.cell.border import CheckedProgram
from harness.cell.generating import GenerationJudge, generate
from harness.cell.judgement import compare, is_wrong, named_alike, verify, with_own_floor
from harness.cell.keeping import kept_references, references_kept
from harness.cell.measuring import Measured, Memory, measure
from harness.cell.progress import CellProgress, Report
from harness.cell.reference import Reference, make_reference
from harness.cell.repeats import Repeats, repeat
from harness.cell.request import DEEP, SEED, TINY, Job
from harness.cell.threads import judge_threads, on_threads
from harness.cell.used_code import used_code
from harness.checks import batch_rows, cache_ways, generation
from harness.checks.known_answers.answer import NAME
from harness.checks.variant import Variants
from harness.contract import (
    EXAMPLES_TRIED,
    FLOAT32_REFERENCE,
    REAL_WEIGHTS,
    Arrays,
    Backend,
    Case,
    CellResult,
    CheckFailed,
    Entry,
    HarnessError,
    Metric,
    Outcome,
    Precision,
    Stage,
    TooLarge,
    Unsupported,
)
from harness.toolkit.cache import Cache
from harness.toolkit.process_memory import GrowthWatch, peak_rss_mb

#: How many examples of a seed are tried at most.
EXAMPLES = 3

#: Outcomes of a reference that does not hold: a tie may be to blame, and the next example has none.
OF_THE_REFERENCE = frozenset({Outcome.INCONCLUSIVE, Outcome.LIBRARY, Outcome.UNTESTED})


@runtime_checkable
class ExampleCase(Protocol):
    """A case with example inputs of any seed."""

    example_seed: int

    def with_examples_of(self, seed: int) -> Case:
        """The same model with example inputs of another seed."""


def run(job: Job, report: Report) -> CellResult:
    """Run one cell to its result; only a fault that kills the process escapes.

    Each stage up to the plain inference needs the one before it. Those after it run whether or not
    one of them fails, and each failure is kept.

    Examples of seed 0 are chosen far from ties (`python -m harness seeds`). Those of another seed
    are taken as they come: where one fails at the reference, before the backend has a part in it,
    the next ones are tried, and one on which the cell passes counts. What fails on each of them
    is told of the first.

    Args:
        job: which cell, and how.
        report: called with a stage before it is entered, and with the failures so far.
    """
    result = _run(job, report)
    if job.seed == SEED or job.size != TINY or job.checkpoints is not None:
        return result
    for failed in range(1, EXAMPLES):
        if not _is_of_examples(result):
            break
        other = _run(replace(job, examples=failed), report)
        if other.outcome is Outcome.PASS:
            other.seconds += result.seconds
            other.metrics.append(Metric(EXAMPLES_TRIED, failed + 1, "1"))
            return other
    return result


def _is_of_examples(result: CellResult) -> bool:
    """Whether another example may be judged otherwise: all that failed is the reference."""
    failed = {result.stage, *(each.stage for each in result.further)}
    return result.outcome in OF_THE_REFERENCE and failed == {Stage.REFERENCE}


def _run(job: Job, report: Report) -> CellResult:
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
    progress = CellProgress(result, report)
    started = time.perf_counter()
    case = None
    with progress.kept():
        built = _built(job, progress)
        case = built.case
        with references_kept(case, progress):
            _stages(built, job, progress)
    result.seconds = time.perf_counter() - started
    with suppress(HarnessError):  # of a backend that is not there
        folder = _spec(job.cell.backend, job.backends_dir).folder
        result.code = used_code(case, folder)
    return result


@cache
def _spec(name: str, backends_dir: Path) -> BackendSpec:
    """The backend's folder; read once in a process that serves many cells."""
    return backends.find(name, backends_dir)


class Built(NamedTuple):
    """The outcome of the stage `build`."""

    backend: Backend
    precision: Precision
    case: Case
    numpy: Mapping[str, Mapping[str, object]]  # its functions, before the backend could patch them


def _built(job: Job, progress: CellProgress) -> Built:
    with progress.stage(Stage.BUILD):
        if job.unfetched:
            raise (TooLarge if job.too_large else HarnessError)(job.unfetched)
        numpy_before = border.numpy_functions()
        spec = _spec(job.cell.backend, job.backends_dir)
        backend = backends.load(spec, job.backend_options)
        precision = cell_precision(backend, job.cell.precision)
        case = cell_case(backend, job)
        progress.result.parameters = case.parameters()
        if job.checkpoints is not None and getattr(backend, "case", None) is None:
            progress.metric(REAL_WEIGHTS, 1, "1")
    return Built(backend, precision, case, numpy_before)


def _stages(built: Built, job: Job, progress: CellProgress) -> None:
    backend, precision, case, numpy_before = built
    result, kept = progress.result, kept_references(case)
    with progress.stage(Stage.INPUTS):
        # Copies: a backend gets the case too, and may write into what the case keeps.
        inputs = {
            variant: {name: border.read_only(a) for name, a in case.inputs(variant).items()}
            for variant in ("base", "other")
        }
        for name, array in inputs["base"].items():
            if inputs["other"][name].shape != array.shape:
                fault = "has another shape in the other example"
                raise CheckFailed(f"inputs: {name} {fault}", fault=f"inputs: one {fault}")
    with progress.stage(Stage.REFERENCE):
        reference = make_reference(
            case,
            inputs,
            precision,
            job,
            progress,
            dynamic=border.flag(backend, "dynamic", otherwise=True),
            any_arguments=border.flag(backend, "any_arguments", otherwise=False),
        )
        result.noise_floor = reference.floor
        if reference.dtype != "float64":
            progress.metric(FLOAT32_REFERENCE, 1, "1")
        release: Callable[[], None] | None = getattr(case, "release", None)
        if release is not None:
            release()
        if kept is not None:
            kept.save()  # the backend may end the process
        _count(reference.further, progress)
    with progress.stage(Stage.PREPARE):
        memory = Memory(GrowthWatch()) if job.measured else None
        began = time.perf_counter()
        prepared = backend.prepare(case, precision)
        progress.metric("load", time.perf_counter() - began, "s")
        program = CheckedProgram(prepared, reference.dtypes, precision)
    with progress.stage(Stage.RUN):
        first = program(reference.inputs["base"])
        if memory is not None:
            memory.after_first_call()
        outputs, seconds = _answers(program, reference.inputs, first, progress)
        repeats = Repeats()
        with progress.kept():
            repeats = repeat(program, reference.inputs["base"], outputs["base"], len(outputs))
        rows = _moved_row(program, reference.inputs)
        threaded: dict[int, Arrays] = {}
        with progress.kept():
            threaded = on_threads(backend, program, reference.inputs["base"])
        if seconds or repeats.seconds:
            progress.metric("inference", statistics.median([*seconds, *repeats.seconds]), "s")
    with progress.stage(Stage.VERIFY):
        with progress.kept():
            border.unpatched(numpy_before)
            verify(program, reference, outputs, repeats, rows, progress)
        with progress.kept():
            judge_threads(threaded, outputs["base"], reference, progress)
        with progress.kept():
            if reference.known is not None and NAME in outputs:
                reference.known.check(outputs[NAME])
    if reference.loop is not None:
        with progress.stage(Stage.GENERATE), progress.kept():
            loop, want = reference.loop, reference.ended
            ended = loop.run(program, loop.base)
            judged = with_own_floor(
                replace(reference, floor=reference.drift),
                ended,
                want,
                lambda noisy: loop.run(noisy, loop.base),
            )
            compare(loop.name, ended, want, judged, result)
    other_ways(backend, case, precision, reference, outputs["base"], job, progress)
    for block in job.recorded_checkpoints:
        with progress.stage(Stage.ROUNDTRIP), progress.kept():
            check = partial(_read_recorded, block, job)
            if kept is None:
                check()
            else:
                kept.passed(check, recorded=block)
    with progress.stage(Stage.MEASURE), progress.kept():
        _measure(backend, progress)
        if memory is not None:
            base = reference.inputs["base"]
            measure(Measured(backend, case, precision, prepared, base, program, memory), progress)
            peaks = (memory.watch.earlier_peak, peak_rss_mb())  # its high-water mark was reset
            result.peak_rss_mb = max((peak for peak in peaks if peak is not None), default=None)


def cell_case(backend: Backend, job: Job) -> Case:
    """The cell's case: the backend's own or the harness's, `narrowed` where the backend does so."""
    make = getattr(backend, "case", None)
    case = _own_case(job) if make is None else make(*_arguments(job))
    case = border.case(case)
    if job.examples and isinstance(case, ExampleCase):
        case = case.with_examples_of(case.example_seed + job.examples)
    narrowed: Callable[[Case], Case] | None = getattr(backend, "narrowed", None)
    return case if narrowed is None else border.case(narrowed(case))


def _arguments(job: Job) -> tuple[Entry, int, str, str]:
    return job.cell.entry, job.seed, job.size, job.cell.head


def _own_case(job: Job) -> Case:
    """The harness's case of a cell.

    Raises:
        TooLarge: a model of a published size or a checkpoint needs more memory than there is.
    """
    from harness.models import room  # imports what builds real models
    from harness.models.case import TinyCase
    from harness.models.kept_references import FOLDER, LOOKS_EVERY

    made = TinyCase(
        *_arguments(job),
        checkpoints=job.checkpoints,
        revision=job.revision,
        trusted=job.trusted,
        cache=Cache.of(job.options).within(FOLDER, LOOKS_EVERY),
        audited=job.audited,
        generates_headless=job.asks_library,
    )
    if job.size != TINY and job.checkpoints is None:
        needed = room.room_of(job.cell.entry, job.cell.head, job.size)
        made.has_float64 = room.reference_dtype(needed, job.memory_mb) == "float64"
    elif job.checkpoints is not None:
        loaded = room.of_parameters(made.parameters())
        made.has_float64 = room.reference_dtype(loaded, job.memory_mb) == "float64"
    return made


def cell_precision(backend: Backend, name: str) -> Precision:
    """The backend's precision of that name.

    Raises:
        HarnessError: the backend has none.
        BrokenContract: its dtype is none of the contract's.
    """
    precisions = border.precisions(backend.precisions)
    found = next((p for p in precisions if p.name == name), None)
    if found is None:
        offered = ", ".join(p.name for p in precisions)
        raise HarnessError(f"expected a --precision of {offered}; found {name!r}")
    return border.known_dtype(found)


def other_ways(
    backend: Backend,
    case: Case,
    precision: Precision,
    reference: Reference,
    outputs: Arrays,
    job: Job,
    progress: CellProgress,
) -> None:
    """The other ways in which users reach a model, where the backend has them."""
    result = progress.result
    base, want = reference.inputs["base"], reference.outputs["base"]
    pipeline = getattr(backend, "pipeline", None)
    if pipeline is not None:
        with progress.stage(Stage.PIPELINE), progress.kept():
            answered = border.answered(pipeline(case, precision))
            if answered is not None:
                got, fed = answered
                if case.generation is not None and case.generation.argument in got:
                    made = border.continued(got, fed, case.generation.argument)
                    generation.check_count(made.sequences, fed[case.generation.argument])
                    GenerationJudge(case, case.generation, reference, progress).plain(fed, made)
                else:
                    expected = case.reference(fed, reference.dtype)
                    got, expected = named_alike(got, expected)
                    floored = with_own_floor(
                        reference,
                        got,
                        expected,
                        lambda noisy: {n: a for n, a in noisy(fed).items() if n in expected},
                    )
                    compare("pipeline", got, expected, floored, result)
                progress.metric("pipelines", 1, "1")
    generator = getattr(backend, "generator", None)
    if generator is not None and case.generation is not None:
        with progress.stage(Stage.GENERATE), progress.kept():
            judge = GenerationJudge(case, case.generation, reference, progress)
            deep = job.checks == DEEP
            ways = cache_ways.chosen(deep=deep) if job.asks_code else ()
            generate(judge, generator(case, precision), ways)
    load = getattr(backend, "from_pretrained", None)
    if load is not None and job.size == TINY:  # reading a checkpoint does not depend on widths
        with (
            progress.stage(Stage.ROUNDTRIP),
            progress.kept(),
            tempfile.TemporaryDirectory() as folder,
        ):
            try:
                case.save(Path(folder))
            except Unsupported:
                return
            loaded = load(Path(folder), case, precision)
            program = CheckedProgram(loaded, reference.dtypes, precision)
            # Wrong outputs must come back as they were: they are a failure at verify already.
            was_wrong = is_wrong(outputs, want, reference)
            expected = outputs if was_wrong else want
            compare("base, after from_pretrained", program(base), expected, reference, result)


def _read_recorded(block: str, job: Job) -> None:
    """Hold the library to a checkpoint that an older version of it saved."""
    from harness.models.recorded import reading, record  # imports what builds real models

    reading.check(record.parse(block), job.cell.entry.architecture, job.cell.head)


def _count(further: Variants, progress: CellProgress) -> None:
    """Keeps which variants are compared (1), and which the model or the backend refuses (0)."""
    progress.metric("variants", len(further.made), "1")
    for variant in further.made:
        progress.metric(f"variant_{variant.name}", 1, "1")
    for name in further.left_out:
        progress.metric(f"variant_{name}", 0, "1")


def _answers(
    program: CheckedProgram,
    inputs: Mapping[str, Arrays],
    first: Arrays,
    progress: CellProgress,
) -> tuple[dict[str, Arrays], list[float]]:
    """Outputs of the program by variant of the inputs, and the seconds of some inferences.

    Those on inputs with the shapes of the plain ones are timed, after the first one. A variant on
    which the program fails is left out, and its failure kept: one failure for each cause.
    """
    outputs = {"base": first}
    seconds = []
    failed: dict[str, Exception] = {}  # by input
    sizes = {name: array.shape for name, array in inputs["base"].items()}
    for name, given in inputs.items():
        if name == "base":
            continue
        try:
            outputs[name] = program(given)
        except Exception as error:
            failed[name] = error
            continue
        if {n: a.shape for n, a in given.items()} == sizes:
            seconds.append(program.seconds)
    progress.keep_by_cause(failed)
    return outputs, seconds


def _moved_row(
    program: CheckedProgram, inputs: Mapping[str, Arrays]
) -> tuple[Arrays, Arrays] | None:
    """Inputs with a row in another place of the batch, and the program's outputs on them."""
    moved = batch_rows.moved_row(inputs["base"], inputs["other"])
    if moved is None:
        return None
    try:
        return moved, program(moved)
    except Exception:  # rows that do not go together, as of a mask that all of a batch shares
        return None


def _measure(backend: Backend, progress: CellProgress) -> None:
    """Store the device memory that is held at the end, where the backend can tell."""
    memory: Callable[[], int] | None = getattr(backend, "memory", None)
    if memory is not None:
        progress.metric("device_memory", border.memory(memory()) / 1e6, "MB")
