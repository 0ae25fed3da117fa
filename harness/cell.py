"""The stages of one cell, in the order of `harness.contract.Stage`; runs in the child process."""

from __future__ import annotations

import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from harness import (
    causes,
    control,
    families,
    generation,
    numerics,
    padding,
    registry,
    signature,
    variants,
)
from harness.contract import (
    OURS,
    REAL_WEIGHTS,
    RESHAPED,
    Absent,
    Array,
    Arrays,
    Backend,
    Case,
    CellResult,
    CheckFailed,
    HarnessError,
    Inconclusive,
    Metric,
    Outcome,
    Precision,
    Program,
    Stage,
    Unavailable,
    Unsupported,
    is_floating,
    label,
)
from harness.job import Job

#: How often an inference is timed, at most; the median counts. An emulator's time says nothing of
#: the device, and is taken once.
REPEATS = 3

#: Seconds of timed inferences that are enough: an emulator's can take ten each.
TIMED_SECONDS = 1.0

#: Share of the work that must have run on the device.
ON_DEVICE = 0.999

#: Before an op's name: the metric that counts how many of it ran elsewhere.
FALLBACK = "fallback/"
#: How the reason of a cell begins whose work ran elsewhere.
PLACEMENT = "placement: "

#: Dtypes in which some modeling code cannot run, because it makes tensors of float32.
HALVES = frozenset({"float16", "bfloat16"})


@dataclass(frozen=True, slots=True)
class Reference:
    """What the model should answer, and how well that is known."""

    dtype: str  # of the reference itself
    precision: Precision  # that it is to judge
    noisy: families.Call  # an inference with no error but that precision's
    inputs: Mapping[str, Arrays]  # by variant or probe
    outputs: Mapping[str, Arrays]
    floor: float
    mismatch: float
    wrong: control.WrongReference  # what the check must refuse
    further: variants.Variants  # beyond the family's probes
    loop: families.Loop | None = None  # in which the family's models are used
    ended: Arrays = field(default_factory=dict)  # where that ends
    drift: float = 0.0  # the loop's own noise floor


