"""Graph rewrites: small, named, each with its reason, each to be switched off on its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass

from harness.contract import HarnessError

#: How often a pass is applied at most: what follows an operator without a known shape has none
#: until that one is rewritten.
ROUNDS = 4


class Broken(Exception):
    """A rewrite made a right graph wrong."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One rewrite.

    Attributes:
        name: as `--skip-rewrite` takes it, and as results list it.
        reason: what goes wrong without it.
        apply: changes the model in place; returns how often.
    """

    name: str
    reason: str
    apply: Callable[[ir.Model], int]


def apply(model: ir.Model, passes: Sequence[Pass]) -> dict[str, int]:
    """Run the passes in their order; returns how often each applied that did."""
    counts: dict[str, int] = {}
    for each in passes:
        for _ in range(ROUNDS):
            count = each.apply(model)
            if not count:
                break
            counts[each.name] = counts.get(each.name, 0) + count
            # What a rule went past is still there; an accelerator would be asked to take it.
            RemoveUnusedNodesPass()(model)
            # New values have no shapes, which later passes ask for, and this one again.
            ShapeInferencePass()(model)
    return counts


def chosen(passes: Sequence[Pass], skipped: str) -> tuple[Pass, ...]:
    """The passes without those that `--skip-rewrite` names, separated by commas.

    Raises:
        HarnessError: there is none of that name.
    """
    names = {word.strip() for word in skipped.split(",") if word.strip()}
    known = [each.name for each in passes]
    for name in sorted(names - set(known)):
        raise HarnessError(
            f"expected --skip-rewrite to name some of {', '.join(known)}, found {name!r}. "
            "Fix: name one of these"
        )
    return tuple(each for each in passes if each.name not in names)
