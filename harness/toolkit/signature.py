"""Signature of a model in one line: names, dtypes and symbolic shapes of inputs and outputs.

    bert BertModel 87744 input_ids:i64[b,s] attention_mask:i64[b,s] -> pooler_output:f32[b,64]
    bert:fill-mask BertForMaskedLM 96192 input_ids:i64[b,s] ... -> logits:f32[b,s,128]

`b` is the batch and `s` the length of the text; a dimension that follows neither by a simple rule
is written as both of its sizes, `18~25`. A size that follows from values, as the number of
keypoints in SuperPoint's outputs does, is `82?`: any size matches it. The mock backend replays
these lines, and a backend that runs the real model fails when it no longer matches its line, so the
mock can't drift away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from harness.contract import Arrays, HarnessError
from harness.toolkit.checkout import ROOT

#: One line for each entry of the lists, and each of its heads, that some environment builds.
SNAPSHOT = ROOT / "model_lists" / "signatures.txt"

#: The two pairs of batch and length from which dimensions get their names.
BATCHES = (2, 3)
LENGTHS = (16, 22)

_DTYPES = {
    "f64": "float64", "f32": "float32", "f16": "float16", "i64": "int64", "i32": "int32",
    "i16": "int16", "i8": "int8", "u8": "uint8", "bool": "bool", "c64": "complex64",
}  # fmt: skip
_NAMES = {value: key for key, value in _DTYPES.items()}


#: The mark of a dimension that follows from the values of the inputs, behind its recorded size.
BY_VALUES = "?"


@dataclass(frozen=True, slots=True)
class Spec:
    """One array: its dtype and its dimensions, as numbers or expressions in `b` and `s`."""

    dtype: str
    dims: tuple[str, ...]

    def shape(self, reshaped: bool = False) -> tuple[int, ...]:
        """The sizes at the first pair of batch and length, or at the second."""
        return self.at(BATCHES[reshaped], LENGTHS[reshaped], LENGTHS[reshaped] // 2)

    def at(self, batch: int, length: int, half: int) -> tuple[int, ...]:
        """The sizes at any batch and length; `half` is that of the text to be written.

        Raises:
            ValueError: a dimension is known at the two recorded pairs only, and this is neither.
        """
        return tuple(_size(dim, batch, length, half) for dim in self.dims)

    def like(self, recorded: Spec) -> Spec:
        """This spec with the recorded sizes where the record says that they follow from values."""
        if len(self.dims) != len(recorded.dims):
            return self
        pairs = zip(self.dims, recorded.dims, strict=True)
        return Spec(self.dtype, tuple(r if r.endswith(BY_VALUES) else own for own, r in pairs))

    def __str__(self) -> str:
        return f"{_NAMES.get(self.dtype, self.dtype)}[{','.join(self.dims)}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of one small model: of an entry, or of one of its heads."""

    label: str
    model: str
    parameters: int
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]

    def like(self, recorded: Signature) -> Signature:
        """This signature with the recorded sizes where they follow from values: equal, if right.

        Args:
            recorded: the line of the snapshot that this signature is held against.
        """
        outputs = {
            name: spec.like(recorded.outputs[name]) if name in recorded.outputs else spec
            for name, spec in self.outputs.items()
        }
        return replace(self, outputs=outputs)

    def __str__(self) -> str:
        def row(specs: Mapping[str, Spec]) -> str:
            return " ".join(f"{name}:{spec}" for name, spec in specs.items())

        start = f"{self.label} {self.model} {self.parameters}"
        return f"{start} {row(self.inputs)} -> {row(self.outputs)}"


def specs(arrays: Arrays, reshaped: Arrays | None, alike: Sequence[Arrays] = ()) -> dict[str, Spec]:
    """Symbolic specs of arrays, from their shapes at two pairs of batch and length.

    Args:
        arrays: at the first pair.
        reshaped: at the second; None where the model takes no other.
        alike: at the first pair again, of inputs with other values.
    """
    found = {}
    for name, array in arrays.items():
        second = reshaped.get(name) if reshaped else None
        shape = second.shape if second is not None and second.ndim == array.ndim else array.shape
        others = [a[name].shape for a in alike if name in a and a[name].ndim == array.ndim]
        dims = tuple(
            _symbol(x, shape[axis])
            if all(other[axis] == x for other in others)
            else f"{x}{BY_VALUES}"
            for axis, x in enumerate(array.shape)
        )
        dtype = "float32" if array.dtype == np.float64 else array.dtype.name
        found[name] = Spec(dtype, dims)
    return found


def parse(line: str) -> Signature:
    """The signature in one line of a snapshot.

    Raises:
        HarnessError: the line is not one.
    """
    try:
        left, right = line.split(" -> ")
        label, model, parameters, *inputs = left.split()
        return Signature(label, model, int(parameters), _row(inputs), _row(right.split()))
    except (ValueError, KeyError) as error:
        raise HarnessError(
            f"expected a signature like 'bert BertModel 87744 input_ids:i64[b,s] -> "
            f"pooler_output:f32[b,64]', found {line!r}; write the snapshot anew with "
            f"`python -m harness record`"
        ) from error


def load(path: Path) -> dict[str, Signature]:
    """The signatures of a snapshot by label; empty where there is no such file."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [parse(line) for line in lines if line and not line.startswith("#")]
    return {signature.label: signature for signature in found}


def _row(words: list[str]) -> dict[str, Spec]:
    found = {}
    for word in words:
        match = re.fullmatch(r"(.+):(\w+)\[(.*)\]", word)
        if match is None:
            raise ValueError(word)
        name, dtype, dims = match.groups()
        spec = found[name] = Spec(_DTYPES[dtype], tuple(dims.split(",")) if dims else ())
        for reshaped in (False, True):
            spec.shape(reshaped)  # raises a ValueError for a dimension that is none
    return found


def _symbol(x: int, y: int) -> str:
    (b0, b1), (s0, s1) = BATCHES, LENGTHS
    if x == y:
        return str(x)
    for factor in range(1, 65):
        if (x, y) == (factor * b0, factor * b1):
            return "b" if factor == 1 else f"{factor}b"
        if (x, y) == (factor * s0, factor * s1):
            return "s" if factor == 1 else f"{factor}s"
    if y - x == s1 - s0:
        return f"s{x - s0:+d}"
    if x * 2 == s0 and y * 2 == s1:
        return "s/2"
    if x % b0 == 0 and y % b1 == 0:
        inner = _symbol(x // b0, y // b1)
        if "~" not in inner:
            return f"b*({inner})" if not inner.isdigit() else f"{inner}b"
    return f"{x}~{y}"


@cache
def _size(dim: str, b: int, s: int, half: int) -> int:
    dim = dim.removesuffix(BY_VALUES)
    if "~" in dim:
        return int(dim.split("~")[list(zip(BATCHES, LENGTHS, strict=True)).index((b, s))])
    if dim.startswith("b*("):
        return b * _size(dim[3:-1], b, s, half)
    if dim == "s/2":
        return half
    match = re.fullmatch(r"(\d*)([bs])([+-]\d+)?", dim)
    if match is None:
        return int(dim)
    factor, letter, offset = match.groups()
    return int(factor or 1) * (b if letter == "b" else s) + int(offset or 0)