@dataclass(slots=True)
class Progress:
    """What is known about a cell so far; survives the exception that ends it."""

    result: CellResult
    report: Callable[[Stage], None]

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Tells the parent before entering a stage, and counts its CPU seconds."""
        self.report(stage)
        self.result.stage = stage
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.metric(f"cpu_{stage}", time.process_time() - cpu, "s")
            self.metric(f"wall_{stage}", time.perf_counter() - wall, "s")

    def metric(self, name: str, value: float, unit: str) -> None:
        """Keeps one measured number."""
        self.result.metrics.append(Metric(name, float(value), unit))


def run(job: Job, report: Callable[[Stage], None]) -> CellResult:
    """Runs one cell and says what happened; only what kills the process escapes.

    Args:
        job: which cell, and how.
        report: called with a stage before it is entered.
    """
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
    progress = Progress(result, report)
    started = time.perf_counter()
    try:
        _stages(job, progress)
    except BaseException as error:
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise  # the process says how it ended
        _record(error, result)
    result.seconds = time.perf_counter() - started
    return result


def _stages(job: Job, progress: Progress) -> None:
    result = progress.result
    with progress.stage(Stage.BUILD):
        spec = registry.find(job.cell.backend, job.backends_dir)
        backend = registry.load(spec, job.options)
        precision = _precision(backend, job.cell.precision)
        case = _case(backend, job)
        result.parameters = case.parameters()
        if job.checkpoints is not None:
            progress.metric(REAL_WEIGHTS, 1, "1")
    with progress.stage(Stage.INPUTS):
        inputs = {"base": case.inputs("base"), "other": case.inputs("other")}
        for name, array in inputs["base"].items():
            if inputs["other"][name].shape != array.shape:
                raise CheckFailed(f"inputs: {name} has another shape in the other example")
    with progress.stage(Stage.REFERENCE):
        dynamic = bool(getattr(backend, "dynamic", True))
        reference = _reference(case, inputs, precision, job, dynamic=dynamic)
        result.noise_floor = reference.floor
        _count(reference.further, progress)
    with progress.stage(Stage.PREPARE):
        began = time.perf_counter()
        program = backend.prepare(case, precision)
        progress.metric("load", time.perf_counter() - began, "s")
    with progress.stage(Stage.RUN):
        repeats = 1 if job.emulated else REPEATS
        outputs, seconds = _answers(program, reference.inputs, repeats)
        progress.metric("inference", seconds, "s")
    with progress.stage(Stage.VERIFY):
        _verify(program, reference, outputs, progress)
    if reference.loop is not None:
        with progress.stage(Stage.GENERATE):
            ended = reference.loop.run(program, reference.loop.base)
            judged = replace(reference, floor=reference.drift)
            _compare(reference.loop.name, ended, reference.ended, judged, result)
    _further(backend, case, precision, reference, progress)
    with progress.stage(Stage.MEASURE):
        _measure(backend, progress)


def _case(backend: Backend, job: Job) -> Case:
    """The backend's own case where it has one, else the harness's, or what it leaves of that."""
    make = getattr(backend, "case", None)
    if make is None:
        from harness.tiny.case import TinyCase  # imports what builds real models

        make = partial(TinyCase, checkpoints=job.checkpoints)
    case: Case = make(job.cell.entry, job.seed, job.size, job.cell.head)
    narrowed: Callable[[Case], Case] | None = getattr(backend, "narrowed", None)
    return case if narrowed is None else narrowed(case)


def _precision(backend: Backend, name: str) -> Precision:
    found = next((p for p in backend.precisions if p.name == name), None)
    if found is None:
        offered = ", ".join(p.name for p in backend.precisions)
        raise HarnessError(f"expected a --precision of {offered}; found {name!r}")
    return found


def _reference(
    case: Case, inputs: Mapping[str, Arrays], precision: Precision, job: Job, *, dynamic: bool
) -> Reference:
    """The reference on every input, its noise floor, and the controls on the model itself."""
    base = inputs["base"]
    want, dtype = first_reference(case, base)
    again = case.reference(base, dtype, seed=0 if case.seeded else 1)
    control.deterministic(want, again)
    control.sane(want, families.spared_outputs(job.cell.entry.architecture, job.cell.head))
    outputs = {"base": want, "other": case.reference(inputs["other"], dtype)}
    control.sensitive(want, outputs["other"])
    noisy = _noisy(case, dtype, precision)
    floor, mismatch = 0.0, 0.0
    for name, right in outputs.items():
        noise = numerics.difference(noisy(inputs[name]), right)
        floor = max(floor, _floor(noise, precision))
        mismatch = max(mismatch, noise.mismatched)
    entry, given = job.cell.entry, dict(inputs)
    for probe in families.probes(
        entry.family, entry.architecture, base, inputs["other"], job.cell.head
    ):
        answer = case.reference(probe.inputs, dtype)
        violation = probe.violation(want, answer)
        if violation:
            raise CheckFailed(f"{entry.family} check {probe.name!r}: {violation}")
        given[probe.name], outputs[probe.name] = probe.inputs, answer
    further = variants.of(case, base, want, dtype, dynamic=dynamic)
    for variant in further.made:
        given[variant.name], outputs[variant.name] = variant.inputs, variant.outputs
    found = Reference(
        dtype,
        precision,
        noisy,
        given,
        outputs,
        floor,
        mismatch,
        control.wrong_reference(case, base, want, floor, dtype),
        further,
    )
    loop = families.loop(entry.family, base, inputs["other"], want)
    if loop is not None:
        ended = loop.reference(lambda x: case.reference(x, dtype))
        drift = _floor(numerics.difference(loop.run(noisy, base), ended), precision)
        found = replace(found, loop=loop, ended=ended, drift=drift)
    _signature(case, base, want, dtype, job, further.get(RESHAPED))
    return found


def first_reference(case: Case, inputs: Arrays) -> tuple[Arrays, str]:
    """The reference on some inputs, and its dtype: float64, or float32 where that is refused."""
    try:
        want = case.reference(inputs, "float64")
        judged = numerics.comparable(want) or not any(is_floating(a) for a in want.values())
        if judged and not control.without_values(want):
            return want, "float64"
    except Absent:
        raise
    except Exception:  # dtypes written into the modeling code; float32 then says what is wrong
        pass
    return case.reference(inputs, "float32"), "float32"


def _noisy(case: Case, dtype: str, precision: Precision) -> families.Call:
    """An inference in the backend's dtype, or with weights moved where the reference has it too.

    They are moved too where PyTorch cannot run the model in 16 bits, because its code makes tensors
    of float32: other runtimes may.
    """
    if dtype != "float64" and precision.dtype.endswith("float32"):
        return lambda inputs: case.jittered(inputs, precision.dtype)

    def inference(inputs: Arrays) -> Arrays:
        try:
            return case.reference(inputs, precision.dtype)
        except RuntimeError:  # what PyTorch raises on operands of two dtypes
            if precision.dtype not in HALVES:
                raise
            return case.jittered(inputs, precision.dtype)

    return inference


def _floor(noisy: numerics.Difference, precision: Precision) -> float:
    """The noise floor that a difference between two right results makes.

    Raises:
        Inconclusive: one of them is not finite, or they differ so much that anything would pass.
    """
    if any("finite" in fault for fault in noisy.faults):
        raise Inconclusive(f"the model itself overflows in {precision.dtype}: {noisy.faults[0]}")
    floor = numerics.floor_of(noisy.error, precision.dtype)
    if floor > numerics.LARGEST_FLOOR:
        raise Inconclusive(
            f"noise floor {floor:.2g} in {precision.dtype}: an error of "
            f"{numerics.LIMIT * floor:.2g} would pass"
        )
    return floor


def _signature(
    case: Case,
    base: Arrays,
    want: Arrays,
    dtype: str,
    job: Job,
    reshaped: variants.Variant | None,
) -> None:
    """Holds the model against its line of the snapshot, where the session asks for it."""
    if job.expected_signature is None:
        return
    found = str(describe(case, base, want, dtype, reshaped))
    if not job.expected_signature:
        raise CheckFailed(
            f"signature: expected a recorded one to hold {found!r} against, found none; "
            f"`python -m harness record {case.entry.name}` writes it down"
        )
    if found != job.expected_signature:
        raise CheckFailed(
            f"signature: expected {job.expected_signature!r}, found {found!r}; if the change is "
            f"meant, `python -m harness record {case.entry.name}` writes it down"
        )


def describe(
    case: Case,
    base: Arrays,
    want: Arrays,
    dtype: str,
    reshaped: variants.Variant | None = None,
) -> signature.Signature:
    """The signature of a case, its symbolic dimensions from a second batch and length."""
    inputs: Arrays | None
    outputs: Arrays | None
    try:
        inputs = reshaped.inputs if reshaped else case.inputs(RESHAPED)
        outputs = reshaped.outputs if reshaped else case.reference(inputs, dtype)
    except Exception:  # a model for one shape only: its line says numbers
        inputs = outputs = None
    return signature.Signature(
        label(case.entry.name, case.head),
        case.model_name,
        case.parameters(),
        signature.specs(base, inputs),
        signature.specs(want, outputs),
    )


def _verify(
    program: Program, reference: Reference, outputs: Mapping[str, Arrays], progress: Progress
) -> None:
    result = progress.result
    placement = program.placement()
    result.device_share = placement.device_share
    for op, count in placement.fallback_ops.items():
        progress.metric(f"{FALLBACK}{op}", count, "1")
    for name, count in placement.counts.items():
        progress.metric(name, count, "1")
    result.score = 0.0
    for name, got in outputs.items():
        variant = reference.further.get(name)
        real = variant.real if variant else {}
        want = reference.outputs[name]
        alike = {n: m for n, m in real.items() if n in got and got[n].shape == m.shape}
        noise = partial(_noise_on, reference, name, alike)
        got, want = padding.selected(got, alike), padding.selected(want, alike)
        _compare(name, got, want, _floored(reference, got, want, noise), result)
    detection = control.must_fail(
        outputs["base"], reference.wrong, reference.floor, reference.mismatch
    )
    progress.metric("detection_limit", detection, "1")
    if placement.device_share < ON_DEVICE:
        fallen = ", ".join(f"{op} x{n}" for op, n in placement.fallback_ops.items())
        raise CheckFailed(
            f"{PLACEMENT}expected all of the work on the device, found "
            f"{placement.device_share:.1%} ({placement.evidence}); elsewhere: {fallen or '?'}"
        )


def _named_alike(got: Arrays, want: Arrays) -> tuple[Arrays, Arrays]:
    """A pipeline returns one output without its name: the model's first one."""
    if list(got) != [""]:
        return got, want
    name, first = next(iter(want.items()))
    answer = got[""]
    return {name: answer.reshape(first.shape) if answer.size == first.size else answer}, {
        name: first
    }


