"""A model that refuses other shapes is converted anew for them, and only for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backends.openvino.reconversion import ReconvertingProgram
from harness.contract import Arrays, Placement


class Fixed:
    """A program that takes one shape, no values below zero, and nothing after a refusal."""

    def __init__(self, example: Arrays) -> None:
        self.shape = example["x"].shape
        self.broken = False

    def __call__(self, inputs: Any) -> Arrays:
        if self.broken or inputs["x"].shape != self.shape or inputs["x"].min() < 0:
            self.broken = True
            raise RuntimeError("dimension mismatch")
        return {"y": inputs["x"] + 1}

    def placement(self) -> Placement:
        return Placement(1.0 / len(self.shape), "said by a test")


def made(example: Arrays, made_for: list[Arrays]) -> ReconvertingProgram:
    def prepared(inputs: Arrays) -> Any:
        made_for.append(inputs)
        return Fixed(inputs)

    program: Any = Fixed(example)
    return ReconvertingProgram(program, example, prepared)


def test_a_shape_that_is_refused_is_converted_once() -> None:
    made_for: list[Arrays] = []
    program = made({"x": np.ones(2)}, made_for)
    for shape in ((2,), (3, 2), (3, 2), (2,)):
        assert program({"x": np.ones(shape)})["y"].shape == shape
    assert [inputs["x"].shape for inputs in made_for] == [(3, 2), (2,)]
    placement = program.placement()
    assert placement.counts == {"conversions": 2}
    assert placement.device_share == 0.5  # the least of both


def test_other_values_at_the_examples_shape_are_not_converted_for() -> None:
    made_for: list[Arrays] = []
    program = made({"x": np.ones(2)}, made_for)
    with pytest.raises(RuntimeError, match="dimension mismatch"):
        program({"x": -np.ones(2)})
    assert not made_for


def test_a_shape_that_is_refused_again_fails() -> None:
    program = made({"x": np.ones(2)}, [])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="dimension mismatch"):
            program({"x": -np.ones(3)})
