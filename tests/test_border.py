"""The border: what a backend returns against the contract, and what is named where it differs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from function_backend import FunctionBackend, FunctionCase, FunctionProgram, Runner, right
from workplace import Workplace

from harness.cell import border, repeats
from harness.contract import (
    GROWTH,
    NONDETERMINISM,
    Array,
    Arrays,
    BrokenContract,
    CellResult,
    Device,
    Generated,
    Outcome,
    Placement,
    Precision,
    Stage,
)

Answer = Callable[[Mapping[str, Array], Arrays, int], Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Runner:
    return Runner(monkeypatch)


class Answering(FunctionProgram):
    """A right program whose inputs and outputs pass through a function, with the call's number."""

    def __init__(self, case: FunctionCase, dtype: str, answer: Answer) -> None:
        super().__init__(case, dtype, right)
        self.answer = answer
        self.calls = 0

    def __call__(self, inputs: Mapping[str, Array]) -> Any:
        self.calls += 1
        return self.answer(inputs, super().__call__(inputs), self.calls)


def answering(answer: Answer) -> FunctionBackend:
    backend = FunctionBackend()
    backend.prepare = lambda case, precision: Answering(case, precision.dtype, answer)  # type: ignore[method-assign]
    return backend


def assert_broken(result: CellResult, promise: str, found: str) -> None:
    """The cell fails for this breach of the contract, without a score."""
    assert result.outcome is Outcome.FAIL, result.error
    assert f"contract: {promise}: " in result.reason
    assert result.reason.split("; also on ")[0].endswith(f"found {found}")
    assert result.cause.startswith(f"contract: {promise}: expected ")
    assert result.score is None or result.reason.startswith("on input ")  # of right outputs


class Tensor:
    """Stands for a library's own tensor."""


ODD_ANSWERS: Mapping[str, tuple[Callable[[Arrays], Any], str]] = {
    "tuple": (lambda o: tuple(o.values()), "tuple"),
    "none": (lambda o: None, "None"),
    "one array": (lambda o: o["y"], "numpy.ndarray"),
    "tensors": (lambda o: {**o, "y": Tensor()}, "test_border.Tensor"),
    "lists": (lambda o: {n: a.tolist() for n, a in o.items()}, "list"),
    "scalar": (lambda o: {**o, "y": o["y"][0, 0]}, "numpy.float32"),
    "by number": (lambda o: dict(enumerate(o.values())), "a key that is int"),
    "objects": (lambda o: {**o, "y": o["y"].astype(object)}, "dtype object"),
    "strings": (lambda o: {**o, "y": o["y"].astype(str)}, "dtype str1024"),
    "complex": (lambda o: {**o, "y": o["y"] * 1j}, "dtype complex64"),
    "bytes": (lambda o: {**o, "y": o["y"].view("V4")}, "dtype void32"),
}


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_outputs_that_are_no_arrays_by_name(run: Runner, name: str) -> None:
    change, found = ODD_ANSWERS[name]
    result = run(answering(lambda _, outputs, __: change(outputs)))
    assert result.stage is Stage.RUN
    if name == "strings":
        found = result.reason.rpartition("found ")[2]
        assert found.startswith("dtype str")
    assert_broken(result, "outputs", found)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_a_floating_output_of_another_dtype(run: Runner, dtype: str) -> None:
    result = run(answering(lambda _, o, __: {**o, "y": o["y"].astype(dtype)}))
    assert_broken(result, "dtype", dtype)
    assert "y: expected float32 from precision float32" in result.reason


def test_half_precision_may_be_returned_as_such_or_in_single(run: Runner) -> None:
    for dtype in ("float16", "float32"):

        def change(_: Any, o: Arrays, __: int, dtype: str = dtype) -> Arrays:
            return {**o, "y": o["y"].astype(dtype)}

        assert run(answering(change), precision="f16").outcome is Outcome.PASS
    wide = run(answering(lambda _, o, __: {**o, "y": o["y"].astype("float64")}), precision="f16")
    assert_broken(wide, "dtype", "float64")


def test_integers_may_have_any_width_but_are_no_floats(run: Runner) -> None:
    narrow = answering(lambda _, o, __: {**o, "codes": o["codes"].astype(np.int32)})
    assert run(narrow).outcome is Outcome.PASS
    floating = answering(lambda _, o, __: {**o, "codes": o["codes"].astype(np.float32)})
    assert_broken(run(floating), "dtype", "float32")


# ---- inputs are read only


def by_numpy(inputs: Mapping[str, Array]) -> None:
    inputs["left"][...] = 0


