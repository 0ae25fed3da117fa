"""Which inputs an exported graph may hold as constants, and which routes' graphs are made.

Skipped where the environment has no onnx; `.ci/run` runs it in that of `qnn`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxscript")

import onnx_ir as ir
import onnxruntime as ort
import torch

from backends._shared import positions
from backends._shared.export_failed import ExportFailed
from backends._shared.onnx import exporters, verified_export
from harness.contract import Array
from harness.toolkit import padded_inputs

IDS = np.array([[5, 6, 7, 8]])
MASK = np.ones_like(IDS)
IMAGES = np.array([[True, False, False, False]])
SIZES = np.array([[4, 4]])
PLAIN = {"input_ids": IDS, "attention_mask": MASK, "image_mask": IMAGES, "image_sizes": SIZES}
PADDED = {
    **PLAIN,
    "input_ids": np.array([[0, 5, 6, 7]]),
    "attention_mask": np.array([[0, 1, 1, 1]]),
    "image_mask": np.array([[False, True, False, False]]),
}


def fixed(route: str, *examples: dict[str, Array]) -> set[str]:
    """The inputs that a route may hold as constants."""
    fixes = next(known.fixes for known in exporters.ROUTES if known.name == route)
    return set(fixes(examples)) if fixes else set()


def test_no_mask_that_padding_changes_becomes_a_constant() -> None:
    assert fixed("dynamo-masks", PLAIN, PADDED) == {"image_sizes"}
    assert fixed("dynamo-masks", PLAIN) == set(PLAIN)


def test_floating_inputs_never_become_constants() -> None:
    pixels = {"pixel_values": np.zeros((1, 3, 4, 4), np.float32), "image_sizes": SIZES}
    assert fixed("dynamo-masks", pixels) == fixed("dynamo-sizes", pixels) == {"image_sizes"}


def test_a_long_row_of_integers_is_no_size() -> None:
    long = {"input_ids": np.ones((1, exporters.HANDFUL + 1), np.int64), "image_sizes": SIZES}
    assert fixed("dynamo-sizes", long) == fixed("torchscript", long) == {"image_sizes"}
    assert fixed("dynamo", long) == set()


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The names of routes whose graphs are made, in order; what each captures is given."""

    def names(
        captured: dict[str, bool | None], programs: dict[str, str] | None = None, **asked: Any
    ) -> list[str]:
        def route(name: str, sized_by_values: bool | None) -> exporters.Route:
            def capture(_: Any) -> exporters.Captured:
                if sized_by_values is None:
                    raise RuntimeError(f"{name} cannot be captured")
                program = (programs or {}).get(name, "")
                return exporters.Captured(sized_by_values, lambda: name, program)

            return exporters.Route(name, "", capture)

        def made(found: Any, *_: Any) -> Any:
            if "broken" in found.graph():
                raise ArithmeticError("other values than PyTorch's")
            return found.graph()

        monkeypatch.setattr(verified_export, "ROUTES", [route(*each) for each in captured.items()])
        monkeypatch.setattr(verified_export, "export_input", lambda *_: None)
        monkeypatch.setattr(
            verified_export, "_expected", lambda *_: SimpleNamespace(inputs={"base": {}})
        )
        monkeypatch.setattr(verified_export, "_made", made)
        monkeypatch.setattr(padded_inputs, "padded_batches", lambda *_: {})
        monkeypatch.setattr(positions, "completer", lambda *_, **__: dict)
        case = SimpleNamespace(inputs=lambda _: {})
        return list(verified_export.exports(case, **asked))  # type: ignore[arg-type]

    return names


def test_of_graphs_sized_by_values_one_is_made_and_last(exports: Any) -> None:
    captured = {"a": True, "b": None, "c": True, "d": False, "e": False}
    assert exports(captured, static=True) == ["d", "e", "a"]
    assert exports(captured) == ["a", "c", "d", "e"]


