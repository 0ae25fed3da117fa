"""Placement as a page's console tells it.

Skipped where the environment has no onnx, as that of `nox -s tests`; `.ci/run` runs it in that of
`qnn`.
"""

from __future__ import annotations

import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from backends.webgpu_browser import console  # noqa: E402

GPU = "WebGpuExecutionProvider"
CPU = "CPUExecutionProvider"
#: The beginning of a message of ONNX Runtime, with its place in the sources.
SAID = "2026-11-29 17:41:21 [V:onnxruntime:, session_state.cc:1 VerifyEachNodeIsAssignedToAnEp] "


def graph() -> bytes:
    """The mask of tokens as a factor: two nodes of integers, a conversion, and a product."""
    nodes = [
        helper.make_node("Neg", ["ids"], ["minus"], "negate"),
        helper.make_node("Less", ["minus", "ids"], ["mask"], "compare"),
        helper.make_node("Cast", ["mask"], ["factor"], "convert", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["factor", "x"], ["y"], "scale"),
    ]
    kinds = {"ids": TensorProto.INT64, "x": TensorProto.FLOAT, "y": TensorProto.FLOAT}
    ids, x, y = (helper.make_tensor_value_info(name, kind, [2]) for name, kind in kinds.items())
    made: bytes = helper.make_model(
        helper.make_graph(nodes, "test", [ids, x], [y]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    ).SerializeToString()
    return made


def lines(cpu: str, gpu: str) -> list[str]:
    """The console's lines for nodes on both providers."""
    found = ["something else (of no node)"]
    for name, nodes in ((CPU, cpu.split()), (GPU, gpu.split())):
        found.append(f"{SAID} Node(s) placed on [{name}]. Number of nodes: {len(nodes)}")
        found += [f"{SAID}  {node.replace(':', ' (')})" for node in nodes]
    return found


def test_integers_are_bookkeeping() -> None:
    assigned = console.assignment(
        lines("Neg:negate Less:compare Cast:convert MemcpyToHost:copy", "Mul:scale")
    )
    assert assigned[GPU] == [("Mul", "scale")]
    found = console.placement(GPU, assigned, graph())
    assert found.device_share == 1.0
    assert found.counts == {"nodes": 1, "bookkeeping": 3}


def test_a_floating_node_elsewhere_is_named() -> None:
    assigned = console.assignment(lines("Neg:negate Mul:scale", "Cast:convert"))
    found = console.placement(GPU, assigned, graph())
    assert found.device_share == 0.5
    assert found.fallback_ops == {"Mul": 1}


def test_a_node_that_the_graph_does_not_name_counts() -> None:
    found = console.placement(GPU, console.assignment(lines("Gemm:fused", "Mul:scale")), graph())
    assert found.device_share == 0.5
    assert found.fallback_ops == {"Gemm": 1}


@pytest.mark.parametrize(("provider", "share"), [(GPU, 1.0), (CPU, 0.0)])
def test_a_sole_provider_has_no_list(provider: str, share: float) -> None:
    assigned = console.assignment([f"{SAID} All nodes placed on [{provider}]. Number of nodes: 9"])
    assert console.placement(GPU, assigned, graph()).device_share == share


def test_a_silent_console_proves_nothing() -> None:
    assert console.placement(GPU, console.assignment(["hello"]), graph()).device_share == 0.0
