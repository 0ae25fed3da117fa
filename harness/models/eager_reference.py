"""Eager execution on the CPU: reference outputs in float64, and in the arithmetic of a device."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from harness.contract import Array, Arrays
from harness.models import moved_values, quantized, rounded_products
from harness.models.module_copy import ModuleCopies
from harness.models.outputs import flatten
from harness.toolkit import seeded_values
from harness.toolkit.cpu_seed import seed_cpu
from harness.toolkit.dtype_cast import cast


class EagerReference:
    """PyTorch's eager execution of one model, in plain arithmetic.

    Neither fused attention nor grouped products of experts, both of which a backend may use. (The
    grouped product exists in float64 on no device.)

    Args:
        copies: of a float32 model in evaluation mode.
        options: arguments of forward that are no arrays.
        plain_attention: the implementation of attention that is plain arithmetic.
        seed: of the noise on weights.
        sparing: whether one module at most is in memory beside the template, which is slower.
    """

    def __init__(
        self,
        copies: ModuleCopies,
        options: Mapping[str, Any],
        plain_attention: str,
        seed: int,
        *,
        sparing: bool = False,
    ) -> None:
        self._sparing = sparing
        self._copies = copies
        self._template = copies.module  # never changed
        self._options = options
        self._choices = plain_choices(plain_attention)
        self._seed = seed
        self._modules: dict[str, Any] = {}  # plain modules by dtype, and jittered ones

    def outputs(
        self,
        inputs: Mapping[str, Array],
        dtype: str,
        seed: int,
        further: Mapping[str, Any] = MappingProxyType({}),
    ) -> Arrays:
        """Outputs in a dtype or one of the formats; see `harness.contract.Case.reference`.

        Args:
            inputs: by argument name.
            dtype: or a format.
            seed: of the global random generators.
            further: arguments of forward that are no arrays, beside those of the model.
        """
        module = self._module(dtype)
        seed_cpu(seed)
        np.random.seed(seed)  # noqa: NPY002 (the generator that modeling code may draw from)
        return self._forward(module, inputs, dtype, further)

    def _forward(
        self,
        module: Any,
        inputs: Mapping[str, Array],
        dtype: str,
        further: Mapping[str, Any] = MappingProxyType({}),
    ) -> Arrays:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        # A library without a choice of attention calls PyTorch's; this is the plain form of it.
        given = tensors(inputs, compute_dtype(dtype))
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), rounded_products.rounding(dtype):
            raw = module(**given, **self._options, **further)
        return flatten(raw)

    def _module(self, dtype: str) -> Any:
        if dtype not in self._modules:
            self._make_room(dtype)
            own = dtype in quantized.GRIDS  # whose weights are written
            module = self._copies.copy() if own else self._copies.shared()
            for setter, choice in self._choices.items():
                function = getattr(module, setter, None)
                if function is not None:
                    # Most architectures have no such choice, and each says so in its own way.
                    with contextlib.suppress(
                        ValueError, KeyError, AttributeError, NotImplementedError
                    ):
                        function(choice)
            # Again in evaluation mode: what is computed on the way there has the new dtype then.
            module = cast(module, compute_dtype(dtype)).eval()
            if dtype in quantized.GRIDS:
                quantized.quantize(module, dtype)
            self._modules[dtype] = module
        return self._modules[dtype]

    def release(self) -> None:
        """Drop every module that has memory of its own, where memory is short."""
        self._make_room("")

    def _make_room(self, dtype: str) -> None:
        """Where memory is short, drop the modules of other dtypes than float32, the template's."""
        if self._sparing and dtype != "float32":
            for other in self._modules.keys() - {"float32"}:
                del self._modules[other]

    def weights(self) -> Sequence[str]:
        """The matrices of the model: the middle one first, then the middles of what is left."""
        names = [
            n for n, p in self._template.named_parameters() if p.ndim >= 2 and p.is_floating_point()
        ]
        names = names or [n for n, p in self._template.named_parameters()]
        # An embedding's noise reaches only the tokens in the text; ask the others first.
        names.sort(key=lambda name: bool(re.search("embed|position", name)))
        return [names[i] for i in _spread_out(len(names))]

    def perturbed(
        self, inputs: Mapping[str, Array], weight: str, scale: float, dtype: str
    ) -> Arrays:
        """Outputs with noise on one weight, `scale` times that weight's own RMS."""
        import torch

        module = self._module(dtype)
        parameter = dict(module.named_parameters())[weight]
        before = parameter.detach().clone()
        noise = seeded_values.uniform(self._seed, f"control/{weight}", tuple(parameter.shape))
        rms = float(before.double().pow(2).mean().sqrt()) or 1.0
        try:
            with torch.no_grad():
                step = torch.from_numpy(noise.astype(np.float64)).to(before.dtype)
                parameter.add_(step * (scale * rms * 3**0.5))
            seed_cpu(0)
            return self._forward(module, inputs, dtype)
        finally:
            with torch.no_grad():
                parameter.copy_(before)

    def jittered(self, inputs: Mapping[str, Array], dtype: str, times: float) -> Arrays:
        """Outputs in float32 after all data moved by about one rounding of `dtype`.

        Weights, buffers, inputs and values of functions: see `harness.models.moved_values`. A noise
        floor of a model that refuses float64, or that dtype, or that amplifies such a rounding.

        Args:
            inputs: by argument name.
            dtype: whose rounding is meant.
            times: so many roundings.
        """
        import torch

        key = f"jittered {dtype} {times}"
        step = times * torch.finfo(compute_dtype(dtype)).eps
        if key not in self._modules:
            self._make_room(key)
            module = ModuleCopies(self._module("float32")).copy()
            self._modules[key] = moved_values.module_moved(module, step, self._seed)
        given = moved_values.inputs_moved(dict(inputs), step, self._seed)
        seed_cpu(0)
        arithmetic = dtype if dtype in rounded_products.FORMATS else "float32"
        with moved_values.moving(step, self._seed):
            return self._forward(self._modules[key], given, arithmetic)


def plain_choices(attention: str) -> Mapping[str, str]:
    """Choices of plain arithmetic by the setter of a model: an implementation of attention, ..."""
    return {"set_attn_implementation": attention, "set_experts_implementation": "eager"}


def compute_dtype(name: str) -> Any:
    """The torch dtype of a reference; on a grid and in TensorFloat-32 that is float32."""
    import torch

    own = name not in quantized.GRIDS and name not in rounded_products.FORMATS
    return getattr(torch, name) if own else torch.float32


def tensors(arrays: Mapping[str, Array], dtype: Any) -> dict[str, Any]:
    """Torch tensors of arrays, floating ones in `dtype`."""
    import torch

    # Copies: some models write into their inputs, which are another run's inputs too.
    made = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in made.items()}


def _spread_out(count: int) -> list[int]:
    """Indices of `count` things, so that the first few lie far apart: 4, 2, 6, 1, 3, 5, 7."""
    found: list[int] = []
    spans = [(0, count)]
    while spans:
        low, high = spans.pop(0)
        if low < high:
            middle = (low + high) // 2
            found.append(middle)
            spans += [(low, middle), (middle + 1, high)]
    return found
