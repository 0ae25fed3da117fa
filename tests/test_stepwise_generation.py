"""Generation by prepared programs with explicit caches, and planted faults of such a cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from backends._shared.generation import call_parts, stepwise  # noqa: E402
from backends._shared.generation.step_case import StepModule, arrays  # noqa: E402
from harness.catalog import backends, model_lists  # noqa: E402
from harness.catalog.backend_spec import BackendSpec  # noqa: E402
from harness.cell import stages  # noqa: E402
from harness.cell.request import Job  # noqa: E402
from harness.contract import (  # noqa: E402
    Array,
    Arrays,
    Case,
    Cell,
    CellResult,
    Generator,
    Outcome,
    Placement,
    Precision,
    Stage,
)

Damage = Callable[[Array], Array]


class Layer:
    """A layer of a cache, and what is no tensor of it."""

    def __init__(self, length: int) -> None:
        self.keys = torch.ones(1, length)
        self.full = False


class Adder(torch.nn.Module):
    """Writes into its cache, and hands one input on."""

    def forward(self, ids: Any, cache: Layer, mask: Any) -> dict[str, Any]:
        cache.keys.add_(ids)
        return {"logits": ids * 2, "cache": cache, "mask": mask}


def test_tensors_have_paths_and_are_put_together_again() -> None:
    given = {"ids": torch.zeros(1), "cache": [Layer(2), Layer(3)]}
    found = call_parts.tensors_by_path(given)
    assert list(found) == ["ids", "cache_0_keys", "cache_1_keys"]
    other = {path: tensor + 1 for path, tensor in found.items()}
    made = call_parts.put_together(given, other)
    assert made["cache"][1].keys is other["cache_1_keys"]
    assert made["cache"][1] is not given["cache"][1]


def test_a_part_may_return_a_tensor_alone() -> None:
    module = StepModule(torch.nn.Identity(), {"input": torch.ones(1, 2)})
    recorded = module.record({"input": torch.ones(1, 2) * 3})
    assert recorded.through == {call_parts.ALONE: "input"}
    linear = StepModule(torch.nn.Linear(2, 1), {"input": torch.ones(1, 2)})
    recorded = linear.record({"input": torch.ones(1, 2)})
    made = call_parts.put_together(recorded.raw, {call_parts.ALONE: torch.zeros(1, 1)})
    assert torch.equal(made, torch.zeros(1, 1))


def test_a_fingerprint_is_that_of_all_but_the_tensors() -> None:
    assert call_parts.fingerprint([Layer(2)]) == call_parts.fingerprint([Layer(3)])
    full = Layer(2)
    full.full = True
    assert call_parts.fingerprint([full]) != call_parts.fingerprint([Layer(2)])


def test_a_call_returns_what_it_writes_into_and_hands_the_rest_through() -> None:
    given = {"ids": torch.ones(1, 2), "cache": Layer(2), "mask": torch.ones(())}
    module, tensors = StepModule(Adder(), given), call_parts.tensors_by_path(given)
    recorded = module.record(tensors)
    assert list(recorded.computed) == ["logits", "cache_keys"]
    assert recorded.through == {"mask": "mask"}
    assert (given["cache"].keys == 1).all(), "the caller's own cache stays as it is"
    found = module(**{name: torch.from_numpy(a) for name, a in arrays(tensors).items()})
    assert (found["cache_keys"] == 2).all()


class EagerProgram:
    """A case's module without a compiler; what it gets of a cache may be damaged."""

    def __init__(self, case: Case, damage: Damage | None, share: float) -> None:
        self.case, self.damage, self.share = case, damage, share

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        given = dict(inputs)
        for name in given:
            if self.damage and name.endswith(("_keys", "_values")):
                given[name] = self.damage(given[name])
        return self.case.reference(given, "float32")

    def placement(self) -> Placement:
        return Placement(self.share, "said")


class EagerCompiler:
    """A backend that prepares modules, and generates on them."""

    precisions = (Precision("default", "float32"),)

    def __init__(self, *, static: bool, damage: Damage | None = None, share: float = 1.0) -> None:
        self.static, self.damage, self.share = static, damage, share
        self.prepared: list[str] = []

    def prepare(self, case: Case, precision: Precision) -> EagerProgram:
        self.prepared.append(case.model_name)
        whole = case.generation is not None
        return EagerProgram(case, self.damage, 1.0 if whole else self.share)

    def generator(self, case: Case, precision: Precision) -> Generator:
        prepare = partial(self.prepare, precision=precision)
        return stepwise.generator(case, prepare, static=self.static)


def ran(
    monkeypatch: pytest.MonkeyPatch,
    backend: EagerCompiler,
    entry: str = "gpt2",
    head: str = "text-generation",
) -> CellResult:
    monkeypatch.setattr(backends, "find", lambda *_: BackendSpec(Path("here"), "A fake"))
    monkeypatch.setattr(backends, "load", lambda *_: backend)
    cell = Cell(model_lists.load().entries[entry], "fake", head=head)
    return stages.run(Job(cell, 0, "tiny", Path()), lambda *_: None)


def metrics(result: CellResult) -> dict[str, float]:
    return {metric.name: metric.value for metric in result.metrics}


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    ("entry", "head"), [("gpt2", "text-generation"), ("t5", "text2text-generation")]
)
def test_generation_by_programs_is_right(
    monkeypatch: pytest.MonkeyPatch, entry: str, head: str, static: bool
) -> None:
    result = ran(monkeypatch, EagerCompiler(static=static), entry, head)
    assert (result.outcome, result.reason) == (Outcome.PASS, "")
    found = metrics(result)
    assert found["generated_tokens"] == 8
    assert (found["way_beams"], found["way_static_cache"]) == (not static, static)


def test_a_static_cache_takes_one_graph_for_the_prompt_and_one_for_each_further_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = EagerCompiler(static=True)
    ran(monkeypatch, backend)
    assert len(backend.prepared) == 3, "the whole model, and these"


def shifted(kept: Array) -> Array:
    """Keys or values, (batch, heads, length, size), one place later; the last one is lost."""
    moved = np.roll(kept, 1, axis=2)
    moved[:, :, 0] = 0
    return moved


def of_another_row(kept: Array) -> Array:
    return np.roll(kept, 1, axis=0)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("damage", [np.zeros_like, shifted, of_another_row])
def test_a_damaged_cache_fails(
    monkeypatch: pytest.MonkeyPatch, damage: Damage, static: bool
) -> None:
    result = ran(monkeypatch, EagerCompiler(static=static, damage=damage))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)
    assert result.reason.startswith("on input 'while generating': logits: relative error")


def test_a_graph_that_runs_elsewhere_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ran(monkeypatch, EagerCompiler(static=True, share=0.5))
    assert (result.outcome, result.stage) == (Outcome.FAIL, Stage.GENERATE)
    assert "placement: expected all of generation on the device, found 50%" in result.reason


def test_windows_of_a_cache_are_left_to_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = EagerCompiler(static=True)
    result = ran(monkeypatch, backend, "gemma2")
    assert (result.outcome, result.reason) == (Outcome.PASS, "")
    assert len(backend.prepared) == 3, "a layer with a window would need a graph for each token"
