"""Export of a case to ONNX graphs that are verified on ONNX Runtime's CPU provider."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import onnx
import onnx_ir as ir

from backends._shared import positions
from backends._shared.export_failed import ExportFailed, innermost_cause
from backends._shared.onnx import passes as passes_
from backends._shared.onnx.exporters import ROUTES, Captured, Route
from backends._shared.onnx.runtime import Inference, cpu_session
from backends._shared.onnx.tensor_module import ExportInput, export_input
from harness.contract import Arrays, Case
from harness.toolkit import kept_failures, numerics, padded_inputs

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


@dataclass(frozen=True, slots=True)
class Attempt:
    """Outcome of one route on a case, for all backends: no provider's rewrites are in it.

    Attributes:
        sized_by_values: as of `Captured`.
        program: as of `Captured`.
        right: the verified graph, without rewrites; None where it was not made.
        failure: the innermost cause of what failed; empty where nothing did.
        captured: whether the program was captured at all.
    """

    sized_by_values: bool = False
    program: str = ""
    right: Exported | None = None
    failure: str = ""
    captured: bool = True


class Shelf(Protocol):
    """Keeps what the routes made of one case."""

    def get(self, route: str, fixed: frozenset[str]) -> Attempt | None:
        """The attempt of a route with some inputs as constants; None where nobody knows."""

    def put(self, route: str, fixed: frozenset[str], attempt: Attempt) -> None:
        """Keep what a route made."""


class RouteFailed(Exception):
    """A route's failure that is known from before; the message is its innermost cause."""


@dataclass(slots=True)
class _Trial:
    """One route on one case: from the shelf, or made here and put there."""

    case: Case
    expected: _Expected
    route: Route
    fixed: frozenset[str]
    shelf: Shelf
    kept: Attempt | None = None
    given: ExportInput | None = None
    captured: Captured | None = None

    def attempt(self, *, whole: bool) -> Attempt:
        """The attempt of the route.

        Args:
            whole: whether the graph is wanted, or what is known once the program is captured.

        Raises:
            RouteFailed: it failed before.
            What the exporter raises, and `_verified_outputs`.
        """
        if self.kept is None:
            self.kept = self.shelf.get(self.route.name, self.fixed)
        kept = self.kept
        if kept is not None and kept.failure and (whole or not kept.captured):
            raise RouteFailed(kept.failure)
        if kept is not None and (kept.right is not None or not whole):
            return kept
        try:
            captured = self._captured()
            if not whole:
                return captured
            made = replace(captured, right=self._right())
        except Exception as error:
            if kept_failures.lasting(error):
                found = Attempt(captured=False) if self.captured is None else self._captured()
                self.keep(replace(found, failure=innermost_cause(error)))
            raise
        self.keep(made)
        return made

    def keep(self, attempt: Attempt) -> None:
        """Put on the shelf what the route makes."""
        self.shelf.put(self.route.name, self.fixed, attempt)

    def _captured(self) -> Attempt:
        if self.given is None or self.captured is None:
            self.given = export_input(self.case, self.expected.inputs["base"], self.fixed)
            self.captured = self.route.capture(self.given)
        return Attempt(self.captured.sized_by_values, self.captured.program)

    def _right(self) -> Exported:
        """The graph, verified."""
        assert self.captured is not None
        assert self.given is not None
        data = ir.serde.serialize_model(self.captured.graph()).SerializeToString()
        outputs, fixed = self.given.outputs, dict(self.given.fixed)
        base = _verified_outputs(data, outputs, fixed, self.expected)
        return Exported(data, outputs, fixed, self.route.name, {}, base)


def exports(
    case: Case,
    shelf: Shelf,
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
        shelf: keeps what the routes make.
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
    later: list[_Trial] = []

    def made(trial: _Trial) -> Exported | None:
        """The graph of a route, rewritten; None where it fails."""
        try:
            right = trial.attempt(whole=True).right
            return None if right is None else _rewritten(right, rewrites, expected)
        except Exception as error:
            failures.append((trial.route, error))
            return None

    for route in ROUTES:
        fixed = route.fixes(asked) if route.fixes else frozenset()
        tried_before = (route.capture, fixed) in tried  # under another name
        tried.add((route.capture, fixed))
        if tried_before or route.name == known:
            continue
        trial = _Trial(case, expected, route, fixed, shelf)
        try:
            captured = trial.attempt(whole=False)
        except Exception as error:
            failures.append((route, error))
            continue
        same = (captured.program, fixed)
        if captured.program and same in captures:
            trial.keep(captured)
            continue  # the same program as an earlier route's
        captures.add(same)
        if static and captured.sized_by_values:
            later.append(trial)
            continue
        graph = made(trial)
        if graph is not None:
            found = True
            yield graph
    for trial in later:
        graph = made(trial)
        if graph is not None:
            yield graph
            return
    if not found:
        raise ExportFailed(
            "; ".join(f"{route.name}: {_cause(error)}" for route, error in failures)
        ) from failures[0][1]


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, RouteFailed) else innermost_cause(error)


def _rewritten(right: Exported, rewrites: Sequence[passes_.Pass], expected: _Expected) -> Exported:
    """A right graph after the passes; itself where none of them applies.

    Raises:
        passes.Broken: the rewritten graph gives another result, or cannot be run; our fault.
    """
    model = ir.serde.deserialize_model(onnx.load_from_string(right.model))
    changed = passes_.apply(model, rewrites)
    if not changed:
        return right
    data = ir.serde.serialize_model(model).SerializeToString()
    try:
        base = _verified_outputs(data, right.outputs, right.fixed, expected)
    except Exception as error:
        raise passes_.Broken(
            f"the graph was right before the rewrites {', '.join(changed)}, and is not since: "
            f"{innermost_cause(error)}"
        ) from error
    return replace(right, model=data, rewrites=changed, base=base)


def _expected(case: Case, inputs: Mapping[str, Arrays]) -> _Expected:
    outputs = {name: case.reference(given, "float32") for name, given in inputs.items()}
    moved = numerics.difference(case.jittered(inputs["base"], "float32"), outputs["base"])
    return _Expected(inputs, outputs, max(moved.error, SMALLEST_FLOOR))


def _verified_outputs(
    model: bytes, outputs: Mapping[str, int], fixed: Arrays, expected: _Expected
) -> Arrays:
    """The graph's outputs on the plain example, once those on every example are verified.

    Raises:
        ArithmeticError: the graph gives other values than PyTorch.
        What ONNX Runtime raises on a graph that it cannot load or run.
    """
    infer = Inference(cpu_session(model), outputs, fixed)
    found = {name: infer(inputs) for name, inputs in expected.inputs.items()}
    for name, got in found.items():
        apart = numerics.difference(got, expected.outputs[name])
        if numerics.is_wrong(apart, expected.floor):
            raise ArithmeticError(
                f"on ONNX Runtime's CPU provider, input {name!r}: "
                f"{numerics.explain(apart, expected.floor)}"
            )
    return found["base"]
