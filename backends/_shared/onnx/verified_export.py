"""From a case to a graph that is known to be right on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from backends._shared import positions
from backends._shared.onnx import passes as passes_
from backends._shared.onnx.exporters import ROUTES, Captured, ExportFailed, Route, why
from backends._shared.onnx.runtime import Inference, cpu_session
from backends._shared.onnx.trace import Trace, trace
from harness.contract import Arrays, Case
from harness.toolkit import numerics, padded_inputs

#: The graph must equal PyTorch within this many noise floors of the model, each at least a few
#: roundings: two right float32 results of one model differ by that much.
SMALLEST_FLOOR = 2e-6


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph and how it came about.

    Attributes:
        model: the serialised ONNX model.
        outputs: the model's name of each output -> its position among the graph's outputs.
        fixed: the inputs that the graph holds as constants, with their values.
        route: the exporter's name.
        rewrites: how often each of those applied that changed something.
        base: what the graph gives on the CPU provider for the plain example, in float32.
    """

    model: bytes
    outputs: Mapping[str, int]
    fixed: Arrays
    route: str
    rewrites: Mapping[str, int]
    base: Arrays


@dataclass(frozen=True, slots=True)
class _Expected:
    """What PyTorch gives in float32, and how far two right results lie apart."""

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
    """The right graphs that the routes lead to, in their order; each is made when it is asked for.

    Each is rewritten, and seen to be still right. The first one serves, unless a provider cannot
    take all of it: another route may then give a graph that it can.

    Args:
        case: whose module is exported.
        rewrites: the passes to apply.
        static: whether the provider takes static shapes alone. Of the graphs with lengths that
            follow from values only the first one is then made, and last.
        known: the name of a route whose graph is there already, and not made again.

    Raises:
        ExportFailed: no route leads to a graph that the CPU provider computes right; the fault is
            the exporter's, or ours where the message has `Broken`, not that of a provider which
            runs the graph.
    """
    inputs = {"base": case.inputs("base"), "other": case.inputs("other")}
    padded = padded_inputs.padded_batches(case, inputs["base"]).values()
    asked = [*inputs.values(), *map(positions.completing(case, anew=True), padded)]
    expected = _expected(case, inputs)
    failures: list[tuple[Route, Exception]] = []
    found = bool(known)
    tried, captures = set(), set()
    later: list[tuple[Route, Callable[[], Exported]]] = []
    for route in ROUTES:
        fixed = route.fixes(asked) if route.fixes else frozenset()
        tried_before = (route.capture, fixed) in tried  # nothing more to fix than then
        tried.add((route.capture, fixed))
        if tried_before or route.name == known:
            continue
        try:
            traced = trace(case, expected.inputs["base"], fixed)
            captured = route.capture(traced)
            same = (captured.program, fixed)
            if captured.program and same in captures:
                continue  # another way to the same program
            captures.add(same)
            make = partial(_made, captured, traced, route, rewrites, expected)
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
            "; ".join(f"{route.name}: {why(error)}" for route, error in failures)
        ) from failures[0][1]


def _made(
    captured: Captured,
    traced: Trace,
    route: Route,
    rewrites: Sequence[passes_.Pass],
    expected: _Expected,
) -> Exported:
    """The graph of one route, checked, rewritten, and checked again."""
    model = captured.graph()
    _answers(ir.serde.serialize_model(model).SerializeToString(), traced, expected)
    return _rewritten(model, traced, route, rewrites, expected)


def _rewritten(
    model: ir.Model,
    traced: Trace,
    route: Route,
    rewrites: Sequence[passes_.Pass],
    expected: _Expected,
) -> Exported:
    """The graph after the passes.

    Raises:
        passes.Broken: a rewrite changes the result, or cannot be run; the fault is ours.
    """
    changed = passes_.apply(model, rewrites)
    data = ir.serde.serialize_model(model).SerializeToString()
    try:
        base = _answers(data, traced, expected)
    except Exception as error:
        raise passes_.Broken(
            f"the graph was right before the rewrites {', '.join(changed)}, and is not since: "
            f"{why(error)}"
        ) from error
    return Exported(data, traced.outputs, dict(traced.fixed), route.name, changed, base)


def _expected(case: Case, inputs: Mapping[str, Arrays]) -> _Expected:
    outputs = {name: case.reference(given, "float32") for name, given in inputs.items()}
    moved = numerics.difference(case.jittered(inputs["base"], "float32"), outputs["base"])
    return _Expected(inputs, outputs, max(moved.error, SMALLEST_FLOOR))


def _answers(model: bytes, traced: Trace, expected: _Expected) -> Arrays:
    """The graph's outputs on the plain example.

    Raises:
        ArithmeticError: the graph gives other values than PyTorch.
        What ONNX Runtime raises on a graph that it cannot load or run.
    """
    infer = Inference(cpu_session(model), traced.outputs, traced.fixed)
    found = {name: infer(inputs) for name, inputs in expected.inputs.items()}
    for name, got in found.items():
        apart = numerics.difference(got, expected.outputs[name])
        if numerics.is_wrong(apart, expected.floor):
            raise ArithmeticError(
                f"on ONNX Runtime's CPU provider, input {name!r}: "
                f"{numerics.explain(apart, expected.floor)}"
            )
    return found["base"]
