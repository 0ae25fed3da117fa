"""Which inputs an exported graph may hold as constants, and which routes' graphs are made.

Skipped where the environment has no onnx; `.ci/run` runs it in that of `qnn`.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxscript")

import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch

from backends._shared import positions
from backends._shared.export_failed import ExportFailed
from backends._shared.onnx import exporters, graph_cache, verified_export
from harness.contract import Array
from harness.toolkit import cache as caches
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
    """The names of routes whose graphs are given, in order; what each captures is given.

    Its attribute `made` has the names of those that were made.
    """
    made: list[str] = []

    def names(
        captured: dict[str, bool | Exception | None],
        programs: dict[str, str] | None = None,
        **asked: Any,
    ) -> list[str]:
        def route(name: str, sized_by_values: bool | Exception | None) -> exporters.Route:
            def capture(_: Any) -> exporters.Captured:
                if isinstance(sized_by_values, Exception):
                    raise sized_by_values
                if sized_by_values is None:
                    raise RuntimeError(f"{name} cannot be captured")
                program = (programs or {}).get(name, "")
                return exporters.Captured(sized_by_values, lambda: name, program)

            return exporters.Route(name, "", capture)

        def right(trial: Any) -> Any:
            made.append(trial.captured.graph())
            if "broken" in made[-1]:
                raise ArithmeticError("other values than PyTorch's")
            return made[-1]

        monkeypatch.setattr(verified_export, "ROUTES", [route(*each) for each in captured.items()])
        monkeypatch.setattr(verified_export, "export_input", lambda *_: "given")
        monkeypatch.setattr(
            verified_export, "_expected", lambda *_: SimpleNamespace(inputs={"base": {}})
        )
        monkeypatch.setattr(verified_export._Trial, "_right", right)
        monkeypatch.setattr(verified_export, "_rewritten", lambda graph, *_: graph)
        monkeypatch.setattr(padded_inputs, "padded_batches", lambda *_: {})
        monkeypatch.setattr(positions, "completer", lambda *_, **__: dict)
        case = SimpleNamespace(inputs=lambda _: {})
        shelf = asked.pop("shelf", None)
        shelf = Shelf() if shelf is None else shelf
        return list(verified_export.exports(case, shelf, **asked))  # type: ignore[arg-type]

    names.made = made  # type: ignore[attr-defined]
    return names


class Shelf(dict[tuple[str, frozenset[str]], verified_export.Attempt]):
    """A shelf in memory."""

    def get(self, route: str, fixed: frozenset[str]) -> Any:  # type: ignore[override]
        return super().get((route, fixed))

    def put(self, route: str, fixed: frozenset[str], attempt: verified_export.Attempt) -> None:
        self[route, fixed] = attempt


def test_what_a_route_made_is_not_made_again(exports: Any) -> None:
    captured = {"a": True, "b": None, "broken": False, "d": False, "e": False}
    programs = {"d": "1", "e": "1"}
    shelf = Shelf()
    assert exports(captured, programs, shelf=shelf) == ["a", "d"]
    assert exports.made == ["a", "broken", "d"]
    exports.made.clear()
    gone = dict.fromkeys(captured)  # nothing can be captured any more
    assert exports(gone, static=True, shelf=shelf) == ["d", "a"]
    assert exports(gone, shelf=shelf) == ["a", "d"]
    assert exports.made == []


def test_a_graph_that_came_too_late_is_made_when_it_is_asked_for(exports: Any) -> None:
    captured, shelf = {"a": True, "b": True, "c": False}, Shelf()
    assert exports(captured, static=True, shelf=shelf) == ["c", "a"]
    assert exports.made == ["c", "a"]
    assert exports(captured, shelf=shelf) == ["a", "b", "c"]
    assert exports.made == ["c", "a", "b"]


def test_a_kept_failure_says_what_the_first_one_said(exports: Any) -> None:
    shelf, said = Shelf(), []
    programs = {"broken": "1", "broken too": "1"}  # made once
    for captured in ({"a": None, "broken": True, "broken too": False}, {"a": False}):
        names = dict.fromkeys(["a", "broken", "broken too"]) | captured
        with pytest.raises(ExportFailed) as raised:
            exports(names, programs, static=True, shelf=shelf)
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert exports.made == ["broken"]
    assert "a: RuntimeError: a cannot be captured; broken: ArithmeticError: other" in said[0]


def test_a_failure_for_want_of_memory_is_not_kept(exports: Any) -> None:
    shelf = Shelf()
    with pytest.raises(ExportFailed):
        exports({"a": MemoryError("std::bad_alloc")}, shelf=shelf)
    assert not shelf
    assert exports({"a": False}, shelf=shelf) == ["a"]


def test_the_cache_keeps_what_a_route_made(tmp_path: Path) -> None:
    model = onnx.helper.make_model(
        onnx.helper.make_graph([], "g", [], [], initializer=[])
    ).SerializeToString()
    graph = verified_export.Exported(
        model, {"y": 0}, {"sizes": SIZES}, "dynamo", {}, {"y": np.ones(2, np.float32)}
    )
    kept = graph_cache.KeptRoutes(caches.Cache(tmp_path), "a case")
    other = graph_cache.KeptRoutes(caches.Cache(tmp_path), "another case")
    none, sizes = frozenset[str](), frozenset({"sizes"})
    assert kept.get("dynamo", sizes) is None
    kept.put("dynamo", sizes, verified_export.Attempt(True, "hash", graph))
    kept.put("hf", none, verified_export.Attempt(failure="Error: no such operator"))
    found = kept.get("dynamo", sizes)
    assert found is not None
    assert (found.sized_by_values, found.program, found.failure) == (True, "hash", "")
    assert found.right is not None
    assert (found.right.model, found.right.outputs, found.right.route) == (
        model,
        {"y": 0},
        "dynamo",
    )
    assert np.array_equal(found.right.fixed["sizes"], SIZES)
    assert np.array_equal(found.right.base["y"], np.ones(2))
    assert kept.get("hf", none) == verified_export.Attempt(failure="Error: no such operator")
    assert kept.get("dynamo", none) is other.get("dynamo", sizes) is None


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
