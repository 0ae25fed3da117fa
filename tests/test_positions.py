"""Positions that a model computes in Python are computed beside it; on a made-up model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.contract import Arrays, Placement

torch: Any = pytest.importorskip("torch")

from backends._shared import completed_inputs, positions  # noqa: E402  (it needs torch)


class Counting(torch.nn.Module):
    """Counts the tokens that are not padding, along two axes."""

    def get_rope_index(
        self, input_ids: Any, image_grid_thw: Any = None, attention_mask: Any = None, **_: Any
    ) -> tuple[Any, Any]:
        count = attention_mask.cumsum(-1) - 1 + image_grid_thw.sum()
        return torch.stack([count, count]), None

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any = None) -> Any:
        return input_ids


class Plain(torch.nn.Module):
    """Has positions, and no method that walks over tokens."""

    def forward(self, input_ids: Any, position_ids: Any = None) -> Any:
        return input_ids


class Outer(torch.nn.Module):
    """Holds the model, and takes no positions."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Counting()

    def forward(self, input_ids: Any) -> Any:
        return self.inner(input_ids, None)


INPUTS: Arrays = {
    "input_ids": np.array([[5, 6, 7]]),
    "attention_mask": np.array([[0, 1, 1]]),
    "image_grid_thw": np.array([[1, 0, 0]]),
    "unused": np.zeros(1),
}


def complete(module: Any, inputs: Arrays) -> Arrays:
    case: Any = SimpleNamespace(module=lambda: module)
    return positions.completer(case)(inputs)


def test_positions_follow_the_values_of_each_call() -> None:
    found = complete(Counting(), INPUTS)
    assert found["position_ids"].tolist() == [[[0, 1, 2]]] * 2
    right = {**INPUTS, "attention_mask": np.array([[1, 1, 0]])}
    assert complete(Counting(), right)["position_ids"].tolist() == [[[1, 2, 2]]] * 2
    assert {name: found[name] for name in INPUTS} == INPUTS


def test_a_completed_case_is_the_case_with_positions() -> None:
    case: Any = SimpleNamespace(module=Counting, inputs={"base": INPUTS}.get, seeded=True)
    made, completed = positions.completed_case(case)
    assert made.seeded is True
    assert made.inputs("base")["position_ids"].tolist() == [[[0, 1, 2]]] * 2
    assert completed(INPUTS).keys() == made.inputs("base").keys()


def test_a_text_that_was_padded_since_gets_others() -> None:
    case: Any = SimpleNamespace(module=Counting)
    stale = {**INPUTS, "position_ids": np.zeros((2, 1, 3))}
    found = positions.completer(case, anew=True)(stale)
    assert found["position_ids"].tolist() == [[[0, 1, 2]]] * 2


def test_what_needs_no_positions_gets_none() -> None:
    given = {"position_ids": np.zeros((2, 1, 3)), **INPUTS}
    assert complete(Counting(), given) == given  # the case's own stay
    text = {name: INPUTS[name] for name in ("input_ids", "attention_mask")}
    assert complete(Counting(), text) == text
    alone = {name: INPUTS[name] for name in ("attention_mask", "image_grid_thw")}
    assert complete(Counting(), alone) == alone
    for module in (Plain(), Outer()):
        assert complete(module, INPUTS) == INPUTS


def test_the_program_gets_the_completed_inputs() -> None:
    placement = Placement(1.0, "said by a test")
    seen: list[Any] = []

    class Program:
        def __call__(self, inputs: Any) -> Arrays:
            seen.append(inputs)
            return {"y": inputs["x"]}

        def placement(self) -> Placement:
            return placement

    made = completed_inputs.CompletedProgram(
        Program(), lambda inputs: {**inputs, "more": np.ones(1)}
    )
    assert made({"x": np.zeros(1)})["y"].tolist() == [0.0]
    assert list(seen[0]) == ["x", "more"]
    assert made.placement() is placement
