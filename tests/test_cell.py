"""The stages of a cell, and what each of them lets pass, on models of a few lines of numpy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from function_backend import (
    WIDTH,
    Fault,
    Function,
    FunctionBackend,
    FunctionCase,
    FunctionProgram,
    Runner,
    plain,
    right,
)

from harness.checks import own_generate
from harness.contract import (
    BATCH_VARIANCE,
    EXAMPLES_TRIED,
    MOST_FURTHER,
    OURS,
    THREAD_VARIANCE,
    Absent,
    Array,
    Arrays,
    CellFailure,
    CellResult,
    CheckFailed,
    HarnessError,
    Inconclusive,
    LibraryFault,
    Metric,
    Outcome,
    Placement,
    Precision,
    Stage,
    TooLarge,
    Unavailable,
    Unsupported,
)
from harness.session.notes import notes
from harness.toolkit import numerics
from harness.toolkit.numerics import LIMIT


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(monkeypatch)


def failing(fault: Exception) -> Callable[..., Any]:
    def raises(*_: Any, **__: Any) -> Any:
        raise fault

    return raises


# ---- right results


def test_a_right_result_passes_all_stages(run: Runner) -> None:
    result = run()
    assert (result.outcome, result.stage) == (Outcome.PASS, Stage.MEASURE)
    assert (result.reason, result.cause, result.error) == ("", "", "")
    assert run.stages == [
        Stage.BUILD, Stage.INPUTS, Stage.REFERENCE, Stage.PREPARE, Stage.RUN, Stage.VERIFY,
        Stage.MEASURE,
    ]  # fmt: skip
    assert (result.entry, result.family, result.architecture) == ("thing", "structured", "function")
    assert result.parameters == 3 * WIDTH**2
    assert result.device_share == 1.0
    assert result.noise_floor is not None
    assert 1e-7 <= result.noise_floor < 1e-5
    assert result.score is not None
    assert 0 < result.score < LIMIT


def test_what_is_measured(run: Runner) -> None:
    backend = FunctionBackend()
    backend.memory = lambda: 5_000_000  # type: ignore[attr-defined]
    found = {metric.name: metric for metric in run(backend).metrics}
    stages = [s for s in Stage if s in run.stages]
    assert {f"cpu_{s}" for s in stages} | {f"wall_{s}" for s in stages} <= found.keys()
    assert {"load", "inference", "detection_limit"} <= found.keys()
    assert (found["device_memory"].value, found["device_memory"].unit) == (5.0, "MB")
    assert 0 < found["detection_limit"].value < 1e-2


def half_and_back(outputs: Arrays) -> Arrays:
    return {**outputs, "y": outputs["y"].astype(np.float16).astype(np.float32)}


def test_a_precision_has_a_floor_of_its_own(run: Runner) -> None:
    single, half = run(), run(precision="f16")
    assert half.outcome is Outcome.PASS
    assert half.precision == "f16"
    assert single.noise_floor is not None
    assert half.noise_floor is not None
    assert half.noise_floor > 100 * single.noise_floor
    # What is right in half precision would be wrong in single precision.
    rounded = run(FunctionBackend(fault=half_and_back))
    assert (rounded.outcome, rounded.stage) == (Outcome.FAIL, Stage.VERIFY)


# ---- wrong results


def nan(outputs: Arrays) -> Arrays:
    outputs["y"][1, 3] = np.nan
    return outputs


WRONG: Mapping[str, tuple[Fault, str]] = {
    "scaled": (
        lambda o: {**o, "y": o["y"] * 1.0001},
        "y: relative error 0.0001, expected at most",
    ),
    "nan": (nan, "y: 1 of 32 values are not finite"),
    "cut": (lambda o: {**o, "y": o["y"][:, :8]}, "y: expected shape (2, 16), got (2, 8)"),
    "missing": (lambda o: {"y": o["y"]}, "outputs: expected ['codes', 'y'], got ['y']"),
    "extra": (
        lambda o: {**o, "z": o["y"]},
        "outputs: expected ['codes', 'y'], got ['codes', 'y', 'z']",
    ),
    "swapped rows": (lambda o: {**o, "y": o["y"][::-1]}, "y: relative error"),
    "constant": (lambda o: {**o, "y": np.ones_like(o["y"])}, "y: relative error"),
    "integers": (
        lambda o: {**o, "codes": o["codes"] + 1},
        "integer outputs: 100.0% of the elements differ",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_result_fails(run: Runner, name: str) -> None:
    fault, reason = WRONG[name]
    result = run(FunctionBackend(fault=fault))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith(f"on input 'base': {reason}")
    assert result.cause.startswith("CheckFailed: ")
    assert "Traceback" in result.error
    assert result.score is not None
    assert result.score > LIMIT or name == "integers"


class Baked(FunctionBackend):
    """A converter that keeps the first example's values of one input as constants."""

    dynamic = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def prepare(self, case: FunctionCase, precision: Precision) -> FunctionProgram:
        constant = case.inputs("base")[self.name]
        program = super().prepare(case, precision)
        forward = case.function
        program.case = FunctionCase(lambda x, w: forward({**x, self.name: constant}, w))
        return program


