"""An export that is spared work gives the same graph; skipped where there is no ONNX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxscript")
torch: Any = pytest.importorskip("torch")

from torch.fx import GraphModule  # noqa: E402

from backends._shared.onnx import export_speedups  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

#: Exports a model that decompositions, translations and rules on pairs of nodes have a part in.
EXPORT = """
import sys
import torch
from backends._shared.onnx import export_speedups
if sys.argv[1:]:
    export_speedups.read_tables_once()
    export_speedups.compare_operators_first()
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = layer
    def forward(self, x):
        y = self.layer(x).transpose(1, 2).transpose(1, 2)
        y = torch.nn.functional.silu(y * 1.0).expand_as(y).square()
        return torch.stack([y.cumsum(-1), y.softmax(-1)]).clamp_(0.0, 9.0)
found = []
for _ in range(2):
    made = torch.onnx.export(Model().eval(), (torch.ones(1, 3, 8),), dynamo=True, verbose=False)
    constants = [value.const_value for value in made.model.graph.initializers.values()]
    found.append(f"{made.model.graph} {constants}")
assert found[0] == found[1]
print("GRAPH", found[0])
"""


def exported(*arguments: str) -> str:
    """The graph that a new process exports, as text."""
    command = [sys.executable, "-c", EXPORT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.partition("GRAPH")[2]


def test_the_graph_is_the_same() -> None:
    plain = exported()
    assert "Softmax" in plain
    assert exported("quick") == plain


class Twice(torch.nn.Module):
    """Something to trace."""

    def forward(self, x: Any) -> Any:
        """Twice as much."""
        return x + x


def test_code_is_written_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    write = GraphModule.recompile

    def counted(module: Any) -> Any:
        written.append(module)
        return write(module)

    monkeypatch.setattr(GraphModule, "recompile", counted)
    monkeypatch.setattr(export_speedups, "_write", counted)
    one = torch.ones(1)
    with export_speedups.deferred_code():
        module = torch.fx.symbolic_trace(Twice())
        module.recompile()
        assert not written
        assert module(one).item() == 2.0  # which writes it
        (node,) = [node for node in module.graph.nodes if node.op == "call_function"]
        node.target = torch.mul
        module.recompile()
        assert "mul" in module.code
        assert module(one).item() == 1.0
        assert len(written) == 2
        node.target = torch.sub
        module.recompile()
    assert len(written) == 2
    assert module(one).item() == 0.0  # also after the export
    module.recompile()
    assert len(written) == 4


def test_code_can_be_read_after_the_export_and_in_the_next_one() -> None:
    with export_speedups.deferred_code():
        one, other = (torch.fx.symbolic_trace(Twice()) for _ in range(2))
    assert "x + x" in one.code
    with export_speedups.deferred_code():
        assert "x + x" in other.code


def test_a_tree_of_inputs_is_known_before_the_code_is_written() -> None:
    program = torch.export.export(Twice(), (torch.ones(1),), strict=False)
    with export_speedups.deferred_code():
        module = program.module()
        assert len(module._in_spec.children()) == 2  # positional and named ones
    assert module(torch.ones(1)).item() == 2.0