def _noise_on(reference: Reference, name: str, real: Arrays) -> Arrays:
    """Eager execution in the backend's dtype, on one of the inputs: its real tokens."""
    return padding.selected(reference.noisy(reference.inputs[name]), real)


def _floored(
    reference: Reference, got: Arrays, want: Arrays, noise: Callable[[], Arrays]
) -> Reference:
    """The reference, with the floor of this very input where that of the plain ones is too low.

    A decision that rounding can flip is noise too: it is found where eager execution flips it.

    Args:
        reference: what is known of the model.
        got: the backend's outputs on an input.
        want: the reference's.
        noise: what eager execution gives in the backend's dtype; only asked where it matters.
    """
    found = numerics.difference(got, want)
    if found.faults or not numerics.is_wrong(found, reference.floor, reference.mismatch):
        return reference
    own = numerics.difference(noise(), want)
    return replace(
        reference,
        floor=max(reference.floor, _floor(own, reference.precision)),
        mismatch=max(reference.mismatch, own.mismatched),
    )


def _compare(
    name: str, got: Arrays, want: Arrays, reference: Reference, result: CellResult
) -> None:
    found = numerics.difference(got, want)
    result.score = max(result.score or 0.0, numerics.score(found, reference.floor))
    if numerics.is_wrong(found, reference.floor, reference.mismatch):
        raise CheckFailed(f"on input {name!r}: {numerics.explain(found, reference.floor)}")