@pytest.mark.parametrize("name", ["left", "right"])
def test_what_is_right_on_one_input_only_fails_on_another(run: Runner, name: str) -> None:
    result = run(Baked(name))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith("on input 'other': y: relative error")


def test_the_backend_must_be_right_on_the_familys_probes_too(run: Runner) -> None:
    backend = FunctionBackend()
    swapped = {**backend.made.inputs("base"), "left": backend.made.inputs("other")["left"]}

    class Special(FunctionProgram):
        def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
            found = super().__call__(inputs)
            if all(np.array_equal(inputs[n], swapped[n]) for n in inputs):
                found["y"] *= np.float32(1.01)
            return found

    backend.prepare = lambda case, precision: Special(case, precision.dtype, right)  # type: ignore[method-assign]
    result = run(backend)
    assert result.reason.startswith("on input 'left-counts': y: relative error 0.01")


def test_a_tenth_of_a_floor_beyond_the_limit_decides(run: Runner) -> None:
    floor = run().noise_floor
    assert floor is not None
    for times, outcome in ((LIMIT - 2, Outcome.PASS), (LIMIT + 2, Outcome.FAIL)):

        def drift(outputs: Arrays, by: float = times * floor) -> Arrays:
            drifted = outputs["y"].astype(np.float64) * (1 + by)
            return {**outputs, "y": drifted.astype(np.float32)}

        assert run(FunctionBackend(fault=drift)).outcome is outcome, times


# ---- the device


@pytest.mark.parametrize(("share", "outcome"), [(1.0, Outcome.PASS), (0.9, Outcome.FAIL)])
def test_work_elsewhere_is_no_pass(run: Runner, share: float, outcome: Outcome) -> None:
    backend = FunctionBackend()
    backend.placed = Placement(share, "asked the runtime", {"Cos": 2, "TopK": 1})
    result = run(backend)
    assert result.outcome is outcome
    assert result.device_share == share
    if outcome is Outcome.FAIL:
        assert result.stage is Stage.VERIFY
        assert result.reason == (
            "placement: expected all of the work on the device, found 90.0% (asked the runtime); "
            "elsewhere: Cos x2, TopK x1"
        )


def test_a_fallback_that_computes_right_is_found_too(run: Runner) -> None:
    backend = FunctionBackend()
    backend.placed = Placement(0.0, "asked")
    result = run(backend)
    assert result.reason.endswith("found 0.0% (asked); elsewhere: ?")
    assert result.score is not None
    assert result.score < LIMIT


# ---- the model itself


def test_randomness_in_forward(run: Runner) -> None:
    class Random(FunctionCase):
        def reference(
            self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
        ) -> Arrays:
            found = super().reference(inputs, dtype)
            noise = np.random.default_rng(seed).standard_normal(found["y"].shape)
            return {**found, "y": found["y"] + 1e-12 * noise}

    result = run(FunctionBackend(Random()))
    assert (result.outcome, result.stage) == (Outcome.UNTESTED, Stage.REFERENCE)
    assert "y differs between two runs under different seeds" in result.reason

    class Seeded(Random):
        seeded = True

    assert run(FunctionBackend(Seeded())).outcome is Outcome.PASS


WORTHLESS: Mapping[str, tuple[Function, str]] = {
    "constant": (lambda x, w: {"y": np.ones((2, 4))}, "every output is constant or not finite"),
    "silent": (lambda x, w: {}, "the model returns no arrays"),
    "exploded": (
        lambda x, w: {"y": 1e6 * plain(x, w)["y"]},
        "expected a standard deviation between 0.001 and 1000 of every output, found y",
    ),
    "blind": (lambda x, w: {"y": w["inner"]}, "other inputs move the outputs by 0 only"),
    "half blind": (
        lambda x, w: {"y": x["left"] @ w["inner"]},
        "structured check 'right-counts': expected right alone to change the outputs",
    ),
}


@pytest.mark.parametrize("name", WORTHLESS)
def test_a_model_that_is_not_worth_a_comparison(run: Runner, name: str) -> None:
    function, reason = WORTHLESS[name]
    result = run(FunctionBackend(FunctionCase(function)))
    assert (result.outcome, result.stage) == (Outcome.UNTESTED, Stage.REFERENCE)
    assert reason in result.reason