def past_the_flag(inputs: Mapping[str, Array]) -> None:
    """As `torch.from_numpy` does, which ignores the flag."""
    array = inputs["left"]
    ctypes.memset(array.ctypes.data, 0, array.nbytes)


def by_reshaping(inputs: Mapping[str, Array]) -> None:
    inputs["left"].shape = (-1,)


@pytest.mark.parametrize("write", [by_numpy, past_the_flag, by_reshaping])
@pytest.mark.parametrize("late", [False, True])
def test_a_program_that_writes_into_its_inputs(
    run: Runner, write: Callable[[Mapping[str, Array]], None], late: bool
) -> None:
    def answer(inputs: Mapping[str, Array], outputs: Arrays, call: int) -> Arrays:
        if call > 1 or not late:
            write(inputs)
        return outputs

    result = run(answering(answer))
    assert_broken(result, "wrote into its input", "that an inference changed left")
    assert result.stage is Stage.RUN


def test_a_program_that_writes_into_a_read_only_array_of_its_own(run: Runner) -> None:
    own = np.broadcast_to(np.float32(1), (2,))

    def answer(inputs: Mapping[str, Array], outputs: Arrays, call: int) -> Arrays:
        own[0] = 1
        return outputs

    result = run(answering(answer))
    assert result.reason == "ValueError: assignment destination is read-only"


def test_what_a_backend_writes_into_the_cases_own_arrays_spoils_no_number(run: Runner) -> None:
    class Keeping(FunctionCase):
        """Hands out the same arrays again and again."""

        kept: dict[str, Arrays] = {}  # noqa: RUF012

        def inputs(self, variant: str = "base") -> Arrays:
            return self.kept.setdefault(variant, super().inputs(variant))

    backend = FunctionBackend(Keeping())
    prepare = backend.prepare

    def spoiling(case: FunctionCase, precision: Precision) -> FunctionProgram:
        case.inputs("base")["left"][...] = 0
        return prepare(case, precision)

    backend.prepare = spoiling  # type: ignore[method-assign]
    assert run(backend).outcome is Outcome.PASS


# ---- outputs are the caller's


def test_a_program_that_returns_its_own_buffer_again(run: Runner) -> None:
    buffers: Arrays = {}

    def answer(_: Any, outputs: Arrays, call: int) -> Arrays:
        for name, array in outputs.items():
            kept = buffers.get(name)
            if kept is None or kept.shape != array.shape:
                buffers[name] = array
            else:
                kept[...] = array
        return dict(buffers)

    result = run(answering(answer))
    assert_broken(result, "aliased outputs", "that the next inference wrote into it")
    assert result.reason.startswith("on input 'other': ")


def test_outputs_that_change_after_they_were_returned_are_judged_as_they_were(run: Runner) -> None:
    returned: list[Arrays] = []

    class Late(FunctionProgram):
        def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
            returned.append(super().__call__(inputs))
            return returned[-1]

        def placement(self) -> Placement:
            for outputs in returned:
                outputs["y"][...] = np.nan
            return super().placement()

    backend = FunctionBackend()
    backend.prepare = lambda case, precision: Late(case, precision.dtype, right)  # type: ignore[method-assign]
    assert run(backend).outcome is Outcome.PASS


# ---- programs and placements


@pytest.mark.parametrize(
    ("program", "found"),
    [(None, "None"), (lambda inputs: inputs, "function"), (Placement(1.0, ""), None)],
)
def test_a_program_that_is_none(run: Runner, program: Any, found: str | None) -> None:
    backend = FunctionBackend()
    backend.prepare = lambda case, precision: program  # type: ignore[method-assign]
    result = run(backend)
    assert result.stage is Stage.PREPARE
    assert_broken(result, "program", found or "harness.contract.Placement")