def _further(
    backend: Backend,
    case: Case,
    precision: Precision,
    reference: Reference,
    progress: Progress,
) -> None:
    """The other ways in which users reach a model, where the backend has them."""
    result = progress.result
    base, want = reference.inputs["base"], reference.outputs["base"]
    pipeline = getattr(backend, "pipeline", None)
    if pipeline is not None:
        with progress.stage(Stage.PIPELINE):
            answered = pipeline(case, precision)
            if answered is not None:
                got, fed = answered
                if case.generation is not None:
                    sequences = got[case.generation.argument]
                    _judge_tokens(case, fed, sequences, reference, progress)
                else:
                    expected = case.reference(fed, reference.dtype)
                    got, expected = _named_alike(got, expected)
                    floored = _floored(
                        reference,
                        got,
                        expected,
                        lambda: {n: a for n, a in reference.noisy(fed).items() if n in expected},
                    )
                    _compare("pipeline", got, expected, floored, result)
                progress.metric("pipelines", 1, "1")
    generate = getattr(backend, "generate", None)
    if generate is not None and case.generation is not None:
        with progress.stage(Stage.GENERATE):
            given = generation.prompt(base, case.generation.argument)
            sequences = generate(case, precision, given, generation.TOKENS)
            _judge_tokens(case, given, sequences, reference, progress)
    load = getattr(backend, "from_pretrained", None)
    if load is not None:
        with progress.stage(Stage.ROUNDTRIP), tempfile.TemporaryDirectory() as folder:
            try:
                case.save(Path(folder))
            except Unsupported:
                return
            program = load(Path(folder), case, precision)
            _compare("base, after from_pretrained", program(base), want, reference, result)