def test_a_model_that_no_weight_moves_is_inconclusive(run: Runner) -> None:
    made = FunctionCase(lambda x, w: {"y": x["left"] + x["right"] + 1e-9 * w["inner"][:2]})
    result = run(FunctionBackend(made))
    assert (result.outcome, result.stage) == (Outcome.INCONCLUSIVE, Stage.REFERENCE)
    assert result.reason.startswith("control: no single weight moves the outputs")


def test_a_model_that_is_all_noise_is_inconclusive(run: Runner) -> None:
    def chaotic(x: Arrays, w: Arrays) -> Arrays:
        return {"y": np.sin(1e7 * plain(x, w)["y"])}

    result = run(FunctionBackend(FunctionCase(chaotic)))
    assert (result.outcome, result.stage) == (Outcome.INCONCLUSIVE, Stage.REFERENCE)
    assert result.reason.startswith("noise floor ")
    assert result.reason.endswith("would pass")


def test_a_rounding_of_data_that_the_model_amplifies_is_no_error(run: Runner) -> None:
    def amplifying(x: Arrays, w: Arrays) -> Arrays:
        y = plain(x, w)["y"]
        sines = np.sin(500 * w["other"].astype(np.float32)).astype(y.dtype)  # in float32 always
        return {"y": y + x["left"] @ sines}

    def off(by: float) -> CellResult:
        fault = FunctionBackend(
            FunctionCase(amplifying), lambda o: {"y": o["y"] * np.float32(1 + by)}
        )
        return run(fault)

    amplified = off(1e-5)
    assert amplified.noise_floor is not None
    assert amplified.noise_floor < 1e-6  # eager execution rounds as the reference does
    assert amplified.outcome is Outcome.PASS, amplified.reason
    assert off(1e-3).outcome is Outcome.FAIL


def test_a_row_that_depends_on_its_place_is_a_warning(run: Runner) -> None:
    floor = run().noise_floor
    assert floor is not None

    def uneven(outputs: Arrays) -> Arrays:
        outputs["y"][-1] *= np.float32(1 + 3 * floor)
        return outputs

    result = run(FunctionBackend(fault=uneven))
    assert result.outcome is Outcome.PASS
    found = {metric.name: metric.value for metric in result.metrics}
    assert found[BATCH_VARIANCE] == pytest.approx(3 * floor, rel=0.5)
    assert "not batch-invariant" in notes(result)[0]
    assert BATCH_VARIANCE not in {metric.name for metric in run().metrics}


def test_rows_may_depend_on_each_other_where_the_models_do(run: Runner) -> None:
    def mixing(x: Arrays, w: Arrays) -> Arrays:
        y = plain(x, w)["y"]
        return {"y": y + y.mean(axis=0, keepdims=True)}

    result = run(FunctionBackend(FunctionCase(mixing)))
    assert result.outcome is Outcome.PASS
    assert BATCH_VARIANCE not in {metric.name for metric in result.metrics}


class Threaded(FunctionBackend):
    """Off by a share of its outputs while it is asked to run on two threads."""

    def __init__(self, share: float) -> None:
        super().__init__(fault=self.shifted)
        self.share = share
        self.count = 1

    @contextmanager
    def on_threads(self, count: int) -> Iterator[None]:
        self.count = count
        yield
        self.count = 1

    def shifted(self, outputs: Arrays) -> Arrays:
        if self.count == 2:
            outputs["y"] *= np.float32(1 + self.share)
        return outputs


def test_other_numbers_on_other_threads_fail(run: Runner) -> None:
    result = run(Threaded(0.01))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith(
        "threads: on 2 of them the outputs on input 'base' differ from the plain ones: y: "
    )
    assert run(Threaded(0.0)).outcome is Outcome.PASS


def test_other_roundings_on_other_threads_are_a_warning(run: Runner) -> None:
    floor = run().noise_floor
    assert floor is not None
    result = run(Threaded(3 * floor))
    assert result.outcome is Outcome.PASS
    found = {metric.name: metric.value for metric in result.metrics}
    assert found[THREAD_VARIANCE] == pytest.approx(3 * floor, rel=0.5)
    assert "not the same on other threads" in notes(result)[0]
    unchanged = run(Threaded(0.0))
    assert THREAD_VARIANCE not in {metric.name for metric in unchanged.metrics}


def test_a_program_that_fails_on_two_threads_says_so(run: Runner) -> None:
    class Racing(Threaded):
        def shifted(self, outputs: Arrays) -> Arrays:
            if self.count == 2:
                raise RuntimeError("two at once")
            return outputs

    result = run(Racing(0.0))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.RUN)
    assert "RuntimeError: two at once" in result.reason
    assert "on 2 threads, on input 'base'" in result.error


def test_threads_are_chosen_by_a_context_manager(run: Runner) -> None:
    backend: Any = FunctionBackend()
    backend.on_threads = lambda count: count
    result = run(backend)
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.RUN)
    assert "contract: on_threads: expected a context manager, found int" in result.reason


