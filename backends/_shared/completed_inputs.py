"""Wrappers of a case and a program that add inputs computed beside the model, such as positions.

Qwen-VL's positions among images (`positions.py`) and a denoiser's sinusoids of its timesteps
(`timesteps.py`) are added so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.contract import Array, Arrays, Case, Placement, Program

#: The completed inputs of a case's inputs.
Complete = Callable[[Mapping[str, Array]], Arrays]


class CompletedCase:
    """A case with completed inputs; every other member of `harness.contract.Case` is the case's."""

    def __init__(self, case: Case, complete: Complete) -> None:
        self._case = case
        self._complete = complete

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    def inputs(self, name: str = "base") -> Arrays:
        """The case's example inputs of that name, completed."""
        return self._complete(self._case.inputs(name))


class CompletedProgram:
    """A program that completes the case's inputs before each inference.

    Args:
        program: takes the completed inputs.
        complete: makes them of the case's.
    """

    def __init__(self, program: Program, complete: Complete) -> None:
        self.program = program
        self.complete = complete

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """Outputs of one inference, by name."""
        return self.program(self.complete(inputs))

    def placement(self) -> Placement:
        """The placement of the wrapped program."""
        return self.program.placement()
