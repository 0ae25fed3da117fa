"""Export of a case to ONNX graphs that are verified on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from backends._shared import positions
from backends._shared.export_failed import ExportFailed, innermost_cause
from backends._shared.onnx import passes as passes_
from backends._shared.onnx.exporters import ROUTES, Captured, Route
from backends._shared.onnx.runtime import Inference, cpu_session
from backends._shared.onnx.tensor_module import ExportInput, export_input
from harness.contract import Arrays, Case
from harness.toolkit import numerics, padded_inputs

#: The least noise floor that a graph is judged by, a relative error: a few roundings of float32,
#: by which two right results of one model differ.
SMALLEST_FLOOR = 2e-6


@dataclass(frozen=True, slots=True)
class Exported:
    """A verified graph, and how it came about.

    Attributes:
        model: the serialised ONNX model.
        outputs: the model's name of each output -> its position among the graph's outputs.
        fixed: the inputs that the graph holds as constants, with their values.
        route: the exporter's name.
        rewrites: pass -> how often it applied; passes that changed nothing are left out.
        base: the graph's float32 outputs on the CPU provider for the plain example.
    """

    model: bytes
    outputs: Mapping[str, int]
    fixed: Arrays
    route: str
    rewrites: Mapping[str, int]
    base: Arrays


@dataclass(frozen=True, slots=True)
class _Expected:
    """PyTorch's float32 outputs on each example, and the model's noise floor in float32."""

    inputs: Mapping[str, Arrays]
    outputs: Mapping[str, Arrays]
    floor: float


def exports(
    case: Case,
    rewrites: Sequence[passes_.Pass] = (),
    *,
    static: bool = False,
    known: str = "",
) -> Iterator[Exported]:
    """The verified graphs of the routes, in the routes' order; each is made when it is asked for.

    Each graph is rewritten and verified again. The first one serves, unless a provider takes only
    a part of it: another route may then give a graph that the provider takes as a whole.

    Args:
        case: whose module is exported.
        rewrites: the passes to apply.
        static: whether the provider takes static shapes alone. Of the graphs with lengths that
            follow from values only the first one is then made, after all others.
        known: the name of a route whose graph is there already, and is not made again.

    Raises:
        ExportFailed: no route leads to a graph that the CPU provider computes right; the fault is
            the exporter's, or ours where the message has `Broken`, not that of a provider which
            runs the graph.
    """
    inputs = {"base": case.inputs("base"), "other": case.inputs("other")}
    padded = padded_inputs.padded_batches(case, inputs["base"]).values()
    asked = [*inputs.values(), *map(positions.completer(case, anew=True), padded)]
    expected = _expected(case, inputs)
    failures: list[tuple[Route, Exception]] = []
    found = bool(known)
    tried, captures = set(), set()
    later: list[tuple[Route, Callable[[], Exported]]] = []
    for route in ROUTES:
        fixed = route.fixes(asked) if route.fixes else frozenset()
        tried_before = (route.capture, fixed) in tried  # under another name
        tried.add((route.capture, fixed))
        if tried_before or route.name == known:
            continue
        try:
            given = export_input(case, expected.inputs["base"], fixed)
            captured = route.capture(given)
            same = (captured.program, fixed)
            if captured.program and same in captures:
                continue  # the same program as an earlier route's
            captures.add(same)
            make = partial(_made, captured, given, route, rewrites, expected)
            if static and captured.sized_by_values:
                later.append((route, make))
                continue
            made = make()
        except Exception as error:
            failures.append((route, error))
            continue
        found = True
        yield made
    for route, make_late in later:
        try:
            made = make_late()
        except Exception as error:
            failures.append((route, error))
            continue
        yield made
        return
    if not found:
        raise ExportFailed(
            "; ".join(f"{route.name}: {innermost_cause(error)}" for route, error in failures)
        ) from failures[0][1]


def _made(
    captured: Captured,
    given: ExportInput,
    route: Route,
    rewrites: Sequence[passes_.Pass],
    expected: _Expected,
) -> Exported:
    """The graph of one route: verified, rewritten, and verified again."""
    model = captured.graph()
    _verified_outputs(ir.serde.serialize_model(model).SerializeToString(), given, expected)
    return _rewritten(model, given, route, rewrites, expected)


def _rewritten(
    model: ir.Model,
    given: ExportInput,
    route: Route,
    rewrites: Sequence[passes_.Pass],
    expected: _Expected,
) -> Exported:
    """The graph after the passes.

    Raises:
        passes.Broken: the rewritten graph gives another result, or cannot be run; our fault.
    """
    changed = passes_.apply(model, rewrites)
    data = ir.serde.serialize_model(model).SerializeToString()
    try:
        base = _verified_outputs(data, given, expected)
    except Exception as error:
        raise passes_.Broken(
            f"the graph was right before the rewrites {', '.join(changed)}, and is not since: "
            f"{innermost_cause(error)}"
        ) from error
    return Exported(data, given.outputs, dict(given.fixed), route.name, changed, base)


def _expected(case: Case, inputs: Mapping[str, Arrays]) -> _Expected:
    outputs = {name: case.reference(given, "float32") for name, given in inputs.items()}
    moved = numerics.difference(case.jittered(inputs["base"], "float32"), outputs["base"])
    return _Expected(inputs, outputs, max(moved.error, SMALLEST_FLOOR))


def _verified_outputs(model: bytes, given: ExportInput, expected: _Expected) -> Arrays:
    """The graph's outputs on the plain example, once those on every example are verified.

    Raises:
        ArithmeticError: the graph gives other values than PyTorch.
        What ONNX Runtime raises on a graph that it cannot load or run.
    """
    infer = Inference(cpu_session(model), given.outputs, given.fixed)
    found = {name: infer(inputs) for name, inputs in expected.inputs.items()}
    for name, got in found.items():
        apart = numerics.difference(got, expected.outputs[name])
        if numerics.is_wrong(apart, expected.floor):
            raise ArithmeticError(
                f"on ONNX Runtime's CPU provider, input {name!r}: "
                f"{numerics.explain(apart, expected.floor)}"
            )
    return found["base"]