class Halved(FunctionCase):
    """In bfloat16 off by a share of the outputs, on some of the inputs."""

    def __init__(self, share: float, only: str = "") -> None:
        super().__init__()
        self.share = share
        self.only = self.inputs(only)["left"] if only else None

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        found = super().reference(inputs, "float32" if dtype == "bfloat16" else dtype)
        if dtype == "bfloat16" and (self.only is None or np.array_equal(inputs["left"], self.only)):
            found["y"] = found["y"] * np.float32(1 + self.share)
        return found


def test_half_precision_is_held_to_data_that_moved(run: Runner) -> None:
    result = run(FunctionBackend(Halved(0.2)), checks_library=True)
    assert (result.outcome, result.stage) == (Outcome.LIBRARY, Stage.REFERENCE)
    assert result.reason.startswith(
        "half-precision: y: in bfloat16 the modeling code is off by 0.2"
    )
    assert result.further == []
    assert result.score is not None  # the backend is judged all the same
    assert run.stages[-1] is Stage.MEASURE
    # What rounding explains; a choice that it flips on one input; a session of a backend's.
    for fine in Halved(0.01), Halved(0.2, "base"), Halved(0.2, "other"):
        assert run(FunctionBackend(fine), checks_library=True).outcome is Outcome.PASS
    assert run(FunctionBackend(Halved(0.2))).outcome is Outcome.PASS


def test_half_precision_is_asked_of_tiny_models(run: Runner) -> None:
    wide = run(FunctionBackend(Halved(0.2)), checks_library=True, size="wide")
    assert wide.outcome is Outcome.PASS
    deep = run(FunctionBackend(Halved(0.2)), checks_library=True, size="wide", checks="deep")
    assert deep.outcome is not Outcome.PASS


def test_a_model_that_overflows_in_a_precision_is_inconclusive_in_it(run: Runner) -> None:
    def wide(x: Arrays, w: Arrays) -> Arrays:
        with np.errstate(over="ignore"):
            return {"y": plain(x, w)["y"] * w["other"].dtype.type(30000) * 4 / 30000}

    backend = FunctionBackend(FunctionCase(wide))
    assert run(backend).outcome is Outcome.PASS
    result = run(backend, precision="f16")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason.startswith("the model itself overflows in float16")


def test_a_model_that_refuses_double_precision_is_held_to_single(run: Runner) -> None:
    class Single(FunctionCase):
        def reference(
            self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
        ) -> Arrays:
            if dtype == "float64":
                raise RuntimeError("expected Float but found Double")
            return super().reference(inputs, dtype)

        def jittered(self, inputs: Mapping[str, Array], dtype: str) -> Arrays:
            assert dtype == "float32"
            found = super().reference(inputs, dtype)
            return {**found, "y": found["y"] * np.float32(1 + 1e-5)}

    # In the reference's own dtype, the floor comes from weights that moved by one rounding.
    single, half = (run(FunctionBackend(Single()), precision=p) for p in ("default", "f16"))
    assert single.outcome is half.outcome is Outcome.PASS
    assert single.noise_floor == pytest.approx(1e-5, rel=0.1)
    assert half.noise_floor is not None
    assert 5e-4 <= half.noise_floor < 1e-2
    drift = run(FunctionBackend(Single(), lambda o: {**o, "y": o["y"] * np.float32(1.001)}))
    assert drift.outcome is Outcome.FAIL


def test_a_model_that_eager_execution_refuses_in_half_precision_is_judged(run: Runner) -> None:
    class Mixed(FunctionCase):
        def reference(
            self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
        ) -> Arrays:
            if dtype == "float16":
                raise RuntimeError("expected m1 and m2 to have the same dtype: float != c10::Half")
            return super().reference(inputs, dtype)

    def off(by: float) -> CellResult:
        backend = FunctionBackend(Mixed(), lambda o: {**o, "y": o["y"] * np.float32(1 + by)})
        return run(backend, precision="f16")

    result = off(1e-4)
    assert result.outcome is Outcome.PASS, result.error
    assert result.noise_floor is not None
    assert 5e-4 <= result.noise_floor < 5e-3
    assert off(0.1).outcome is Outcome.FAIL


def test_a_model_that_is_not_finite_in_double_precision_is_held_to_single(run: Runner) -> None:
    class Broken(FunctionCase):
        def reference(
            self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
        ) -> Arrays:
            found = super().reference(inputs, dtype)
            return {"y": found["y"] * np.nan} if dtype == "float64" else found

    assert run(FunctionBackend(Broken())).outcome is Outcome.PASS