def test_the_next_one_is_made_where_the_first_one_is_wrong(exports: Any) -> None:
    assert exports({"broken": True, "b": True, "c": True}, static=True) == ["b"]


def test_a_graph_that_is_there_is_not_made_again(exports: Any) -> None:
    captured = {"a": True, "b": False, "c": False}
    assert exports(captured, static=True, known="b") == ["c", "a"]
    assert exports({"b": False}, known="b") == []


def test_a_program_is_made_once(exports: Any) -> None:
    captured = {"broken": False, "b": False, "c": False, "d": True, "e": True}
    programs = {"broken": "1", "b": "1", "c": "2", "d": "3", "e": "3"}
    assert exports(captured, programs, static=True) == ["c", "d"]
    assert exports({"a": False, "b": False}) == ["a", "b"]  # nobody knows which programs they are


def test_where_no_route_leads_to_a_graph_each_says_why(exports: Any) -> None:
    with pytest.raises(ExportFailed, match=r"a: .*cannot be captured; broken: Arithmetic"):
        exports({"a": None, "broken": True}, static=True)


def test_lengths_that_follow_from_values_are_seen_before_the_graph_is_made() -> None:
    class Chosen(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[x > 0] + 1

    def captured(module: torch.nn.Module) -> exporters.Captured:
        trace = SimpleNamespace(module=module, tensors=(torch.ones(4),))
        return exporters._dynamo(trace)  # type: ignore[arg-type]

    class Checked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            chosen = x[x > 0]
            torch._check(chosen.shape[0] == 3)
            return chosen.reshape(3) + 1

    assert captured(Chosen()).sized_by_values
    assert captured(Checked()).sized_by_values
    assert not captured(torch.nn.Linear(4, 2)).sized_by_values


def test_clamps_behind_clamps_keep_their_bounds() -> None:
    class Clamped(torch.nn.Module):
        leaves = (0,)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            return y.clamp(-1, 1).clamp(-2, 2) + y.clamp(-3, 3).clamp(-4, 4)

    module, x = Clamped(), torch.tensor([-5.0, 0.1, 0.9, 1.7])
    trace: Any = SimpleNamespace(module=module, tensors=(x,), inputs=("x",))
    program = torch.export.export(module, (x,), strict=False)
    assert exporters._lost_constants(exporters._exported(program, trace).model), "mended upstream"
    graph = ir.serde.serialize_model(exporters._dynamo(trace).graph())
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"x": x.numpy()})[0], module(x).numpy())


def test_transformers_patches_open_what_the_plain_route_cannot_translate() -> None:
    class Rotated(torch.nn.Module):
        leaves = (0,)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.view_as_real(2 * torch.view_as_complex(x).unsqueeze(0))

    module = Rotated()
    trace: Any = SimpleNamespace(module=module, tensors=(torch.ones(3, 2),), inputs=("x",))
    with pytest.raises(torch.onnx.OnnxExporterError):
        exporters._dynamo(trace).graph()
    captured = exporters._hf(trace)
    assert captured.program.startswith("hf ")
    assert [value.name for value in captured.graph().graph.outputs] == ["output_0"]


def test_programs_are_told_apart_by_what_they_compute() -> None:
    class Times(torch.nn.Module):
        def __init__(self, number: float, *, as_tensor: bool = False) -> None:
            super().__init__()
            self.number = number
            self.as_tensor = as_tensor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (torch.tensor([self.number, 0.0]) if self.as_tensor else self.number)

    def program(*given: float, as_tensor: bool = False) -> str:
        module = Times(*given, as_tensor=as_tensor)
        trace = SimpleNamespace(module=module, tensors=(torch.ones(2),))
        return exporters._dynamo(trace).program  # type: ignore[arg-type]

    assert program(2.0) == program(2.0)
    assert program(2.0) != program(3.0)
    assert program(2.0, as_tensor=True) == program(2.0, as_tensor=True)
    assert program(2.0, as_tensor=True) != program(3.0, as_tensor=True)
