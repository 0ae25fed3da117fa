"""Seeded weights in a script: a short function that draws them, and the tensors that it gets wrong.

The function follows the general rule of `harness.models.weights`. A script is held to the
harness's own weights bit for bit: whatever differs is written down, as a range where there is one.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.diagnosis import source_text
from harness.models.weights import weight_rules
from harness.toolkit.seeded_values import uniform

#: Source text of the function that makes the values.
UNIFORM = '''\
def uniform(name, shape, seed=0):
    """Values in [-1, 1) that follow from a name."""
    count, text = math.prod(shape), f"{seed}\\0{name}\\0{tuple(shape)}"
    key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], "<u8")
    bits = np.random.Philox(key=key).random_raw((count + 1) // 2).view("<u4")[:count] >> 8
    return (bits.astype("f4") * np.float32(2**-23) - np.float32(1)).reshape(shape)
'''

#: Source text of the loop that draws each weight of `model`; `RANGES` is written before it.
LOOP = """\
embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
with torch.no_grad():
    for name, weight in {parameters}:
        values, first = uniform(name, weight.shape), weight.flatten()[0].item()
{exceptions}        {branch} (weight == first).all() and (weight.ndim < 2 or first):  # of a norm
{small}            values = first * (1 + np.float32(0.1) * values) if first else 0.1 * values
        elif id(weight) not in embeddings:
            values *= math.sqrt(3 / math.prod(weight.shape[1:])) if weight.ndim > 1 else 0.1
        weight.copy_(torch.from_numpy(np.asarray(values)))
"""

EXCEPTIONS = """\
        span = next((s for p, s in RANGES.items() if fnmatch.fnmatch(name, p)), None)
        if span:  # middle and half width
            values = span[0] + span[1] * values
"""

#: A layer scale of 1e-6 would hide its layer.
SMALL = """\
            first = first and math.copysign(max(abs(first), 0.3), first)
"""


@dataclass(frozen=True, slots=True)
class ScriptWeights:
    """Source text that seeds the weights of `model`, and the tensors that lie in a file.

    Attributes:
        code: statements.
        stored: tensors by name.
    """

    code: str
    stored: Arrays


def seeding(fresh: Any, wanted: Mapping[str, Any]) -> ScriptWeights:
    """The source text that makes the weights of a fresh module the wanted ones.

    Args:
        fresh: a torch module with the library's own weights.
        wanted: tensors by name, parameters and buffers.
    """
    import torch

    embeddings = {id(m.weight) for m in fresh.modules() if isinstance(m, torch.nn.Embedding)}
    ranges: dict[str, tuple[float, float]] = {}
    stored: Arrays = {}
    parameters = {
        name: tensor
        for name, tensor in fresh.named_parameters()
        if tensor.is_floating_point() and tensor.numel()
    }
    partial = len(parameters) < len([*fresh.parameters()])
    small = any(_is_small(tensor) for tensor in parameters.values())
    for name, tensor in parameters.items():
        right = wanted[name].detach().numpy()
        drawn = uniform(0, name, tuple(tensor.shape))
        if np.array_equal(_ruled(tensor, drawn, id(tensor) in embeddings), right):
            continue
        found = _range(name, drawn, right)
        if found is None:
            stored[name] = right
        else:
            ranges[name] = found
    others = {
        name: wanted[name].detach().numpy()
        for name, buffer in fresh.named_buffers()
        if name in wanted and not torch.equal(buffer, wanted[name])
    }
    loop = LOOP.replace(
        "{parameters}",
        "[(n, w) for n, w in model.named_parameters() if w.is_floating_point() and w.numel()]"
        if partial
        else "model.named_parameters()",
    )
    loop = loop.replace("{small}", SMALL if small else "")
    code = _text(loop, _short(ranges, [*parameters]), bool(stored or others))
    return ScriptWeights(code, stored | others)


def _is_small(tensor: Any) -> bool:
    first = float(tensor.flatten()[0].item())
    return 0 < abs(first) < 0.2 and bool((tensor == first).all())


def _ruled(tensor: Any, drawn: Array, embedding: bool) -> Array:
    """The values that `LOOP` gives a tensor without exceptions."""
    first = np.float32(tensor.flatten()[0].item())
    if bool((tensor == float(first)).all()) and (tensor.ndim < 2 or first):
        if _is_small(tensor):
            first = np.float32(math.copysign(0.3, first))
        return first * (1 + np.float32(0.1) * drawn) if first else np.float32(0.1) * drawn
    if embedding:
        return drawn
    scale = math.sqrt(3 / math.prod(tensor.shape[1:])) if tensor.ndim > 1 else 0.1
    return drawn * np.float32(scale)


def _range(name: str, drawn: Array, right: Array) -> tuple[float, float] | None:
    """Middle and half width by which the drawn values become the right ones, bit for bit."""
    shape = right.shape
    spans = [(0.0, 1.0), (0.0, 0.5), (0.0, 0.1)]
    spans += [
        ((rule.low + rule.high) / 2, (rule.high - rule.low) / 2)
        for rule in weight_rules()
        if rule.how == "uniform" and rule.pattern.search(name)
    ]
    for count in sorted({*shape, *(math.prod(shape[i:]) for i in range(len(shape)))}):
        spans.append((0.0, math.sqrt(3.0 / max(1, count))))
    largest = np.abs(drawn).max()
    if largest:  # a product of a range with the size of groups or experts
        ratio = float(np.abs(right).max() / largest)
        spans += [(0.0, math.sqrt(3.0 / n)) for n in (round(3 / ratio**2),) if n] if ratio else []
    spans += [(sign * c, sign * c * 0.1) for c in (0.3, 1.0) for sign in (1.0, -1.0)]
    for middle, half in spans:
        if np.array_equal(np.float32(middle) + np.float32(half) * drawn, right):
            return middle, half
    return None


def _short(
    ranges: Mapping[str, tuple[float, float]], names: list[str]
) -> dict[str, tuple[float, float]]:
    """The ranges by patterns in which numbers of layers are `*`, where all that match share one."""
    made: dict[str, tuple[float, float]] = {}
    for name, span in ranges.items():
        for pattern in (re.sub(r"^.*\.(?=[^.]+\.[^.]+$)", "*.", name), re.sub(r"\d+", "*", name)):
            alike = [other for other in names if fnmatch.fnmatch(other, pattern)]
            if all(ranges.get(other) == span for other in alike):
                made[pattern] = span
                break
        else:
            made[name] = span
    return made


def _text(loop: str, ranges: Mapping[str, tuple[float, float]], stored: bool) -> str:
    lines = []
    if ranges:
        told = source_text.wrapped(f"RANGES = {source_text.literal(dict(ranges))}")
        lines.append(told)
    loop = loop.replace("{exceptions}", EXCEPTIONS if ranges else "")
    lines.append(loop.replace("{branch}", "elif" if ranges else "if").rstrip())
    if stored:
        lines.append("known = model.state_dict()")
        lines.append(
            "model.load_state_dict("
            "{n: torch.from_numpy(stored[n]) for n in stored if n in known}, strict=False)"
        )
    return "\n".join(lines)