def test_an_absent_model_is_not_tried_in_single_precision(run: Runner) -> None:
    class Missing(FunctionCase):
        def reference(
            self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
        ) -> Arrays:
            if dtype == "float64":
                raise Absent("requires timm, not installed")
            return super().reference(inputs, dtype)

    assert run(FunctionBackend(Missing())).outcome is Outcome.ABSENT


def test_inputs_must_have_one_shape(run: Runner) -> None:
    class Ragged(FunctionCase):
        def inputs(self, variant: str = "base") -> Arrays:
            return super().inputs("reshaped" if variant == "other" else variant)

    result = run(FunctionBackend(Ragged()))
    assert (result.outcome, result.stage) == (Outcome.UNTESTED, Stage.INPUTS)
    assert "left has another shape in the other example" in result.reason


def test_a_check_that_cannot_fail_fails(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "is_wrong", lambda *_: False)
    result = run(FunctionBackend(fault=nan))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert "a check that cannot fail is a fault of the harness" in result.reason


# ---- what an SDK's classes leave of a model


class OneOutput:
    """A case without its `codes`; every other member is the whole one's."""

    def __init__(self, whole: FunctionCase) -> None:
        self.whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        return {"y": self.whole.reference(inputs, dtype, seed=seed)["y"]}

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, *, dtype: str = "float64"
    ) -> Arrays:
        return {"y": self.whole.perturbed(inputs, weight, scale, dtype=dtype)["y"]}


class Narrow(FunctionBackend):
    """Its SDK returns `y` alone, and it says so."""

    def __init__(self, fault: Fault = right) -> None:
        super().__init__(fault=lambda outputs: fault({"y": outputs["y"]}))

    def narrowed(self, case: FunctionCase) -> OneOutput:
        return OneOutput(case)


def test_a_backend_may_say_which_outputs_it_has(run: Runner) -> None:
    assert run(Narrow()).outcome is Outcome.PASS


def test_what_is_left_is_judged_as_ever(run: Runner) -> None:
    assert run(Narrow(lambda outputs: {"y": outputs["y"] * 1.01})).outcome is Outcome.FAIL
    assert run(Narrow(nan)).outcome is Outcome.FAIL


# ---- what raises, and where

METHODS = {
    Stage.BUILD: "parameters",
    Stage.INPUTS: "inputs",
    Stage.REFERENCE: "weights",
    Stage.PREPARE: "prepare",
    Stage.RUN: "__call__",
    Stage.VERIFY: "placement",
    Stage.MEASURE: "memory",
}


def raising(stage: Stage, error: Exception) -> FunctionBackend:
    """A backend on which this stage raises this error."""
    backend = FunctionBackend()
    name, raises = METHODS[stage], failing(error)
    if stage in OURS:
        setattr(backend.made, name, raises)
    elif stage in {Stage.PREPARE, Stage.MEASURE}:
        setattr(backend, name, raises)
    else:
        program: Any = type("Program", (FunctionProgram,), {name: raises})
        backend.prepare = lambda case, precision: program(case, precision.dtype, right)  # type: ignore[method-assign]
    return backend


@pytest.mark.parametrize("stage", METHODS)
def test_an_error_is_ours_before_the_backends_part_begins(run: Runner, stage: Stage) -> None:
    result = run(raising(stage, RuntimeError("mat1 and mat2\ncannot be multiplied")))
    assert result.stage is stage
    assert result.outcome is (Outcome.UNTESTED if stage in OURS else Outcome.FAIL)
    assert result.reason == "RuntimeError: mat1 and mat2"
    assert result.cause.startswith("RuntimeError: mat1 and mat2")
    assert "cannot be multiplied" in result.error
    assert run.stages[-1] is (Stage.MEASURE if stage is Stage.VERIFY else stage)


@pytest.mark.parametrize("stage", METHODS)
def test_what_a_stage_says_by_itself(run: Runner, stage: Stage) -> None:
    ours = stage in OURS
    for error, outcome in (
        (Unsupported("no translation for aten::x"), Outcome.UNTESTED if ours else None),
        (Absent("requires timm, not installed"), Outcome.ABSENT),
        (Inconclusive("ill-conditioned"), Outcome.INCONCLUSIVE),
        (MemoryError("50 GB"), Outcome.OOM),
        (TooLarge("needs 50 GB"), Outcome.TOO_LARGE),
        (NotImplementedError(), Outcome.UNTESTED if ours else Outcome.FAIL),
    ):
        result = run(raising(stage, error))
        assert result.outcome is (outcome or Outcome.UNSUPPORTED), error
        assert result.stage is stage
        is_ours = type(error).__module__ == Unsupported.__module__
        assert result.reason.startswith(str(error) if is_ours else type(error).__name__)


