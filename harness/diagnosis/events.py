"""Events of an inference: a submodule is entered with its inputs, or left with its outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["in", "out"]

#: Between the parts of a key; no name of a module has it.
_SEPARATOR = "|"

#: A part of a name that outputs of models are left out for (`harness.models.outputs`), and what
#: stands for it in a key: diffusers calls modules `attentions`.
_LEFT_OUT, _STAND_IN = "attentions", "attention~s"


@dataclass(frozen=True, slots=True)
class Event:
    """One tensor at the border of a submodule.

    Attributes:
        path: of the submodule in the model, as `encoder.layer.0`; empty for the model itself.
        call: number of the submodule's call, from 0; a shared layer is called more than once.
        side: whether the tensor goes `in` or comes `out`.
        leaf: its number among the tensors that go in or come out.
    """

    path: str
    call: int
    side: Side
    leaf: int

    @property
    def key(self) -> str:
        """The event as the name of an output."""
        path = self.path.replace(_LEFT_OUT, _STAND_IN)
        return _SEPARATOR.join((path, str(self.call), self.side, str(self.leaf)))

    @classmethod
    def of(cls, key: str) -> Event:
        """The event of a key."""
        path, call, side, leaf = key.split(_SEPARATOR)
        found: Side = "in" if side == "in" else "out"
        return cls(path.replace(_STAND_IN, _LEFT_OUT), int(call), found, int(leaf))


#: Called with a submodule's path, the number of its call, and what goes in or comes out.
Hook = Callable[[str, int, Any], None]


@contextmanager
def watching(module: Any, entered: Hook, left: Hook) -> Iterator[None]:
    """A context in which hooks are called for the module and each submodule, in their order.

    Args:
        module: a `torch.nn.Module`.
        entered: gets `(args, kwargs)` of the call.
        left: gets its outputs.
    """
    calls: Counter[str] = Counter()
    open_calls: dict[str, list[int]] = {}
    handles = []

    def watch(path: str, part: Any) -> None:
        def before(_: Any, args: Any, kwargs: Any) -> None:
            number = calls[path]
            calls[path] += 1
            open_calls.setdefault(path, []).append(number)
            entered(path, number, (args, kwargs))

        def after(_: Any, args: Any, kwargs: Any, outputs: Any) -> None:
            left(path, open_calls[path].pop(), outputs)

        handles.append(part.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(part.register_forward_hook(after, with_kwargs=True))

    for path, part in module.named_modules():
        watch(path, part)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
