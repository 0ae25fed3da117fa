"""Rewrite passes over an ONNX graph, each with a name, a reason and a switch of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from harness.contract import HarnessError

#: How often a pass runs at most. An operator behind one of unknown shape has no shape either until
#: that one is rewritten, and waits for the next round.
ROUNDS = 4


class Broken(Exception):
    """A pass made a right graph wrong."""


@dataclass(frozen=True, slots=True)
class Pass:
    """A rewrite pass.

    Attributes:
        name: as `--skip-rewrite` takes it, and as results list it.
        reason: the fault of a provider that the pass avoids, with an entry that shows the fault.
        apply: rewrites a model in place; returns the number of places rewritten.
    """

    name: str
    reason: str
    apply: Callable[[ir.Model], int]


def apply(model: ir.Model, passes: Sequence[Pass]) -> dict[str, int]:
    """Run the passes in order; returns pass -> places rewritten, without passes that found none."""
    counts: dict[str, int] = {}
    for each in passes:
        for _ in range(ROUNDS):
            count = each.apply(model)
            if not count:
                break
            counts[each.name] = counts.get(each.name, 0) + count
            # Nodes that a rule made useless are still there, and a provider would compute them.
            RemoveUnusedNodesPass()(model)
            # New values have no shapes, which the next passes ask for, and this one's next round.
            ShapeInferencePass()(model)
    return counts


def chosen(passes: Sequence[Pass], skipped: str) -> tuple[Pass, ...]:
    """The passes without those that `--skip-rewrite` names, separated by commas.

    Raises:
        HarnessError: there is no pass of a given name.
    """
    names = {word.strip() for word in skipped.split(",") if word.strip()}
    known = [each.name for each in passes]
    for name in sorted(names - set(known)):
        raise HarnessError(
            f"expected --skip-rewrite to name some of {', '.join(known)}, found {name!r}. "
            "Fix: name one of these"
        )
    return tuple(each for each in passes if each.name not in names)
