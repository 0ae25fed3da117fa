"""Seeded weights: a model's random parameters and buffers, overwritten by (seed, name, shape).

The values keep activations of order 1, so that a relative error means something.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.toolkit.seeded_values import uniform, write_uniform
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, NUMBER, PATTERN, Key

TABLE = Path(__file__).with_suffix(".toml")

#: The values of a tensor, from uniform ones in [-1, 1); each follows from its own.
Law = Callable[[NDArray[np.float32]], NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True)
class WeightRule:
    """One row of `weights.toml`.

    Attributes:
        pattern: found anywhere in the name of a parameter or buffer, as Mamba's `A_log`.
        how: `keep` the library's value, or `uniform` between `low` and `high`.
    """

    pattern: re.Pattern[str]
    how: str
    low: float
    high: float


#: The keys of a `[[rule]]`.
KEYS: Mapping[str, Key] = {
    "match": Key("Found in the name of a parameter or buffer.", PATTERN, required=True),
    "how": Key("What the tensor becomes.", choices=("keep", "uniform"), required=True),
    "low": Key("The least value.", NUMBER),
    "high": Key("The largest value.", NUMBER),
}


@cache
def weight_rules() -> tuple[WeightRule, ...]:
    """The rows of `weights.toml`, in order; the first that matches a name wins."""
    source = TomlFile(TABLE)
    source.check_top({"rule": Key("The rules, in order.", ANY)})
    return tuple(
        WeightRule(re.compile(row["match"]), row["how"], row.get("low", 0.0), row.get("high", 0.0))
        for row in source.check_rows("rule", KEYS)
    )


def fill(module: Any, seed: int, unset: Collection[int] = ()) -> None:
    """Overwrites a model's random parameters and buffers in place, in their own dtype.

    A value that the library initialises to a constant stays near it (norm weights near 1, biases
    small); a matrix is uniform with variance 1 / fan_in (LeCun et al., Efficient BackProp, 1998,
    section 4.6). Integers, and batch norms' statistics, stay (see `calibrate`).

    Args:
        module: a torch.nn.Module on the CPU.
        seed: the run's seed.
        unset: addresses of the matrices that were not initialised, all of which get values.
    """
    import torch

    embeddings = {
        id(m.weight)
        for m in module.modules()
        if isinstance(m, torch.nn.Embedding | torch.nn.EmbeddingBag)
    }
    transposed = {
        id(m.weight): m.groups
        for m in module.modules()
        if isinstance(
            m, torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d
        )
    }
    # Conv1D of GPT-2 keeps its weight as (in, out).
    swapped = {id(m.weight) for m in module.modules() if type(m).__name__ == "Conv1D"}
    computed = [re.compile(key) for key in getattr(module, "_keys_to_ignore_on_save", None) or ()]
    saved = module.state_dict(keep_vars=True).keys()  # without the buffers that are computed
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        is_unset = tensor.data_ptr() in unset
        is_buffer = not isinstance(tensor, torch.nn.Parameter)
        is_computed = any(key.search(name) for key in computed)  # as sinusoidal positions
        if (is_computed or (is_buffer and name not in saved)) and not is_unset:
            continue  # a checkpoint has none of it
        rule = next((r for r in weight_rules() if r.pattern.search(name)), None)
        if rule is None and is_buffer and not is_unset:
            continue
        if rule is not None and rule.how == "keep":
            if not is_unset:
                continue
            rule = None
        if rule is not None:
            law = _between(rule.low, rule.high)
        else:
            law = _law(
                tensor,
                None if is_unset else _constant(tensor.detach()),
                embedding=id(tensor) in embeddings,
                bias=name.endswith("bias"),
                transposed=transposed.get(id(tensor)),
                swapped=id(tensor) in swapped,
            )
        _write(tensor, seed, name, law)


def _write(tensor: Any, seed: int, name: str, law: Law) -> None:
    """Overwrites a tensor block by block, so that there is no second copy of it."""
    import torch

    held = tensor.detach()
    shape = tuple(held.shape)
    if not held.is_contiguous():
        values = np.asarray(law(uniform(seed, name, shape)), dtype=np.float32)
        held.copy_(torch.from_numpy(values))
        return
    flat = held.view(-1)

    def write(start: int, u: NDArray[np.float32]) -> None:
        values = np.asarray(law(u), dtype=np.float32)
        flat[start : start + u.size].copy_(torch.from_numpy(values))

    write_uniform(seed, name, shape, write)


def _constant(tensor: Any) -> float | None:
    """The number that the library initialises a tensor to; None where it drew random numbers.

    A tensor of one number counts as drawn unless the number has few digits, as a chosen one has.
    """
    low, high = float(tensor.min()), float(tensor.max())
    if low != high or (tensor.numel() == 1 and abs(float(f"{low:.3g}") - low) > 1e-6 * abs(low)):
        return None
    return low


def _between(low: float, high: float) -> Law:
    middle, half = (low + high) / 2, (high - low) / 2
    return lambda u: middle + half * u


def _law(
    tensor: Any,
    constant: float | None,
    *,
    embedding: bool,
    bias: bool,
    transposed: int | None,
    swapped: bool,
) -> Law:
    if embedding:
        return lambda u: u
    if constant is not None and (tensor.ndim < 2 or constant != 0.0):
        if constant == 0.0:
            return lambda u: 0.1 * u
        if abs(constant) < 0.2 and not bias:
            constant = math.copysign(0.3, constant)  # a layer scale of 1e-6 would hide its layer
        middle = np.float32(constant)
        return lambda u: middle * (1 + np.float32(0.1) * u)
    if tensor.ndim < 2:
        half = np.float32(0.1 if bias else 0.5)
        return lambda u: u * half
    if transposed is not None:
        fan_in = tensor.shape[0] // transposed
    elif swapped:
        fan_in = tensor.shape[0]
    elif tensor.ndim == 2:
        fan_in = tensor.shape[1]
    elif tensor.ndim == 3 and tensor.shape[0] > 1 and min(tensor.shape[1:]) > 8:
        fan_in = min(tensor.shape[1:])  # stacked experts, either orientation
    else:
        fan_in = math.prod(tensor.shape[1:])
    largest = np.float32(math.sqrt(3.0 / max(1, fan_in)))
    return lambda u: u * largest


def parameter_count(module: Any) -> int:
    """How many parameters a torch module has, tied ones once."""
    return sum(p.numel() for p in module.parameters())
