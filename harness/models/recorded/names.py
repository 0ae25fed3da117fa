"""Folded names: the tensors of a checkpoint as lines, with the numbers of layers as ranges.

    encoder.layer.{0-1}.attention.self.query bias f32[64] weight f32[64,64]

A line stands for every combination of its numbers, and for all tensors of one module.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_SPEC = re.compile(r"(\w+)\[([\d,]*)\]")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.)")
_RANGES = re.compile(r"\{([\d,-]+)\}")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Dtype, by its name in safetensors' headers in lower case, and shape of one tensor."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """The spec that `f32[64,64]` says.

        Raises:
            ValueError: the text is none.
        """
        match = _SPEC.fullmatch(text)
        if match is None:
            raise ValueError(text)
        dtype, sizes = match.groups()
        return cls(dtype, tuple(int(size) for size in sizes.split(",")) if sizes else ())


def folded(tensors: Mapping[str, TensorSpec]) -> list[str]:
    """The lines of a checkpoint's tensors, in the order of their names.

    Args:
        tensors: dtype and shape by name.
    """
    groups: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for name, spec in tensors.items():
        numbers = tuple(int(number) for number in _NUMBER.findall(name))
        groups.setdefault((_NUMBER.sub("#", name), str(spec)), []).append(numbers)
    modules: dict[str, list[str]] = {}
    for (template, shape), places in groups.items():
        for sets in _products(sorted(places)):
            module, _, own = _filled(template, sets).rpartition(".")
            modules.setdefault(module, []).append(f"{own} {shape}")
    whole = modules.pop("", [])
    return sorted([*whole, *(f"{key} {' '.join(sorted(own))}" for key, own in modules.items())])


def unfolded(lines: Iterable[str]) -> dict[str, TensorSpec]:
    """The tensors that folded lines stand for.

    Raises:
        ValueError: a line is not one.
    """
    found: dict[str, TensorSpec] = {}
    for template, spec in _templates(lines):
        choices = [_numbers(ranges) for ranges in _RANGES.findall(template)]
        pieces = _RANGES.split(template)[::2]
        for numbers in itertools.product(*choices):
            name = pieces[0]
            for number, piece in zip(numbers, pieces[1:], strict=True):
                name += f"{number}{piece}"
            found[name] = TensorSpec.parse(spec)
    return found


def _templates(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The names, with ranges in them, and the specs that stand in lines."""
    for line in lines:
        words = line.split()
        module = f"{words.pop(0)}." if len(words) % 2 else ""
        if not words:
            raise ValueError(line)
        for own, spec in zip(words[::2], words[1::2], strict=True):
            yield f"{module}{own}", spec


def _products(numbers: list[tuple[int, ...]]) -> list[list[list[int]]]:
    """Combinations of numbers as few products of sets: all in one, or split at the first number."""
    sets = [sorted(set(column)) for column in zip(*numbers, strict=True)]
    size = 1
    for column in sets:
        size *= len(column)
    if size == len(numbers) or len(numbers) == 1:
        return [sets]
    found = []
    for place, column in enumerate(sets):
        if len(column) > 1:
            for first in column:
                found += _products([each for each in numbers if each[place] == first])
            return found
    return [sets]


def _filled(template: str, sets: list[list[int]]) -> str:
    pieces = template.split("#")
    words = [str(s[0]) if len(s) == 1 else "{" + _ranges(s) + "}" for s in sets]
    return "".join(
        piece + word for piece, word in itertools.zip_longest(pieces, words, fillvalue="")
    )


def _ranges(numbers: list[int]) -> str:
    """`0-2,5` for 0, 1, 2, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def _numbers(ranges: str) -> list[int]:
    found: list[int] = []
    for run in ranges.split(","):
        low, _, high = run.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found
