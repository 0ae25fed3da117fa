"""Conformance: each point of the contract fails on a backend that is wrong in just that way."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from function_backend import WIDTH, FunctionBackend, FunctionCase, FunctionProgram, cast, right
from language_backend import LanguageBackend, forgetful
from workplace import FAKES, Workplace

from harness.__main__ import main
from harness.catalog import backends
from harness.catalog.backend_spec import BackendSpec
from harness.cell.conformance.check import check
from harness.cell.conformance.finding import PointFinding, PointState
from harness.cell.conformance.points import POINTS
from harness.cell.conformance.request import ConformanceRequest
from harness.cell.request import Job
from harness.contract import (
    Absent,
    Arrays,
    Case,
    Cell,
    Device,
    Entry,
    ExportedFile,
    MeterReading,
    Placement,
    Precision,
    Unavailable,
    Unsupported,
)
from harness.workers import conformance as parents_side

ENTRY = Entry("thing", "structured", "function")
CELL = Cell(ENTRY, "fake")


def pair(x: Arrays, w: Arrays) -> Arrays:
    """Two outputs of one shape, and integers."""
    y = np.tanh(x["left"] @ w["inner"]) @ w["outer"] + x["right"] @ w["other"]
    z = np.tanh(x["right"] @ w["outer"]) @ w["inner"] + x["left"] @ w["other"]
    return {"y": y, "z": z, "codes": np.floor(4 * y).astype(np.int64)}


class SeededCase(FunctionCase):
    """A case whose weights follow from a seed."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(pair)
        self.seed = seed
        self.own: Arrays = {}

    def module(self) -> Arrays:
        random = np.random.default_rng(self.seed)
        made = {
            name: (random.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
            for name in self.weights()
        }
        return made | self.own


class SoundProgram(FunctionProgram):
    """A right program that refuses inputs that are none."""

    calls = 0
    kept: Any = None

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        if not {"left", "right"} <= inputs.keys():
            raise ValueError(f"expected left and right, found {list(inputs)}")
        self.calls += 1
        self.given = inputs
        return super().__call__(inputs)


Change = Callable[[SoundProgram, Arrays], Any]


class Sound(FunctionBackend):
    """A backend that keeps every promise, with all optional members."""

    any_arguments = True

    def __init__(self, change: Change | None = None) -> None:
        super().__init__()
        self.change = change

    def probe(self) -> Any:
        return Device("Fake 1", "npu", {"fake": "1.0"})

    def case(self, entry: Entry, seed: int, size: str, head: str) -> Any:
        return SeededCase(seed)

    def prepare(self, case: Any, precision: Precision) -> Any:
        program = SoundProgram(case, precision.dtype, right)
        program.placed = self.placed
        if self.change is not None:
            change = self.change
            program.fault = lambda outputs: change(program, outputs)
        return program

    def from_pretrained(self, folder: Path, case: Any, precision: Precision) -> Any:
        return self.prepare(case, precision)

    def pipeline(self, case: Any, precision: Precision) -> Any:
        fed = case.inputs("other")
        return self.prepare(case, precision)(fed), fed

    def memory(self) -> Any:
        return 0

    def meter(self) -> Any:
        return MeterReading()

    def exported(self, case: Any, precision: Precision, inputs: Arrays, path: Path) -> Any:
        file = path.with_suffix(".fake")
        file.write_text("a program", encoding="utf-8")
        return ExportedFile(file, dict(inputs), {"y": 0, "z": 1})


def having(**members: Any) -> Sound:
    """A sound backend with other members; functions get it as their first argument."""
    made = type("Backend", (Sound,), members)()
    assert isinstance(made, Sound)
    return made


def placing(placement: Placement) -> Sound:
    """A backend whose programs say that they ran there."""
    made = Sound()
    made.placed = placement
    return made


def found(
    monkeypatch: pytest.MonkeyPatch, backend: Any, point: str, cell: Cell = CELL
) -> PointFinding:
    """The finding of a point, in this process."""
    monkeypatch.setattr(backends, "find", lambda *_: BackendSpec(Path("here"), "A fake"))
    monkeypatch.setattr(backends, "load", lambda *_: backend)
    job = Job(cell, 0, "tiny", Path())
    return check(ConformanceRequest(point, job), lambda stage, failures: None)


# ---- programs that are wrong


def write_past_the_flag(program: SoundProgram, outputs: Arrays) -> Arrays:
    array = program.given["left"]
    ctypes.memset(array.ctypes.data, 0, array.nbytes)
    return outputs


def own_buffer(program: SoundProgram, outputs: Arrays) -> Arrays:
    kept = program.kept = program.kept or {}
    for name, array in outputs.items():
        if name in kept and kept[name].shape == array.shape:
            kept[name][...] = array
        else:
            kept[name] = array
    return dict(kept)


def sum_of_calls(program: SoundProgram, outputs: Arrays) -> Arrays:
    """An input that comes again, after another one, is answered wrong."""
    key = program.given["left"].tobytes()
    seen = program.kept = program.kept or []
    again = key in seen and seen[-1] != key
    seen.append(key)
    return {n: a * np.float32(1.001) if n == "y" and again else a for n, a in outputs.items()}


def late_noise(program: SoundProgram, outputs: Arrays) -> Arrays:
    return {**outputs, "y": outputs["y"] * np.float32(1.01 if program.calls > 12 else 1)}


def leaking(program: SoundProgram, outputs: Arrays) -> Arrays:
    program.kept = [*(program.kept or []), np.ones(500_000)]  # 4 MB
    return outputs


def bytes_of_memory(program: SoundProgram, outputs: Arrays) -> Arrays:
    """As an SDK in C reads an array, whatever its strides."""
    given = {}
    for name, array in program.given.items():
        held = np.array(array, order="K", copy=None)
        raw = ctypes.string_at(held.ctypes.data, held.nbytes)
        given[name] = np.frombuffer(raw, held.dtype).reshape(held.shape)
    return pair(cast(given, program.dtype), cast(program.weights, program.dtype))


def fixed_shape(program: SoundProgram, outputs: Arrays) -> Arrays:
    shape = program.given["left"].shape
    program.kept = program.kept or shape
    if shape != program.kept:
        raise RuntimeError(f"compiled for {program.kept}")
    return outputs


class Lenient(SoundProgram):
    """Answers whatever it is given."""

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        return super().__call__(inputs if "left" in inputs else self.case.inputs())


class Poisoned(SoundProgram):
    """Wrong after inputs that it has refused."""

    def __call__(self, inputs: Mapping[str, Any]) -> Any:
        if "left" not in inputs:
            self.weights = {name: 1.01 * array for name, array in self.weights.items()}
        return super().__call__(inputs)


def preparing(program: type[FunctionProgram]) -> Callable[..., Any]:
    return lambda self, case, precision: program(case, precision.dtype, right)


def global_weights(self: Any, case: Any, precision: Precision) -> Any:
    """The weights of all programs are those of the first one, kept by the model's name."""
    program = SoundProgram(case, precision.dtype, right)
    self.held = program.weights = getattr(self, "held", program.weights)
    return program


def spoils_the_case(self: Any, case: Any, precision: Precision) -> Any:
    program = SoundProgram(case, precision.dtype, right)
    case.own = {"inner": case.module()["inner"] * np.float32(1.01)}
    return program


def swallows(self: Any, case: Any, precision: Precision) -> Any:
    try:
        return SoundProgram(case, precision.dtype, right)
    except Absent as error:
        raise RuntimeError("conversion failed") from error


def replaces_numpy(program: SoundProgram, outputs: Arrays) -> Arrays:
    np.linalg.cond = lambda *_: 0.0
    return outputs


def raising(error: Exception) -> Callable[..., Any]:
    def method(self: Any, *given: Any) -> Any:
        raise error

    return method


def returning(value: Any) -> Callable[..., Any]:
    return lambda self, *given: value


def answers(change: Callable[[Arrays], Any]) -> Sound:
    """A backend whose every answer is changed."""
    return Sound(lambda _, outputs: change(outputs))


#: The points that see a case's own model: other ways to the model follow it.
SPOILT = ["case", "pipeline", "from_pretrained"]

#: A backend, the points that say so and no others, and what the first of them says.
FAULTS: Mapping[str, tuple[Callable[[], Any], Sequence[str], str]] = {
    "no device": (lambda: having(probe=returning("cpu")), ["probe"], "Device, found str"),
    "unnamed device": (
        lambda: having(probe=returning(Device(" ", "npu", {"a": "1"}))),
        ["probe"],
        "a Device with a name",
    ),
    "odd kind": (
        lambda: having(probe=returning(Device("x", "tpu", {"a": "1"}))),
        ["probe"],
        "cpu, gpu, npu, found 'tpu'",
    ),
    "no versions": (lambda: having(probe=returning(Device("x", "npu"))), ["probe"], "versions"),
    "a stand-in unasked": (
        lambda: having(probe=returning(Device("x", "npu", {"a": "1"}, fallback="cpu"))),
        ["probe"],
        "--fallback asks",
    ),
    "unavailable without a fix": (
        lambda: having(probe=raising(Unavailable("none here", ""))),
        ["probe"],
        "its reason and its fix",
    ),
    "a misspelt member": (
        lambda: having(generatr=returning(None)),
        ["members"],
        "expected the optional member `generator`, found `generatr`",
    ),
    "too few arguments": (
        lambda: having(pipeline=lambda self, case: None),
        ["members", "pipeline"],
        "pipeline as a method that takes 2 arguments",
    ),
    "a flag that is none": (lambda: having(dynamic="no"), ["members", "shapes"], "True or False"),
    "negative memory": (lambda: having(memory=returning(-1)), ["memory"], "not below 0"),
    "odd meter": (lambda: having(meter=returning(3.0)), ["meter"], "MeterReading or None"),
    "no program": (lambda: having(prepare=returning(None)), ["prepare"], "a Program"),
    "raises in prepare": (
        lambda: having(prepare=raising(RuntimeError("no converter"))),
        ["prepare"],
        "RuntimeError: no converter",
    ),
    "a tuple": (lambda: answers(lambda o: tuple(o.values())), ["types"], "found tuple"),
    "lists": (lambda: answers(lambda o: {**o, "y": o["y"].tolist()}), ["types"], "found list"),
    "another name": (
        lambda: answers(lambda o: {"Y" if n == "y" else n: a for n, a in o.items()}),
        ["names", "order", "numbers", "pipeline", "shapes", "two programs"],
        "expected outputs named y, z, codes, found Y, z, codes",
    ),
    "flat": (
        lambda: answers(lambda o: {**o, "y": o["y"].reshape(-1)}),
        ["names", "numbers", "pipeline", "shapes", "two programs"],
        "y: expected shape (2, 16), found (32,)",
    ),
    "swapped": (
        lambda: answers(lambda o: {**o, "y": o["z"], "z": o["y"]}),
        ["order", "numbers", "pipeline", "shapes", "two programs"],
        "the values of y under its own name, found them under z",
    ),
    "doubles": (
        lambda: answers(lambda o: {n: a.astype("f8") if n == "y" else a for n, a in o.items()}),
        ["dtypes", "from_pretrained"],
        "y: expected float32",
    ),
    "not finite": (
        lambda: answers(
            lambda o: {**o, "y": np.where(o["y"] == o["y"].max(), np.float32(np.inf), o["y"])}
        ),
        ["finite", "numbers", "pipeline", "shapes", "two programs"],
        "y: 1 of 32 values are not finite",
    ),
    "a thousandth off": (
        lambda: answers(lambda o: {**o, "y": o["y"] * np.float32(1.001)}),
        ["numbers", "pipeline", "shapes", "two programs"],
        "relative error 0.00",
    ),
    "one shape": (lambda: Sound(fixed_shape), ["shapes"], "or `dynamic = False` on the backend"),
    "a share of 2": (lambda: placing(Placement(2.0, "sure")), ["placement"], "found 2.0"),
    "no evidence": (lambda: placing(Placement(1.0, "")), ["placement"], "evidence"),
    "a share alone": (lambda: placing(Placement(0.5, "ok")), ["placement"], "fallback_ops"),
    "a share too many": (
        lambda: placing(Placement(1.0, "ok", {"Add": 2})),
        ["placement"],
        "below 1 where operators ran elsewhere",
    ),
    "writes": (lambda: Sound(write_past_the_flag), ["read-only"], "an inference changed left"),
    "reads memory": (lambda: Sound(bytes_of_memory), ["layout"], "in Fortran order'"),
    "its own buffer": (lambda: Sound(own_buffer), ["aliasing"], "the next inference wrote"),
    "remembers": (lambda: Sound(sum_of_calls), ["stateless"], "relative error"),
    "late noise": (lambda: Sound(late_noise), ["deterministic"], "nondeterminism: inference 13"),
    "weights by name": (
        lambda: having(prepare=global_weights),
        ["two programs"],
        "the second one, of other weights",
    ),
    "spoils the case": (lambda: having(prepare=spoils_the_case), SPOILT, "its model as it was"),
    "leaks": (lambda: Sound(leaking), ["growth"], "found 4.0 MB"),
    "answers nothing": (
        lambda: having(prepare=preparing(Lenient)),
        ["bad inputs"],
        "an Exception for no inputs at all",
    ),
    "poisoned": (
        lambda: having(prepare=preparing(Poisoned)),
        ["bad inputs"],
        "after inputs that are none",
    ),
    "swallows": (lambda: having(prepare=swallows), ["absent"], "found RuntimeError: conversion"),
    "a bare pipeline": (
        lambda: having(pipeline=lambda self, case, precision: {}),
        ["pipeline"],
        "found dict",
    ),
    "loads nothing": (lambda: having(from_pretrained=returning(None)), ["from_pretrained"], "None"),
    "exports nothing": (lambda: having(exported=returning(None)), ["exported"], "ExportedFile"),
    "no file": (
        lambda: having(exported=returning(ExportedFile(Path("nowhere"), {}, {}))),
        ["exported"],
        "a file at its path, found none",
    ),
    "numpy": (lambda: Sound(replaces_numpy), ["numpy"], "numpy.linalg.cond replaced"),
    "no default": (
        lambda: having(precisions=(Precision("f16", "float16"),)),
        ["precisions"],
        "one of them called `default`",
    ),
    "no such dtype": (
        lambda: having(precisions=(Precision("default", "float32"), Precision("fp8", "fp8_e4m3"))),
        ["precisions"],
        "a dtype with a noise floor",
    ),
}


def test_a_sound_backend_keeps_every_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    for point in POINTS:
        finding = found(monkeypatch, Sound(), point)
        unchecked = point in ("generator", "refusal")
        assert finding.state is (PointState.UNCHECKED if unchecked else PointState.HOLDS), (
            point,
            finding,
        )


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_breaks_its_points_and_no_others(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make, broken, said = FAULTS[name]
    seen = {}
    for point in POINTS:
        monkeypatch.setattr(np.linalg, "cond", np.linalg.cond)  # one of the faults replaces it
        seen[point] = found(monkeypatch, make(), point)
        monkeypatch.undo()
    failed = {point: f.text for point, f in seen.items() if f.state is PointState.BROKEN}
    assert failed.keys() == set(broken), failed
    assert said in seen[broken[0]].text


def test_a_backend_that_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> Any:
        raise RuntimeError("no driver")

    monkeypatch.setattr(backends, "find", lambda *_: BackendSpec(Path("here"), "A fake"))
    monkeypatch.setattr(backends, "load", fails)
    job = Job(CELL, 0, "tiny", Path())
    seen = {p: check(ConformanceRequest(p, job), lambda stage, failures: None) for p in POINTS}
    broken = {point: f.text for point, f in seen.items() if f.state is PointState.BROKEN}
    assert broken == {"opens": "RuntimeError: no driver"}


def test_each_point_is_seen_to_fail() -> None:
    elsewhere = {"opens", "generator", "refusal"}  # by tests of their own
    assert {broken[0] for _, broken, _ in FAULTS.values()} | elsewhere == POINTS.keys()


def test_a_generator_is_held_to_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, LanguageBackend(), "generator").state is PointState.HOLDS
    wrong = found(monkeypatch, LanguageBackend({"plain": forgetful}), "generator")
    assert wrong.state is PointState.BROKEN
    assert "logits: relative error" in wrong.text
    bare = LanguageBackend()
    bare.generated = lambda request: request.inputs["input_ids"]  # type: ignore[method-assign, assignment, return-value]
    assert "expected a harness.contract.Generated" in found(monkeypatch, bare, "generator").text


# ---- refusals, on a real model with an operator that nobody has


def refusing(monkeypatch: pytest.MonkeyPatch, refuse: Callable[[Any], None]) -> PointFinding:
    """The finding of `refusal` on a backend that does this to a model with the operator."""
    pytest.importorskip("transformers")
    from backends._shared.torch.backend import CpuBackend
    from harness.catalog import model_lists

    class Backend(CpuBackend):
        def prepare(self, case: Case, precision: Precision) -> Any:
            program = super().prepare(case, precision)
            if type(program.module).__name__ == "ForeignModel":
                refuse(program)
            return program

    bert = model_lists.load().entries["bert"]
    return found(monkeypatch, Backend({}), "refusal", Cell(bert, "fake"))


def test_a_refusal_says_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(program: Any) -> None:
        raise Unsupported("no kernel for conformance::frobnicate")

    def plain(program: Any) -> None:
        raise KeyError("conformance::frobnicate")

    def silent(program: Any) -> None:
        raise Unsupported("cannot")

    assert refusing(monkeypatch, lambda program: None).text.startswith("it runs an operator")
    assert refusing(monkeypatch, unsupported) == PointFinding(
        PointState.HOLDS, "Unsupported: no kernel for conformance::frobnicate"
    )
    assert "would count as unsupported" in refusing(monkeypatch, plain).text
    assert refusing(monkeypatch, silent) == PointFinding(
        PointState.BROKEN,
        "refusal: expected a message that names the operator frobnicate, found Unsupported: cannot",
    )


def test_a_backend_that_reads_saved_models_is_asked_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers")
    from backends._shared.torch.backend import CpuBackend
    from harness.catalog import model_lists

    class Backend(CpuBackend):
        def prepare(self, case: Case, precision: Precision) -> Any:
            with TemporaryDirectory() as folder:
                case.save(Path(folder))
            return super().prepare(case, precision)

    cell = Cell(model_lists.load().entries["bert"], "fake")
    for point, state in (("refusal", PointState.UNCHECKED), ("absent", PointState.HOLDS)):
        assert found(monkeypatch, Backend({}), point, cell).state is state


def test_an_operator_that_is_left_out_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def left_out(program: Any) -> None:
        forward = program.module.forward
        program.module.forward = lambda **given: {n: t / 2 for n, t in forward(**given).items()}

    finding = refusing(monkeypatch, left_out)
    assert finding.state is PointState.BROKEN
    assert "operator frobnicate: expected the right numbers or an Unsupported" in finding.text


# ---- the command


def command(workplace: Workplace, capfd: Any, name: str, *arguments: str) -> tuple[int, str]:
    """Exit status and print of `check-backend`, in this process."""
    given = ["check-backend", name, f"--backends-dir={FAKES}", *arguments]
    if workplace.lists.exists():
        given.append(f"--lists={workplace.lists}")
    status = main(given)
    printed = capfd.readouterr()
    return status, printed.out + printed.err


def test_points_of_a_sound_backend(workplace: Workplace, capfd: Any) -> None:
    points = "--points=numbers,meter"
    status, text = command(workplace, capfd, "good", points, "--models=bert,gpt2")
    assert status == 0
    assert text.splitlines() == [
        "good, precision default, on bert, gpt2",
        "",
        "probe    yes  Fake 1 (cpu, emulated); fake 1.0",
        text.splitlines()[3],
        "meter    -    the backend has no meter()",
        "",
        "2 of 3 points hold, 0 broken, 1 not checked",
    ]
    assert text.splitlines()[3].startswith("numbers  yes  score ")
    assert text.splitlines()[3].endswith(" (2 of 2 cases)")


def test_points_as_json(workplace: Workplace, capfd: Any) -> None:
    status, text = command(workplace, capfd, "good", "--points=types", "--models=bert", "--json")
    _, row = json.loads(text)
    assert status == 0
    assert row["promise"] == POINTS["types"].promise
    assert row["cases"] == [
        {"cell": "bert[good-default]", "state": "holds", "text": "1 numpy array by name"}
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("segfault", "crash: killed by SIGSEGV"),
        ("exits", "crash: sys.exit(goodbye) was called"),
        ("leaves", "crash: the process left with exit code 3"),
        ("hang", "timeout: still at prepare after 1 s"),
        ("big", "MemoryError"),
    ],
)
def test_a_crash_or_a_hang_costs_its_own_point(
    workplace: Workplace, capfd: Any, entry: str, said: str
) -> None:
    workplace.write(vision=entry)
    points = ("--points=probe,prepare,dtypes", "--timeout=1")
    status, text = command(workplace, capfd, "faulty", f"--models={entry}", *points)
    rows = [line.split(None, 2) for line in text.splitlines()[2:5]]
    assert status == 1
    assert [row[:2] for row in rows] == [["probe", "yes"], ["prepare", "NO"], ["dtypes", "-"]]
    assert said in rows[1][2]
    assert rows[2][2].startswith("prepare: ")


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="daemons fork")
def test_a_daemon_is_found_and_ended(workplace: Workplace, capfd: Any) -> None:
    workplace.write(vision="daemon good")
    status, text = command(workplace, capfd, "faulty", "--models=daemon", "--points=processes")
    assert status == 1
    assert "processes  NO   processes: expected none to outlive" in text
    assert "found 1: " in text
    status, text = command(workplace, capfd, "faulty", "--models=good", "--points=processes")
    assert status == 0, text


def test_what_cannot_be_asked_is_said(workplace: Workplace, capfd: Any) -> None:
    assert command(workplace, capfd, "good", "--points=alias")[0] == 2
    status, text = command(workplace, capfd, "good", "--points=placment")
    assert status == 2
    assert "Did you mean `placement`?" in text
    status, text = command(workplace, capfd, "unavailable", "--points=numbers", "--models=bert")
    assert status == 2
    assert "expected the device of unavailable" in text


def test_every_promise_is_one_line() -> None:
    for name, promise in parents_side.PROMISES.items():
        assert promise.endswith("."), name
        assert len(promise) < 120, name
