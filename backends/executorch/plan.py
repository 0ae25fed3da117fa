"""The plan of an ExecuTorch program: its calls of kernels and delegates, and who serves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from harness.contract import Placement


@dataclass(frozen=True, slots=True)
class Calls:
    """How often a plan calls each kernel (`aten::add.out`) and each delegate (`XnnpackBackend`)."""

    kernels: Counter[str]
    delegates: Counter[str]

    def missing(self, kernels: Collection[str], delegates: Collection[str]) -> dict[str, int]:
        """The calls of what a runtime lacks, by name.

        Args:
            kernels: those that the runtime has.
            delegates: those that the runtime has.
        """
        lacking = {name: n for name, n in self.kernels.items() if name not in kernels}
        return lacking | {name: n for name, n in self.delegates.items() if name not in delegates}

    def placement(self, lacking: dict[str, int], delegated: int, nodes: int) -> Placement:
        """Placement on the runtime, whose kernels and delegates all compute on the CPU.

        Args:
            lacking: the calls of what the runtime has not.
            delegated: how many nodes of the graph lie in delegates, which is kept as a count.
            nodes: how many nodes the graph has.
        """
        partitions = self.delegates.total()
        total = self.kernels.total() + partitions
        portable = ", ".join(f"{name} x{n}" for name, n in self.kernels.most_common())
        return Placement(
            1.0 - sum(lacking.values()) / max(1, total),
            f"plan: {total - sum(lacking.values())} of {total} calls served by the runtime, "
            f"{partitions} of them by {', '.join(self.delegates) or 'a delegate'}; "
            f"{delegated} of {nodes} nodes delegated; kernels: {portable or 'none'}",
            lacking,
            {
                "delegated_nodes": delegated,
                "delegated_percent": round(100 * delegated / max(1, nodes)),
                "nodes": nodes,
                "partitions": partitions,
            },
        )


def calls(plan: Any) -> Calls:
    """The calls of an `ExecutionPlan`, as the program's flatbuffer holds it."""
    named = [f"{op.name}.{op.overload}" if op.overload else op.name for op in plan.operators]
    kernels: Counter[str] = Counter()
    delegates: Counter[str] = Counter()
    for chain in plan.chains:
        for instruction in chain.instructions:
            arguments = instruction.instr_args
            if hasattr(arguments, "op_index"):
                kernels[named[arguments.op_index]] += 1
            elif hasattr(arguments, "delegate_index"):
                delegates[plan.delegates[arguments.delegate_index].id] += 1
    return Calls(kernels, delegates)