class TiedCase(FunctionCase):
    """A case whose reference holds from some example on."""

    def __init__(self, good: int, fault: Exception, *, later: Exception | None = None) -> None:
        super().__init__()
        self.good, self.fault, self.later = good, fault, later
        self.example_seed = 7
        self.tried = [7]

    def with_examples_of(self, seed: int) -> TiedCase:
        other = copy.copy(self)
        other.example_seed = seed
        self.tried.append(seed)
        return other

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        if self.example_seed < self.good:
            raise self.fault
        if self.later is not None:
            raise self.later
        return super().reference(inputs, dtype)


@pytest.mark.parametrize(
    "fault", [Inconclusive("noise floor 0.2"), LibraryFault("leaks"), CheckFailed("no effect")]
)
def test_at_another_seed_the_next_examples_are_tried_where_the_reference_fails(
    run: Runner, fault: Exception
) -> None:
    case = TiedCase(9, fault)
    result = run(FunctionBackend(case), seed=7)
    assert (result.outcome, result.reason) == (Outcome.PASS, "")
    assert case.tried == [7, 8, 9]
    assert Metric(EXAMPLES_TRIED, 3, "1") in result.metrics
    assert notes(result)[0].startswith("pass, on example 3 of its seed: before it the reference")
    assert run.stages[:6] == [Stage.BUILD, Stage.INPUTS, Stage.REFERENCE] * 2


def test_a_reference_that_fails_on_each_example_is_told_of_the_first(run: Runner) -> None:
    case = TiedCase(8, LibraryFault("leaks"), later=Inconclusive("noise floor 0.2"))
    result = run(FunctionBackend(case), seed=7)
    assert (result.outcome, result.reason) == (Outcome.LIBRARY, "leaks")
    assert case.tried == [7, 8, 9]


def test_at_seed_0_and_for_the_backends_own_faults_the_examples_stay(run: Runner) -> None:
    case = TiedCase(9, LibraryFault("leaks"))
    assert run(FunctionBackend(case)).outcome is Outcome.LIBRARY  # chosen by `harness seeds`
    assert run(FunctionBackend(case), seed=7, size="wide").outcome is Outcome.LIBRARY
    case = TiedCase(0, LibraryFault("leaks"))
    doubled = FunctionBackend(case, lambda y: {name: 2 * array for name, array in y.items()})
    assert run(doubled, seed=7).outcome is Outcome.FAIL
    assert case.tried == [7]


def test_a_fault_of_the_backend_beside_the_librarys_is_not_tried_again(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_generate, "check", failing(LibraryFault("leaks")))
    case = TiedCase(0, LibraryFault("never"))
    doubled = FunctionBackend(case, lambda y: {name: 2 * array for name, array in y.items()})
    result = run(doubled, seed=7, checks_library=True)
    assert (result.outcome, result.stage) == (Outcome.LIBRARY, Stage.REFERENCE)
    assert Stage.VERIFY in {failure.stage for failure in result.further}
    assert case.tried == [7]
    run(FunctionBackend(case), seed=7, checks_library=True)
    assert case.tried == [7, 8, 9]


def test_an_exception_without_a_message(run: Runner) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    result = run(raising(Stage.PREPARE, Unprintable()))
    assert result.outcome is Outcome.FAIL
    assert result.reason == "Unprintable: its message could not be read: ValueError"
    assert result.cause.startswith(result.reason)


OUT_OF_MEMORY = {
    "torch": "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 50000000000 bytes. Error code 12 (Cannot allocate memory)",
    "torch on Windows": "DefaultCPUAllocator: not enough memory: you tried to allocate 5 bytes.",
    "CUDA": "CUDA out of memory. Tried to allocate 20.00 MiB",
    "C++": "std::bad_alloc",
    "fork": "[Errno 12] Cannot allocate memory",
}


@pytest.mark.parametrize("library", OUT_OF_MEMORY)
def test_memory_that_a_library_did_not_get(run: Runner, library: str) -> None:
    message = OUT_OF_MEMORY[library]
    assert run(raising(Stage.PREPARE, RuntimeError(message))).outcome is Outcome.OOM
    assert run(raising(Stage.REFERENCE, RuntimeError(message))).outcome is Outcome.OOM


def test_unavailable_is_never_ours(run: Runner) -> None:
    result = run(raising(Stage.BUILD, Unavailable("No device.", "plug one in.")))
    assert result.outcome is Outcome.FAIL
    assert result.reason == "Unavailable: No device. Fix: plug one in."


def test_an_unknown_precision_says_which_there_are(run: Runner) -> None:
    result = run(precision="int4")
    assert result.stage is Stage.BUILD
    assert result.reason == "expected a --precision of default, f16; found 'int4'"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_the_process_is_for_its_parent(run: Runner, error: BaseException) -> None:
    backend = FunctionBackend()
    backend.prepare = failing(error)  # type: ignore[method-assign, arg-type]
    with pytest.raises(type(error)):
        run(backend)


