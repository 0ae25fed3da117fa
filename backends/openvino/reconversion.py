"""Reconversion: a model whose trace keeps the example's shapes is converted anew for others.

A trace follows tensors, and keeps what Python computes from their shapes or values: how many images
there are, how many chunks a text has. Such a model refuses other shapes with an error, and who
meets that traces again. A model that takes another shape and is wrong is not helped by this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from backends.openvino.program import OpenVINOProgram
from harness.contract import Array, Arrays, Placement

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class ReconvertingProgram:
    """A program, and further ones for the shapes that it refuses.

    Args:
        program: made for `example`.
        example: its inputs.
        prepared: the program for an example.
    """

    def __init__(
        self,
        program: OpenVINOProgram,
        example: Arrays,
        prepared: Callable[[Arrays], OpenVINOProgram],
    ) -> None:
        self.program: OpenVINOProgram | None = program
        self.example = example
        self.prepared = prepared
        self.others: dict[Shapes, OpenVINOProgram] = {}

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference.

        Raises:
            RuntimeError: inputs of the example's own shapes are refused; other values at the same
                shapes are no reason to convert anew.
        """
        shapes = shapes_of(inputs)
        if shapes in self.others:
            return self.others[shapes](inputs)
        if self.program is None:
            self.program = self.prepared(self.example)
        try:
            return self.program(inputs)
        except RuntimeError:
            if shapes == shapes_of(self.example):
                raise
            # It now refuses what it took before as well, in another request too (llava, 2026.4.1).
            self.program = None
            self.others[shapes] = self.prepared(dict(inputs))
            return self.others[shapes](inputs)

    def placement(self) -> Placement:
        """The smallest share of the programs, and the number of shapes that have one."""
        programs = [*filter(None, [self.program]), *self.others.values()]
        found = [program.placement() for program in programs]
        least = min(found, key=lambda placement: placement.device_share)
        return replace(least, counts={**least.counts, "conversions": 1 + len(self.others)})


def shapes_of(inputs: Mapping[str, Array]) -> Shapes:
    """The shape of each input by name, sorted: the key of a program."""
    return tuple(sorted((name, array.shape) for name, array in inputs.items()))