def _judge_tokens(
    case: Case, fed: Arrays, sequences: Array, reference: Reference, progress: Progress
) -> None:
    """Holds what was generated against one inference of the reference over all of it."""
    generated = case.generation
    assert generated is not None
    whole = generation.extended(fed, generated.argument, sequences)
    logits = generation.logits_of(case.reference(whole, reference.dtype))
    judged = generation.judge(fed, generated, sequences, logits, reference.floor)
    progress.result.score = max(progress.result.score or 0.0, judged.score)
    progress.metric("generated_tokens", judged.tokens, "1")


def _answer(program: Program, name: str, inputs: Arrays) -> Arrays:
    """One inference; what it raises says on which input."""
    try:
        return program(inputs)
    except Exception as error:
        if name != "base":
            error.add_note(f"on input {name!r}")
        raise


def _count(further: variants.Variants, progress: Progress) -> None:
    """Keeps which variants are compared (1), and which the model or the backend refuses (0)."""
    progress.metric("variants", len(further.made), "1")
    for variant in further.made:
        progress.metric(f"variant_{variant.name}", 1, "1")
    for name in further.left_out:
        progress.metric(f"variant_{name}", 0, "1")


def _answers(
    program: Program, inputs: Mapping[str, Arrays], repeats: int
) -> tuple[dict[str, Arrays], float]:
    """What the program gives on each of the inputs, and the median seconds of an inference.

    Those on inputs with the shapes of the plain ones are timed, after the first one, and further
    ones until there are `repeats` or they took `TIMED_SECONDS`.
    """
    outputs: dict[str, Arrays] = {}
    seconds = []
    sizes = {name: array.shape for name, array in inputs["base"].items()}
    for name, given in inputs.items():
        began = time.perf_counter()
        outputs[name] = _answer(program, name, given)
        took = time.perf_counter() - began
        if name != "base" and {n: a.shape for n, a in given.items()} == sizes:
            seconds.append(took)
    while not seconds or (len(seconds) < repeats and sum(seconds) < TIMED_SECONDS):
        began = time.perf_counter()
        program(inputs["base"])
        seconds.append(time.perf_counter() - began)
    return outputs, statistics.median(seconds)


def _measure(backend: Backend, progress: Progress) -> None:
    """What the device holds at the end, where the backend can tell."""
    memory: Callable[[], int] | None = getattr(backend, "memory", None)
    if memory is not None:
        progress.metric("device_memory", memory() / 1e6, "MB")


def _record(error: BaseException, result: CellResult) -> None:
    """Which outcome an exception is, at the stage where it was raised."""
    result.error = "".join(traceback.format_exception(error))
    where = "".join(f"{note}: " for note in getattr(error, "__notes__", ()))
    result.reason = where + _one_line(error)
    result.cause = causes.of(error)
    result.outcome = _outcome(error, result.stage)


def _outcome(error: BaseException, stage: Stage) -> Outcome:
    if isinstance(error, Absent):
        return Outcome.ABSENT
    if isinstance(error, Inconclusive):
        return Outcome.INCONCLUSIVE
    if causes.is_out_of_memory(type(error).__name__, str(error)):
        return Outcome.OOM
    if stage in OURS and not isinstance(error, Unavailable):
        return Outcome.UNTESTED
    return Outcome.UNSUPPORTED if isinstance(error, Unsupported) else Outcome.FAIL


def _one_line(error: BaseException) -> str:
    text = causes.telling_line(str(error))
    if isinstance(error, CheckFailed | Absent | Unsupported | Inconclusive | HarnessError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