def test_a_fault_of_the_harness_itself_has_a_reason(run: Runner) -> None:
    result = run(raising(Stage.BUILD, HarnessError("expected x, found y. Fix: z")))
    assert result.reason == "expected x, found y. Fix: z"


# ---- the other ways to a model


def piped(name: str, fault: Fault = right) -> FunctionBackend:
    """A backend with a pipeline, whose one output has this name, or none."""
    backend = FunctionBackend()

    def pipeline(case: FunctionCase, precision: Precision) -> tuple[Arrays, Arrays]:
        fed = case.inputs("raw")
        got = backend.prepare(case, precision)(fed)
        return fault({name: got["y"], **({"codes": got["codes"]} if name else {})}), fed

    backend.pipeline = pipeline  # type: ignore[attr-defined]
    return backend


@pytest.mark.parametrize("name", ["y", ""])
def test_a_pipeline_is_compared_with_what_it_feeds_the_model(run: Runner, name: str) -> None:
    result = run(piped(name))
    assert result.outcome is Outcome.PASS
    assert Stage.PIPELINE in run.stages
    result = run(piped(name, lambda o: {**o, name: o[name] * 1.01}))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.PIPELINE)
    assert result.reason.startswith("on input 'pipeline': y: relative error 0.01")


def test_a_pipelines_nameless_output_may_have_another_rank_but_no_other_size(run: Runner) -> None:
    assert run(piped("", lambda o: {"": o[""][None]})).outcome is Outcome.PASS
    result = run(piped("", lambda o: {"": o[""][:, :4]}))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.PIPELINE)
    assert "expected shape (2, 16), got (2, 4)" in result.reason


def test_a_model_without_a_pipeline(run: Runner) -> None:
    backend = FunctionBackend()
    backend.pipeline = lambda case, precision: None  # type: ignore[attr-defined]
    assert run(backend).outcome is Outcome.PASS


def saved(scale: float) -> FunctionBackend:
    """A backend that loads what was saved, times `scale`."""
    backend = FunctionBackend()

    def from_pretrained(folder: Path, case: FunctionCase, precision: Precision) -> FunctionProgram:
        program = backend.prepare(case, precision)
        with np.load(folder / "weights.npz") as held:
            program.weights = {name: held[name] * np.float32(scale) for name in held.files}
        return program

    backend.from_pretrained = from_pretrained  # type: ignore[attr-defined]
    return backend


def test_what_is_saved_is_loaded_again(run: Runner) -> None:
    assert run(saved(1.0)).outcome is Outcome.PASS
    assert Stage.ROUNDTRIP in run.stages
    result = run(saved(1.01))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.ROUNDTRIP)
    assert result.reason.startswith("on input 'base, after from_pretrained': y: relative error")


def test_what_cannot_be_saved_has_no_roundtrip(run: Runner) -> None:
    backend = saved(1.01)
    backend.made.save = failing(Unsupported("no save_pretrained"))  # type: ignore[method-assign]
    assert run(backend).outcome is Outcome.PASS
    backend.made.save = failing(OSError("disk full"))  # type: ignore[method-assign]
    result = run(backend)
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.ROUNDTRIP)


# ---- several failures


def test_no_stage_hides_the_next(run: Runner) -> None:
    backend = saved(1.01)
    backend.pipeline = failing(KeyError("tokenizer"))  # type: ignore[attr-defined]
    backend.memory = failing(OSError("no counter"))  # type: ignore[attr-defined]
    backend.placed = Placement(0.5, "asked", {"Cos": 1})
    backend.fault = lambda o: {**o, "y": o["y"] * np.float32(1.001)}
    result = run(backend)
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith("on input 'base': y: relative error 0.001")
    assert run.stages[-4:] == [Stage.VERIFY, Stage.PIPELINE, Stage.ROUNDTRIP, Stage.MEASURE]
    found = [(failure.stage, failure.reason.split(": ")[0]) for failure in result.further]
    assert found == [
        (Stage.VERIFY, "placement"),
        (Stage.PIPELINE, "KeyError"),
        (Stage.ROUNDTRIP, "on input 'base, after from_pretrained'"),
        (Stage.MEASURE, "OSError"),
    ]
    assert [failure.reason for failure in result.failures[:1]] == [result.reason]
    assert {"wall_measure", "inference"} <= {metric.name for metric in result.metrics}


def test_each_input_that_is_wrong_is_named(run: Runner) -> None:
    result = run(FunctionBackend(fault=lambda o: {**o, "y": -o["y"]}))
    assert result.further == []
    assert result.reason.startswith("on input 'base': y: relative error 2, expected")
    assert result.reason.endswith("; also on 'other', 'left-counts', 'right-counts', 'reshaped'")
    # The fault is the same on however many inputs it shows.
    alone = run(FunctionBackend(fault=lambda o: {**o, "y": -o["y"]} if len(o["y"]) == 2 else o))
    assert alone.reason.endswith("; also on 'other', 'left-counts', 'right-counts'")
    assert alone.cause == result.cause


