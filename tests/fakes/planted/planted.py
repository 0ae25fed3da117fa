"""A planted operator, and the operators of a model in which one can be planted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from harness.diagnosis.events import watching
from harness.models.case import TinyCase
from harness.models.eager_reference import tensors

#: Functions of PyTorch that have the same name as operators of ATen, make floats, and are no views.
OPERATORS = frozenset(
    {
        "linear",
        "layer_norm",
        "rms_norm",
        "group_norm",
        "batch_norm",
        "conv1d",
        "conv2d",
        "embedding",
        "gelu",
        "silu",
        "relu",
        "sigmoid",
        "tanh",
        "softmax",
        "matmul",
        "scaled_dot_product_attention",
        "mean",
        "cumsum",
        "rsqrt",
        "pow",
        "exp",
        "softplus",
        "avg_pool2d",
        "max_pool2d",
        "mul",
        "add",
        "sub",
        "div",
        "roll",
        "sin",
        "cos",
    }
)

#: Effects of a planted operator.
WRONG, RAISES, ABORTS = "wrong", "raises", "aborts"


@dataclass(frozen=True)
class Place:
    """An operator in a model: its name, its key, and the module whose own code calls it."""

    operator: str
    key: str
    module: str
    depth: int


@dataclass(frozen=True)
class Planted:
    """A planted operator; without an effect, none."""

    effect: str = ""
    operator: str = ""
    key: str = ""

    @classmethod
    def of(cls, text: str) -> Planted:
        """The fault of `EFFECT/OPERATOR/KEY`."""
        return cls(*text.split("/", 2)) if text else cls()

    def applied(self, name: str, args: Any, kwargs: Any, made: Any) -> Any:
        """A call's result, wrong where this is the planted operator."""
        if not self.effect or name != self.operator or key_of(args, kwargs or {}, made) != self.key:
            return made
        if self.effect == ABORTS:
            os._exit(77)
        if self.effect == RAISES:
            raise RuntimeError(f"the planted {name} has no kernel for these operands")
        flat = made.reshape(-1)
        return (flat + 0.3 * flat.roll(1) + 0.1 * flat.abs().mean()).reshape(made.shape)

    def mode(self) -> TorchFunctionMode:
        """A context in which functions of PyTorch have the fault."""
        fault = self

        class Mode(TorchFunctionMode):
            """Applies the fault."""

            def __torch_function__(
                self, function: Any, types: Any, args: Any = (), kwargs: Any = None
            ) -> Any:
                made = function(*args, **(kwargs or {}))
                return fault.applied(name_of(function), args, kwargs, made)

        return Mode()


def name_of(function: Any) -> str:
    """The name of a function or an operator of PyTorch: `linear` of `linear.default`."""
    return str(getattr(function, "__name__", "")).partition(".")[0]


def key_of(args: Any, kwargs: Any, made: Any) -> str:
    """Shapes of the operands, and of a parameter the sum: each submodule has its own weights."""
    if not isinstance(made, torch.Tensor) or not made.is_floating_point() or made.numel() < 4:
        return ""
    held = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)]
    weight = next((a for a in held if isinstance(a, torch.nn.Parameter)), None)
    shapes = " ".join(sorted("x".join(map(str, a.shape)) for a in held))
    return shapes if weight is None else f"{shapes} {float(weight.double().sum()):.4f}"


def places(case: TinyCase) -> list[Place]:
    """The operators of a model on its plain inputs, each where it is called first."""
    module = case.module()
    stack: list[str] = []
    found: dict[tuple[str, str], Place] = {}

    class Mode(TorchFunctionMode):
        """Keeps what is called, and where."""

        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = function(*args, **(kwargs or {}))
            name = name_of(function)
            key = key_of(args, kwargs or {}, made) if name in OPERATORS else ""
            if key and stack:
                found.setdefault((name, key), Place(name, key, stack[-1], len(stack) - 1))
            return made

    def left(path: str, number: int, made: Any) -> None:
        stack.pop()

    torch.manual_seed(0)
    with torch.no_grad(), watching(module, lambda path, *_: stack.append(path), left), Mode():
        module(**tensors(case.inputs(), torch.float32), **case.options())
    return list(found.values())
