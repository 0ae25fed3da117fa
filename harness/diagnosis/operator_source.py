"""Source text of a chain of operators: a class of PyTorch, and statements that make its tensors."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.contract import Array, Arrays, Unsupported
from harness.diagnosis import source_text

#: Numbers of an array that are written down at most.
MOST = 64

#: Dtypes that PyTorch gives to numbers by itself.
_INFERRED = frozenset({"int64", "bool", "float32"})

#: Arguments of operators that say where a tensor lies, which is a script's own choice.
_PLACE = frozenset({"device", "layout", "pin_memory"})

#: The name that a trace gives to an argument, with its number.
_ARGUMENT = re.compile(r"^arg(\d+)_1$")

#: The end of a line by which `torch.fx` drops a value that nobody needs any more.
_DROPPED = re.compile(r";\s+(?:\w+ = )+None$")


@dataclass(slots=True)
class OperatorSource:
    """The source text of a chain of operators.

    Attributes:
        code: the class `Operators`.
        inputs: the statement that sets `inputs`, a tuple of tensors in the order of its forward.
        attributes: the class's name of each weight, by the part's.
        stored: arrays that lie in a file beside the script, by name.
    """

    code: str
    inputs: str
    attributes: dict[str, str] = field(default_factory=dict)
    stored: Arrays = field(default_factory=dict)


def operator_source(module: Any, inputs: Arrays, *, drawn: bool) -> OperatorSource:
    """The source text of a part of an operator graph.

    Args:
        module: a `torch.fx.GraphModule`, as `OperatorGraph.part` makes it.
        inputs: recorded arrays by the names of its placeholders.
        drawn: whether floats are drawn at random; else those of more than `MOST` numbers are
            stored.

    Raises:
        Unsupported: the chain returns no tensor.
    """
    source = OperatorSource("", "")
    graph, renamed, weights = _tidied(module, source)
    names = [node.name for node in graph.nodes if node.op == "placeholder"]
    tensors = {name: inputs[renamed[name]] for name in names}
    text = graph.python_code("self").src.strip()
    lines = [_DROPPED.sub("", line) for line in text.splitlines()]
    body = [_plain(line) for line in _direct(lines[1:])]
    made = [
        f"        self.{name} = {source_text.wrapped(_text(name, value, source, drawn), ' ' * 12)}"
        for name, value in weights.items()
    ]
    if made:
        made = ["    def __init__(self):", "        super().__init__()", *made, ""]
    head = f"    def forward({', '.join(['self', *names])}):"
    source.code = "\n".join(
        ["class Operators(torch.nn.Module):", *made, head, *(f"    {line}" for line in body)]
    )
    texts = [_text(name, array, source, drawn) for name, array in tensors.items()]
    short = f"inputs = ({', '.join(texts)},)"
    rows = [f"    {text}," for text in texts]
    long = "\n".join(["inputs = (", *rows, ")"])
    source.inputs = short if len(short) <= source_text.WIDTH else long
    return source


def _tidied(module: Any, source: OperatorSource) -> tuple[Any, dict[str, str], dict[str, Array]]:
    """A graph that returns one tensor, the part's names of its inputs, and its weights."""
    import torch

    graph = torch.fx.Graph()
    copies: dict[Any, Any] = {}
    renamed: dict[str, str] = {}
    weights: dict[str, Array] = {}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            made = graph.placeholder(_name(_argument(node.target)))
            renamed[made.name] = node.target
        elif node.op == "get_attr":
            name = _name(node.target.strip("_").replace(".", "_"))
            source.attributes[node.target] = name
            weights[name] = _array(_attribute(module, node.target))
            made = graph.create_node("get_attr", name)
        elif node.op == "output":
            results = [*node.args[0].values()]
            if not results:
                raise Unsupported("these operators return no tensor")
            graph.output(copies[results[0].args[0]])  # what its clone is of
            continue
        else:
            made = graph.node_copy(node, lambda used: copies[used])
            made.kwargs = {k: v for k, v in made.kwargs.items() if k not in _PLACE}
        copies[node] = made
    for node in reversed([*graph.nodes]):  # clones of other results
        if node.op == "call_function" and not node.users:
            graph.erase_node(node)
    return graph, renamed, weights


def _direct(lines: list[str]) -> list[str]:
    """The lines of a function, which returns its last value without a name for it."""
    *before, made, returned = lines
    name = returned.removeprefix("    return ")
    found = re.match(rf"    {re.escape(name)} = (?P<value>.+)", made)
    return [*before, f"    return {found['value']}"] if found else lines


def _attribute(module: Any, path: str) -> Any:
    for word in path.split("."):
        module = getattr(module, word)
    return module


def _array(tensor: Any) -> Array:
    return np.array(tensor.detach().resolve_conj().resolve_neg().numpy())


def _argument(target: str) -> str:
    """The name of a part's input: that of the operator that made it, or `x0` for an argument."""
    return _ARGUMENT.sub(r"x\1", target.removeprefix("v_"))


def _name(wanted: str) -> str:
    return f"{wanted}_" if keyword.iskeyword(wanted) or wanted in ("self", "inputs") else wanted


def _plain(line: str) -> str:
    """A line of `torch.fx`'s source text with full names in place of its globals."""
    line = re.sub(r"(?<![\w.])(inf|nan)\b", r'float("\1")', line)
    return source_text.wrapped(line, " " * 12)


def _text(name: str, array: Array, source: OperatorSource, drawn: bool) -> str:
    """The source text of a tensor."""
    shape = ", ".join(map(str, array.shape)) or "()"
    if array.size and (array == array.flat[0]).all():
        value = source_text.literal(array.flat[0].item())
        given = source_text.literal(tuple(array.shape))
        return f"torch.full({given}, {value}, dtype=torch.{array.dtype.name})"
    if drawn and array.dtype.kind == "f" and np.isfinite(array).all():
        return f"torch.randn({shape})"
    if array.size <= MOST:
        told = source_text.numbers(array.tolist())
        dtype = "" if array.dtype.name in _INFERRED else f", dtype=torch.{array.dtype.name}"
        return f"torch.tensor({told}{dtype})"
    source.stored[name] = array
    return f'torch.from_numpy(stored["{name}"])'