def test_an_inference_that_raises_hides_no_other_input(run: Runner) -> None:
    def fault(outputs: Arrays) -> Arrays:
        if len(outputs["y"]) == 3:
            raise RuntimeError("expected 2 rows")
        return {**outputs, "y": outputs["y"] * np.float32(1.001)}

    result = run(FunctionBackend(fault=fault))
    assert (result.stage, result.reason) == (
        Stage.RUN, "on input 'reshaped': RuntimeError: expected 2 rows"
    )  # fmt: skip
    assert [failure.stage for failure in result.further] == [Stage.VERIFY]
    assert result.further[0].reason.startswith("on input 'base': y: relative error 0.001")


def test_the_parent_is_told_of_a_failure_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Stage, int]] = []

    class Telling(Runner):
        def _report(self, stage: Stage, failures: Sequence[CellFailure]) -> None:
            told.append((stage, len(failures)))

    backend = saved(1.01)
    backend.fault = lambda o: {**o, "y": -o["y"]}
    Telling(monkeypatch)(backend)
    assert told[-5:] == [
        (Stage.VERIFY, 0), (Stage.VERIFY, 1), (Stage.ROUNDTRIP, 1), (Stage.ROUNDTRIP, 2),
        (Stage.MEASURE, 2),
    ]  # fmt: skip


def test_a_check_that_cannot_judge_is_no_further_failure(run: Runner) -> None:
    backend = piped("y")
    backend.fault = lambda o: {**o, "y": -o["y"]}
    backend.pipeline = failing(Inconclusive("too noisy"))  # type: ignore[attr-defined]
    assert run(backend).further == []
    backend.fault = right
    result = run(backend)
    assert (result.outcome, result.stage) == (Outcome.INCONCLUSIVE, Stage.PIPELINE)


def test_only_so_many_failures_are_kept() -> None:
    result = CellResult("thing", "structured", "function", "base", "f32", Stage.RUN, Outcome.PASS)
    for number in range(MOST_FURTHER + 5):
        result.fail(CellFailure(Stage.GENERATE, Outcome.FAIL, f"{number}", "a cause", ""))
    assert [failure.reason for failure in result.failures] == [
        str(number) for number in range(MOST_FURTHER + 1)
    ]


# ---- signatures

SIGNATURE = "thing FunctionModel 768 left:f32[b,16] right:f32[b,16] -> y:f32[b,16] codes:i64[b,16]"


def test_a_model_that_has_its_signature(run: Runner) -> None:
    assert run(signature=SIGNATURE).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("part", "other"),
    [("768", "769"), ("[b,16] ->", "[b,17] ->"), ("FunctionModel", "Model"), ("i64", "i32")],
)
def test_a_model_that_no_longer_has_its_signature(run: Runner, part: str, other: str) -> None:
    recorded = SIGNATURE.replace(part, other, 1)
    result = run(signature=recorded)
    assert (result.outcome, result.stage) == (Outcome.UNTESTED, Stage.REFERENCE)
    assert result.reason == (
        f"signature: expected {recorded!r}, found {SIGNATURE!r}; if the change is meant, "
        f"`python -m harness record thing` writes it down"
    )


def test_a_model_for_one_shape_has_numbers_in_its_signature(run: Runner) -> None:
    made = FunctionCase()
    original = made.inputs

    def inputs(variant: str = "base") -> Arrays:
        if variant == "reshaped":
            raise Unsupported("one shape only")
        return original(variant)

    made.inputs = inputs  # type: ignore[method-assign]
    backend = FunctionBackend(made)
    assert run(backend, signature=SIGNATURE.replace("[b,", "[2,")).outcome is Outcome.PASS
    assert run(backend, signature=SIGNATURE).outcome is Outcome.UNTESTED


def test_a_decision_that_rounding_flips_is_noise_on_that_input_alone(run: Runner) -> None:
    def flips(x: Arrays, w: Arrays) -> Arrays:
        mixed = (x["left"] + x["right"]) @ w["inner"]
        flipped = len(mixed) == 3 and mixed.dtype == np.float32
        return {"y": mixed * mixed.dtype.type(1.06 if flipped else 1.0)}

    assert run(FunctionBackend(FunctionCase(flips))).outcome is Outcome.PASS


def test_the_same_fault_of_a_backend_is_found(run: Runner) -> None:
    def flipped(outputs: Arrays) -> Arrays:
        return {**outputs, "y": outputs["y"] * 1.06} if len(outputs["y"]) == 3 else outputs

    result = run(FunctionBackend(FunctionCase(), flipped))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert "on input 'reshaped'" in result.reason
