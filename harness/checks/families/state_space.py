"""State-space models: causal, and the state carries the first token to the last."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checks.families.probe import (
    MOVED,
    Probe,
    Property,
    causal,
    movement,
    only_token,
    sequence_output,
)
from harness.contract import Arrays


def probes(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Causal; and the first token changes the last output through the state."""
    yield from causal(base, other)
    ids = base.get("input_ids")
    if ids is not None and ids.ndim == 2:
        inputs = only_token(base, other, "input_ids", 0)
        yield Probe("state", inputs, _last_moves(ids.shape[1]), True)


def _last_moves(length: int) -> Property:
    def violation(before: Arrays, after: Arrays) -> str | None:
        name = sequence_output(before, length)
        if name is None or movement(before[name][:, -1], after[name][:, -1]) > MOVED * 1e-3:
            return None
        return f"expected token 0 to reach {name}[:, -1] through the state"

    return violation
