"""Probes and the properties that families share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from harness.contract import Array, Arrays
from harness.toolkit.numerics import comparable, has_value

#: Relative: what a change of an input must at least move, and what rounding may.
MOVED, STILL = 1e-6, 1e-9

#: How much larger the values of a stronger change are. A codec such as Mimi rounds each frame to
#: the nearest codes: where a recording is one frame, a quarter of it may leave all of them.
STRONGER = 8

MEDIA = (
    "pixel_values",
    "pixel_values_videos",
    "input_features",
    "input_values",
    "audio_values",
    "flattened_patches",
    "visual_feats",
)

Property = Callable[[Arrays, Arrays], "str | None"]


class ProbeAnswer(NamedTuple):
    """The inputs on which a probe was judged, the outputs, and what is wrong with them."""

    inputs: Arrays
    outputs: Arrays
    violation: str | None


@dataclass(frozen=True, slots=True)
class Probe:
    """A further input, and what the reference's outputs on it must be like."""

    name: str
    inputs: Arrays
    violation: Property  # (outputs on base, outputs on this) -> what is wrong, or None
    of_tokens: bool = False  # other tokens of a text are right in any case: the library's fault
    stronger: Arrays | None = None  # instead of the inputs, where those show a violation

    def ask(self, model: Callable[[Arrays], Arrays], before: Arrays) -> ProbeAnswer:
        """Run a model on the probe's inputs, and on the stronger ones where those show too little.

        Args:
            model: outputs of inputs.
            before: its outputs on the plain inputs.
        """
        outputs = model(self.inputs)
        violation = self.violation(before, outputs)
        if self.stronger is None or violation is None:
            return ProbeAnswer(self.inputs, outputs, violation)
        return replace(self, inputs=self.stronger, stronger=None).ask(model, before)


def swapped(base: Arrays, other: Arrays, names: Collection[str]) -> Arrays:
    """The base inputs with the named ones from `other`."""
    return {name: other[name] if name in names else value for name, value in base.items()}


def changed_from(base: Arrays, other: Arrays, name: str, axis: int, start: int) -> Arrays:
    """The base inputs with one of them taken from `other` from `start` on along an axis."""
    value = base[name].copy()
    index = [slice(None)] * value.ndim
    index[axis] = slice(start, None)
    value[tuple(index)] = other[name][tuple(index)]
    return {**base, name: value}


def movement(before: Array, after: Array) -> float:
    """Largest absolute difference, relative to the largest value."""
    if before.shape != after.shape:
        return float("inf")
    finite = has_value(before) & has_value(after)
    if not finite.any():
        return 0.0
    a, b = before[finite].astype(np.float64), after[finite].astype(np.float64)
    return float(np.abs(a - b).max()) / (float(np.abs(a).max()) or 1.0)


def moves(what: str) -> Property:
    """The property that some output differs: one beyond an encoder's own, if there is any."""

    def violation(before: Arrays, after: Arrays) -> str | None:
        names = comparable(before)
        names = [n for n in names if not n.startswith("encoder")] or names
        if any(movement(before[n], after[n]) > MOVED for n in names if n in after):
            return None
        return f"expected {what} to change the outputs; {', '.join(names)} stayed the same"

    return violation


def sequence_output(outputs: Arrays, length: int) -> str | None:
    """The first output with one vector for each of `length` tokens."""
    for name in comparable(outputs):
        if (
            not name.startswith("encoder")
            and outputs[name].ndim >= 3
            and outputs[name].shape[1] == length
        ):
            return name
    return None


def nothing_before(position: int, length: int, what: str) -> Property:
    """The property that outputs before a position stay the same, and later ones do not."""

    def violation(before: Arrays, after: Arrays) -> str | None:
        name = sequence_output(before, length)
        if name is None:
            return None
        early = movement(before[name][:, :position], after[name][:, :position])
        late = movement(before[name][:, position:], after[name][:, position:])
        if early > STILL:
            return (
                f"expected {what} {position} to leave {name}[:, :{position}] alone; it moved by "
                f"{early:.2g}"
            )
        return None if late > MOVED else f"expected {what} {position} to change {name} after it"

    return violation


def something_before(length: int, what: str) -> Property:
    """The property that the first token's output changes."""

    def violation(before: Arrays, after: Arrays) -> str | None:
        name = sequence_output(before, length)
        if name is None or movement(before[name][:, 0], after[name][:, 0]) > MOVED:
            return None
        return f"expected {what} to change {name}[:, 0]; it stayed the same"

    return violation


def only_token(base: Arrays, other: Arrays, name: str, position: int) -> Arrays:
    """The base inputs with one token of each row replaced by another one, out of `other`."""
    ids = base[name].copy()
    for row, donors in zip(ids, other[name], strict=True):
        # The one of the same position first; a small vocabulary may have the same one there.
        donors = np.roll(donors, -position)
        row[position] = next(iter(donors[donors != row[position]]), row[position])
    return {**base, name: ids}


def causal(base: Arrays, other: Arrays, name: str = "input_ids") -> Iterator[Probe]:
    """A later token changes nothing before it."""
    if name in base and base[name].ndim == 2 and base[name].shape[1] >= 4:
        length = base[name].shape[1]
        position = length * 3 // 4
        inputs = only_token(base, other, name, position)
        yield Probe("causal", inputs, nothing_before(position, length, "token"), True)


def bidirectional(base: Arrays, other: Arrays, name: str = "input_ids") -> Iterator[Probe]:
    """A later token changes the first one's output."""
    if name in base and base[name].ndim == 2 and base[name].shape[1] >= 4:
        length = base[name].shape[1]
        inputs = only_token(base, other, name, 3)
        yield Probe("bidirectional", inputs, something_before(length, "token 3"), True)


def end_counts(base: Arrays, other: Arrays, name: str, axis: int) -> Iterator[Probe]:
    """The last quarter of an input along an axis changes the outputs.

    Args:
        base: the plain inputs.
        other: other values of the same shapes.
        name: of the input.
        axis: counted from the end, so that -1 is the last; one shorter than four has no quarter.
    """
    size = base[name].shape[axis]
    if size >= 4:
        start = size * 3 // 4
        inputs = changed_from(base, other, name, axis, start)
        stronger = None
        if base[name].dtype.kind == "f":
            louder = {name: other[name] * base[name].dtype.type(STRONGER)}
            stronger = changed_from(base, louder, name, axis, start)
        where = "" if axis == -1 else f" along axis {axis}"
        probe = "whole-input" if axis == -1 else f"whole-input{axis}"
        claim = moves(f"the last quarter of {name}{where}")
        yield Probe(probe, inputs, claim, stronger=stronger)


def every_end_counts(base: Arrays, other: Arrays, name: str) -> Iterator[Probe]:
    """The last quarter of an input along every axis but the first, its batch, changes the outputs.

    Spectra are (batch, time, mels) in some models and (batch, mels, time) in others: whichever axis
    is time, the end of the recording counts, and so do the highest frequencies.
    """
    for axis in range(-1, -base[name].ndim, -1):
        yield from end_counts(base, other, name, axis)


def each_modality(base: Arrays, other: Arrays) -> Iterator[Probe]:
    """Every modality on its own changes the outputs."""
    for name in MEDIA:
        if name in base:
            yield Probe(f"{name}-counts", swapped(base, other, {name}), moves(f"{name} alone"))
    if "input_ids" in base and any(name in base for name in MEDIA):
        inputs = swapped(base, other, {"input_ids"})
        yield Probe("text-counts", inputs, moves("input_ids alone"))
