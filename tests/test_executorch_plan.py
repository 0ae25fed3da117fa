"""Calls of the plan of an ExecuTorch program, and those that a runtime lacks; made-up plans."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from backends.executorch.plan import calls

KERNELS = {"aten::add.out", "aten::where.self_out", "prim"}


def plan() -> Any:
    """Two calls of one kernel, one of two others, one of a delegate, and a jump."""
    made = [
        *[SimpleNamespace(op_index=i) for i in (0, 0, 1, 2)],
        SimpleNamespace(delegate_index=0),
        SimpleNamespace(destination_instruction=0),
    ]
    return SimpleNamespace(
        operators=[
            SimpleNamespace(name="aten::add", overload="out"),
            SimpleNamespace(name="aten::scatter_reduce", overload="two_out"),
            SimpleNamespace(name="prim", overload=""),
        ],
        delegates=[SimpleNamespace(id="XnnpackBackend")],
        chains=[SimpleNamespace(instructions=[SimpleNamespace(instr_args=each) for each in made])],
    )


def test_kernels_and_delegates_are_counted() -> None:
    found = calls(plan())
    assert found.kernels == {"aten::add.out": 2, "aten::scatter_reduce.two_out": 1, "prim": 1}
    assert found.delegates == {"XnnpackBackend": 1}


def test_what_the_runtime_lacks_is_named_and_lowers_the_share() -> None:
    found = calls(plan())
    lacking = found.missing(KERNELS, {"XnnpackBackend"})
    assert lacking == {"aten::scatter_reduce.two_out": 1}
    assert found.missing(KERNELS, ()) == {**lacking, "XnnpackBackend": 1}
    placed = found.placement(lacking, 30, 40)
    assert placed.device_share == 0.8
    assert placed.fallback_ops == lacking


def test_the_delegated_share_is_a_count_and_portable_kernels_are_listed() -> None:
    placed = calls(plan()).placement({}, 30, 40)
    assert placed.device_share == 1.0
    assert placed.counts == {
        "delegated_nodes": 30,
        "delegated_percent": 75,
        "nodes": 40,
        "partitions": 1,
    }
    assert "5 of 5 calls served by the runtime, 1 of them by XnnpackBackend" in placed.evidence
    assert "kernels: aten::add.out x2, aten::scatter_reduce.two_out x1, prim x1" in placed.evidence
