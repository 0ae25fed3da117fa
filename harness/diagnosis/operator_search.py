"""Search for the smallest part of a piece's operators that fails on its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contract import Arrays
from harness.diagnosis.operator_graph import OperatorGraph, describe, operator_name, trace
from harness.diagnosis.trial import Trial, TrialKind, Trials
from harness.diagnosis.yardstick import limit_for, yardstick
from harness.models.case import TinyCase

#: Letters of the shortest name of an operator that is looked for in the text of an exception
#: without `aten::` before it: others, as `to`, are words.
SHORTEST_NAME = 3

#: How many operators that an exception names are tried first.
MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class OperatorPiece:
    """A chain of operators as a model of its own.

    Attributes:
        case: the model, whose forward takes tensors by name.
        inputs: the recorded ones.
        trial: how it fails.
    """

    case: TinyCase
    inputs: Arrays
    trial: Trial


@dataclass(frozen=True, slots=True)
class FaultyOperators:
    """The operators that fail, and how that is known.

    Attributes:
        text: the chain in words; empty where none was found.
        evidence: in one line.
        piece: the chain itself; None where none was found.
    """

    text: str
    evidence: str
    piece: OperatorPiece | None = None


class OperatorSearch:
    """The search within one piece.

    Args:
        case: the piece, prepared for the input on which it fails.
        inputs: of the piece.
        whole: how it fails.
        trials: of pieces on the backend.
    """

    def __init__(self, case: TinyCase, inputs: Arrays, whole: Trial, trials: Trials) -> None:
        self.case = case
        self.inputs = inputs
        self.whole = whole
        self.trials = trials

    def found(self) -> FaultyOperators:
        """The smallest chain of operators that fails as the piece does."""
        try:
            graph = trace(self.case.module(), self.inputs)
        except Exception as error:
            return FaultyOperators("", f"its operators cannot be traced ({type(error).__name__})")
        if not graph.operators:
            return FaultyOperators("", "it has no operators")
        count = len(graph.operators)
        for node in self._named_in_failure(graph):
            trial = self._trial(_name(graph, [node]), graph, [node])
            if trial.like(self.whole):
                said = f"alone, of {count} operators, with recorded inputs; the error names it"
                return FaultyOperators(describe([node]), said, self._piece(graph, [node], trial))
        traced = self._trial("operators", graph, graph.operators)
        if not traced.like(self.whole):
            return FaultyOperators(
                "",
                f"its {count} operators one by one, as traced: {traced.line}; so the fault lies in "
                "how its code is converted",
            )
        last = self._last(graph)
        before = graph.ancestors(last)
        size = self._smallest_window(graph, before)
        chain = before[-size:]
        alone = "alone" if size == 1 else f"{size} operators together, no fewer"
        found = self.trials.journal.trials.get(_name(graph, chain), traced)
        return FaultyOperators(
            describe(chain),
            f"{alone}, of {count} operators, with recorded inputs",
            self._piece(graph, chain, found),
        )

    def _piece(
        self, graph: OperatorGraph, chain: Sequence[Any], trial: Trial
    ) -> OperatorPiece | None:
        try:
            module, inputs = graph.part(chain)
        except ValueError:  # a search that was cut short ends anywhere
            return None
        case = self.case.wrapped(module, {"base": inputs, "other": inputs})
        return OperatorPiece(case, inputs, trial)

    def _named_in_failure(self, graph: OperatorGraph) -> list[Any]:
        """The first operator of each kind that an exception's text names."""
        if self.whole.kind is not TrialKind.RAISES:
            return []
        words = {w for w in re.findall(r"\w+", self.whole.reason) if len(w) >= SHORTEST_NAME}
        words |= set(re.findall(r"aten::(\w+)", self.whole.reason))
        first: dict[str, Any] = {}
        for node in graph.operators:
            name = operator_name(node)
            if name in words:
                first.setdefault(name, node)
        return list(first.values())[:MOST_NAMED]

    def _last(self, graph: OperatorGraph) -> Any:
        """The first operator, in order, whose result is wrong or cannot be had."""
        if self.whole.kind is TrialKind.WRONG:
            observed = self._trial("operators observed", graph, graph.operators, every=True)
            if observed.kind is TrialKind.WRONG:
                limit = limit_for(min(self.whole.score, observed.score))
                for node in graph.operators:
                    made = [observed.scores.get(n.name, 0.0) for n in graph.tensors_of(node)]
                    if max(made, default=0.0) > limit:
                        return node
        failing = self._first(
            len(graph.operators),
            lambda count: self._prefix_fails(graph, count),
        )
        return graph.operators[failing - 1]

    def _prefix_fails(self, graph: OperatorGraph, count: int) -> bool:
        chain = graph.ancestors(graph.operators[count - 1])
        return self._trial(f"operators to {count}", graph, chain).like(self.whole)

    def _smallest_window(self, graph: OperatorGraph, before: Sequence[Any]) -> int:
        """How many operators before and with the last one fail together."""
        passed, size = 0, 1
        while size < len(before) and not self._window_fails(graph, before, size):
            passed, size = size, min(2 * size, len(before))
        return passed + self._first(
            size - passed, lambda more: self._window_fails(graph, before, passed + more)
        )

    def _window_fails(self, graph: OperatorGraph, before: Sequence[Any], size: int) -> bool:
        chain = before[-size:]
        return self._trial(_name(graph, chain), graph, chain).like(self.whole)

    def _first(self, count: int, fails: Callable[[int], bool]) -> int:
        """The least number from 1 to `count` that fails, by halves; `count` is known to."""
        low, high = 0, count
        while high - low > 1:
            middle = (low + high) // 2
            if self.trials.over:
                break
            low, high = (low, middle) if fails(middle) else (middle, high)
        return high

    def _trial(
        self, name: str, graph: OperatorGraph, chosen: Sequence[Any], *, every: bool = False
    ) -> Trial:
        def trial() -> Trial:
            try:
                module, inputs = graph.part(chosen, every=every)
                examples = {"base": inputs, "other": inputs}
                case = self.case.wrapped(module, examples)
            except ValueError as error:
                return Trial(TrialKind.UNTESTED, reason=str(error))
            return self.trials.inference(
                case, inputs, lambda: yardstick(case, self.trials.precision, inputs)
            )

        return self.trials.known(name, trial)


def _name(graph: OperatorGraph, chain: Sequence[Any]) -> str:
    """The name of a chain's trial; all ancestors of an operator are the trial of its prefix."""
    last = chain[-1]
    if len(chain) == len(graph.ancestors(last)):
        return f"operators to {graph.operators.index(last) + 1}"
    return f"{len(chain)} operators to {last.name}"