PLACEMENTS: Mapping[str, tuple[Any, str]] = {
    "none": (None, "None"),
    "share alone": (1.0, "float"),
    "nan": (Placement(float("nan"), ""), "nan"),
    "infinite": (Placement(float("inf"), ""), "inf"),
    "negative": (Placement(-0.1, ""), "-0.1"),
    "more than all": (Placement(2.0, ""), "2.0"),
    "text": (Placement("all", ""), "str"),  # type: ignore[arg-type]
    "true": (Placement(True, ""), "bool"),
    "no evidence": (Placement(1.0, None), "None"),  # type: ignore[arg-type]
    "no counts": (Placement(1.0, "", ["Cos"]), "list"),  # type: ignore[arg-type]
    "odd counts": (Placement(1.0, "", {"Cos": "two"}), "dict"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", PLACEMENTS)
def test_a_placement_that_is_none(run: Runner, name: str) -> None:
    placed, found = PLACEMENTS[name]
    backend = FunctionBackend()
    backend.placed = placed
    result = run(backend)
    assert result.stage is Stage.VERIFY
    assert_broken(result, "placement", found)
    assert result.device_share is None


# ---- the other ways to a model


def test_what_the_optional_members_return(run: Runner) -> None:
    odd: Sequence[tuple[str, Any, str, str | None]] = [
        ("pipeline", lambda case, precision: {}, "pipeline", "dict"),
        ("pipeline", lambda case, precision: ({"y": [1]}, {}), "pipeline", "list"),
        ("memory", lambda: None, "memory", "None"),
        ("memory", lambda: float("nan"), "memory", "float"),
        ("dynamic", None, "dynamic", "None"),
        ("narrowed", lambda case: None, "case", None),
        ("from_pretrained", lambda *_: None, "program", "None"),
    ]
    for name, member, promise, found in odd:
        backend = FunctionBackend()
        setattr(backend, name, member)
        result = run(backend)
        assert result.outcome is Outcome.FAIL, name
        assert f"contract: {promise}: " in result.reason
        assert found is None or result.reason.endswith(f"found {found}")


def test_generated_tokens_that_are_none() -> None:
    given = np.ones((2, 4), np.int64)
    ids = np.ones((2, 6), np.int32)
    assert border.generated(Generated(ids), given).sequences.shape == (2, 6)
    raw: Any
    for raw in (None, [[1]], np.ones((2, 6)), np.ones((3, 6), np.int64), np.ones(6, np.int64)):
        with pytest.raises(BrokenContract, match="contract: generate: expected integer"):
            border.generated(Generated(raw), given)
    with pytest.raises(BrokenContract, match=r"expected a [a-z_]+\.contract\.Generated"):
        border.generated(ids, given)


def test_logits_of_generated_tokens_have_a_row_a_step() -> None:
    given, ids = np.ones((2, 4), np.int64), np.ones((2, 6), np.int64)
    border.generated(Generated(ids, np.ones((2, 2, 9), np.float32)), given)
    raw: Any
    for raw in ([], np.ones((2, 3, 9)), np.ones((1, 2, 9)), np.ones((2, 2, 9), int), np.ones(2)):
        with pytest.raises(BrokenContract, match=r"expected logits of shape .* \(2, 2\)"):
            border.generated(Generated(ids, raw), given)


def test_a_pipeline_that_does_not_say_what_it_went_on_from() -> None:
    ids = np.ones((2, 6), np.int64)
    assert border.continued({"input_ids": ids}, {"input_ids": ids[:, :4]}, "input_ids")
    with pytest.raises(BrokenContract, match="contract: pipeline: expected the token ids"):
        border.continued({"input_ids": ids}, {}, "input_ids")
    with pytest.raises(BrokenContract, match="contract: pipeline: expected token ids, by the name"):
        border.continued({"tokens": ids}, {"input_ids": ids}, "input_ids")


def test_a_device_that_is_none() -> None:
    for raw in (None, "CPU", Device("x", "cpu", memory_bytes="16 GB")):  # type: ignore[arg-type]
        with pytest.raises(BrokenContract, match="contract: probe: expected"):
            border.device(raw)


# ---- precisions

PRECISIONS: Mapping[str, tuple[str, str]] = {
    "none called default": ("[Precision('f32', 'float32')]", "each name once, found f32"),
    "strings": ("['default', 'f16']", "found str"),
    "one string": ("'default'", "found str"),
    "nothing": ("None", "found None"),
    "empty": ("[]", "found none"),
    "twice": ("[Precision('default', 'float32')] * 2", "found default, default"),
    "no dtype": ("[Precision('default', None)]", "expected a name and a dtype that are str"),
    "no patience": ("[Precision('default', 'float32', None)]", "expected a patience above 0"),
}


@pytest.mark.parametrize("name", PRECISIONS)
def test_precisions_that_are_none(name: str) -> None:
    source, found = PRECISIONS[name]
    with pytest.raises(BrokenContract) as caught:
        border.precisions(eval(source))
    assert found in str(caught.value)


def test_a_dtype_that_no_noise_floor_is_known_for(run: Runner) -> None:
    backend = FunctionBackend()
    backend.precisions = (Precision("default", "float32"), Precision("posit", "posit16"))
    result = run(backend, precision="posit")
    assert_broken(result, "precision", "'posit16'")
    assert result.reason.startswith(
        "contract: precision: posit: expected a dtype with a noise floor (float64, float32, "
    )
    assert run(backend).outcome is Outcome.PASS


@pytest.mark.parametrize("name", ["none called default", "strings"])
@pytest.mark.parametrize("option", [(), ("--precision", "all"), ("--precision", "f32")])
def test_a_session_says_what_is_wrong_with_the_precisions(
    workplace: Workplace, name: str, option: tuple[str, ...]
) -> None:
    folder = workplace.folder / "kits" / "vendor"
    folder.mkdir(parents=True)
    (folder / "backend.toml").write_text('title = "A vendor"\n', encoding="utf-8")
    source = (
        "from harness.contract import Device, Precision\n"
        "class Backend:\n"
        f"    precisions = {PRECISIONS[name][0]}\n"
        "    def __init__(self, options): pass\n"
        "    def probe(self): return Device('x', 'cpu')\n"
    )
    (folder / "backend.py").write_text(source, encoding="utf-8")
    workplace.write(vision="vit")
    done = workplace.run("vendor", *option, backends=folder.parent)
    assert done.returncode == 4, done.stdout
    assert "ERROR: backend vendor: contract: precisions: expected " in done.stdout
    assert f"Fix: {folder / 'backend.py'}" in done.stdout
    assert "INTERNALERROR" not in done.stdout


# ---- numpy is the harness's too


def test_a_backend_that_replaces_numpys_functions(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: Any, outputs: Arrays, call: int) -> Arrays:
        monkeypatch.setattr(np.linalg, "norm", lambda *_: 0.0)
        return outputs

    assert_broken(run(answering(answer)), "numpy", "numpy.linalg.norm replaced")


# ---- repeated inferences


def test_what_is_wrong_from_the_eleventh_inference_on(run: Runner) -> None:
    def answer(_: Any, outputs: Arrays, call: int) -> Arrays:
        return {**outputs, "y": outputs["y"] * 2} if call > 10 else outputs

    result = run(answering(answer))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.VERIFY)
    assert result.reason.startswith(
        "nondeterminism: inference 11, again on input 'base', differs from the first one: y: "
        "relative error 1, expected at most "
    )


def test_what_depends_on_the_inference_before(run: Runner) -> None:
    """Right on the first inference of each input, which a comparison of those alone would pass."""
    seen: set[bytes] = set()

    def answer(inputs: Mapping[str, Array], outputs: Arrays, call: int) -> Arrays:
        again = inputs["left"].tobytes() in seen
        seen.add(inputs["left"].tobytes())
        return {**outputs, "y": outputs["y"][::-1].copy()} if again and call > 5 else outputs

    result = run(answering(answer))
    assert result.reason.startswith("nondeterminism: ")


def test_nondeterminism_below_the_limit_is_a_note(run: Runner) -> None:
    def answer(_: Any, outputs: Arrays, call: int) -> Arrays:
        other = outputs["y"] * np.float32(1 + 2e-7)
        return {**outputs, "y": other} if call % 5 == 0 else outputs

    result = run(answering(answer))
    assert result.outcome is Outcome.PASS, result.reason
    (found,) = [metric for metric in result.metrics if metric.name == NONDETERMINISM]
    assert 1e-7 < found.value < 4e-7
    assert found.unit == "1"
    assert not [metric for metric in run().metrics if metric.name == NONDETERMINISM]


class Process:
    """A process whose resident memory grows by so many MB with each reading but the first."""

    def __init__(self, growths: Sequence[float]) -> None:
        self.growths = iter(growths)
        self.rss = 0

    def __call__(self) -> Process:
        return self

    def memory_info(self) -> Process:
        self.rss += int(next(self.growths, 0) * 1e6)
        return self


@pytest.mark.parametrize(
    ("growths", "noted", "outcome"),
    [
        ([0, *[3.0] * 30], 3.0, Outcome.PASS),
        ([0, *[320.0] * 30], 320.0, Outcome.FAIL),
        ([0, 500, 100, 50, 10], None, Outcome.PASS),  # a warm-up
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 40], None, Outcome.PASS),  # one more arena
        ([0, *[0.1] * 30], None, Outcome.PASS),
        (
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 0],
            None,
            Outcome.PASS,
        ),  # large outputs find a place
        ([0, *[-5.0] * 30], None, Outcome.PASS),
    ],
)
def test_memory_that_an_inference_leaves_behind(
    run: Runner,
    growths: Sequence[float],
    noted: float | None,
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.cell.border.psutil.Process", Process(growths))
    result = run()
    assert result.outcome is outcome
    found = [metric.value for metric in result.metrics if metric.name == GROWTH]
    assert found == ([] if noted is None else [pytest.approx(noted, rel=1e-3)])
    if outcome is Outcome.FAIL:
        assert result.reason == (
            "memory: expected the process to grow by at most 32 MB with each inference, "
            "found 320 MB"
        )


def test_a_grave_leak_ends_the_repeats(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cell.border.psutil.Process", Process([0, *[320.0] * 30]))
    calls: list[int] = []

    def answer(_: Any, outputs: Arrays, call: int) -> Arrays:
        calls.append(call)
        return outputs

    run(answering(answer))
    variants = 5  # base, other, two probes and another batch
    moved_row = 1
    assert len(calls) == variants + 1 + moved_row  # of which four have the shapes of the first


def test_a_slow_program_is_asked_until_a_leak_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cell.border.psutil.Process", Process([0, *[320.0] * 30]))
    monkeypatch.setattr(repeats, "ENOUGH_SECONDS", 0.0)
    program = border.CheckedProgram(
        FunctionProgram(FunctionCase(), "float32", right), {}, Precision("default", "float32")
    )
    inputs = FunctionCase().inputs()
    made = repeats.repeat(program, inputs, program(inputs), 1)
    assert len(made.seconds) == repeats.LATE
    assert made.leaks_gravely


@pytest.mark.parametrize(("took", "calls"), [(0.0, repeats.INFERENCES - 5), (10.0, 1)])
def test_how_often_an_inference_is_repeated(
    took: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(np.arange(0, 10_000 * (took + 1e-3), took + 1e-3))
    monkeypatch.setattr("harness.cell.border.time.perf_counter", lambda: float(next(times)))
    program = border.CheckedProgram(
        FunctionProgram(FunctionCase(), "float32", right), {}, Precision("default", "float32")
    )
    inputs = FunctionCase().inputs()
    made = repeats.repeat(program, inputs, program(inputs), 5)
    assert len(made.seconds) == calls
    assert made.seconds == pytest.approx([took + 1e-3] * calls)
    assert made.apart == 0.0


def test_a_repeated_inference_that_raises_is_told_from_the_first(run: Runner) -> None:
    inferences = 5  # base, other, two probes and another batch

    def answer(_: Any, outputs: Arrays, call: int) -> Arrays:
        if call > inferences:
            raise RuntimeError("no more")
        return outputs

    result = run(answering(answer))
    assert result.outcome is Outcome.FAIL
    assert result.reason == "again on input 'base': RuntimeError: no more"


NOTED = """
from fakes.good import backend as good
import numpy as np

class Program(good.GoodProgram):
    calls = 0
    def __call__(self, inputs):
        self.calls += 1
        found = super().__call__(inputs)
        by = np.float32(1 + 2e-7 * (self.calls % 5 == 0))
        return {n: a * by if a.dtype == np.float32 else a for n, a in found.items()}

class Backend(good.Backend):
    def prepare(self, case, precision):
        return Program(case, precision.dtype)
"""


def test_a_session_warns_of_nondeterminism(workplace: Workplace) -> None:
    folder = workplace.folder / "kits" / "vendor"
    folder.mkdir(parents=True)
    (folder / "backend.toml").write_text('title = "A vendor"\n', encoding="utf-8")
    (folder / "backend.py").write_text(NOTED, encoding="utf-8")
    workplace.write(vision="vit")
    changes = {"PYTHONPATH": str(Path(__file__).parent)}
    done = workplace.run("vendor", backends=folder.parent, **changes)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 warning" in done.stdout
    assert "CellWarning: vit[vendor-default]: pass, and nondeterministic: " in done.stdout


def test_arrays_are_identical_by_values_whatever_their_bytes() -> None:
    nan, zero = np.array([np.nan, 1.0]), np.array([0.0, 1.0])
    assert border.identical(nan, nan.copy())
    assert border.identical(nan, np.array([-np.nan, 1.0]))
    assert border.identical(zero, np.array([-0.0, 1.0]))
    assert not border.identical(zero, np.array([0.0, 1.5]))
    assert not border.identical(np.zeros((2, 3)), np.zeros((3, 2)))
    large = np.zeros(border.SMALL // 8 + 1)
    assert border.identical(large, large.copy())
    assert not border.identical(large, large + 1)
