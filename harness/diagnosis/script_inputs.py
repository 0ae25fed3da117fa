"""Inputs in a script: literals where they are short, seeded values by their name, else a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.contract import Array, Arrays
from harness.diagnosis import source_text
from harness.toolkit.seeded_values import uniform

#: Numbers of an array that are written down at most.
MOST = 200


@dataclass(slots=True)
class ScriptInputs:
    """Arrays of a script as source text, and those that go into a file beside it.

    Attributes:
        seed: of the example values.
        variants: names of inputs whose seeded values are looked for.
        stored: arrays for the file, by name.
        seeded: whether a text calls `uniform`.
        simple: whether values that a script would seed by name are NumPy's random ones instead.
    """

    seed: int
    variants: tuple[str, ...]
    stored: Arrays = field(default_factory=dict)
    seeded: bool = False
    simple: bool = False

    def text(self, name: str, array: Array, prefix: str = "") -> str:
        """The source text of one array.

        Args:
            name: of the argument.
            array: its value.
            prefix: before its name in the file.
        """
        shape, dtype = source_text.literal(tuple(array.shape)), array.dtype.name
        if array.size and (array == array.flat[0]).all():
            value = array.flat[0].item()
            if value in (0, 1):
                return f'np.{("zeros", "ones")[int(value)]}({shape}, "{dtype}")'
            return f'np.full({shape}, {source_text.literal(value)}, "{dtype}")'
        if array.dtype.kind in "iub" and array.size <= MOST:
            told = source_text.numbers(array.tolist())
            usual = array.dtype in (np.dtype("int64"), np.dtype("bool"))
            return f"np.array({told})" if usual else f'np.array({told}, "{dtype}")'
        if self.simple and array.dtype == np.uint8:
            return f'np.random.default_rng(0).integers(0, 256, {shape}, "uint8")'
        for variant in self.variants:
            key = f"input/{variant}/{name}"
            values = uniform(self.seed, key, array.shape)
            if array.dtype == np.float32 and np.array_equal(
                array, values * np.float32(math.sqrt(3.0))
            ):
                if self.simple:
                    return f'np.random.default_rng(0).standard_normal({shape}, "float32")'
                self.seeded = True
                seed = f", seed={self.seed}" if self.seed else ""
                return f'uniform("{key}", {shape}{seed}) * np.float32(3**0.5)'
        self.stored[prefix + name] = array
        return f'stored["{prefix}{name}"]'

    def table(self, variable: str, arrays: Mapping[str, Array], prefix: str = "") -> str:
        """The statement that sets a variable to a dictionary of arrays, one line or more each."""
        lines = []
        for name, array in arrays.items():
            line = f'{{"{name}": {self.text(name, array, prefix)}}}'
            inner = source_text.wrapped(line, " " * 8).removeprefix("{").removesuffix("}")
            lines.append(f"    {inner},")
        return "\n".join([f"{variable} = {{", *lines, "}"])
