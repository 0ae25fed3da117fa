"""Switches of a modeling file: what its code asks of a config to choose a branch.

A switch is one test on one field of a config, found in the syntax tree of the file: `config.x`,
`config.x is None`, `config.x == "gelu"`, or the same of an attribute to which a constructor has
assigned the field. A field that is only read is a switch too where some config has it off: 0, None
or empty, as `num_kv_shared_layers`. And so is a field that counts, by which code repeats
(`range(config.num_mem_blocks)`) or takes turns (`i % config.num_mem_blocks`): at one, the code does
neither. Held against the values that small configs have, a switch is
turned (both answers occur), or one answer is missing: then a branch, which some published config
may take, is built by no cell.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract import Absent, Entry, Stage
from harness.models import model_class, modeling_code
from harness.models.libraries import library
from harness.models.shrink.configs import is_config

#: The name of the field in a test, as `Switch.test` spells it.
_VALUE = "value"

#: The test of a field that counts.
_SEVERAL = f"{_VALUE} > 1"


@dataclass(frozen=True, slots=True)
class Switch:
    """One test on one field of a config, such as `value is not None` on `sliding_window`."""

    field: str
    test: str  # an expression of `value`
    line: int  # where it stands first
    tested: bool = True  # by an `if` or conditional expression; else only read, or counted by

    def answer(self, value: Any) -> bool | None:
        """The test's answer for a value of the field; None where it cannot be asked."""
        try:
            return bool(eval(self.test, {"__builtins__": {}}, {_VALUE: value}))
        except Exception:  # a comparison of what cannot be compared
            return None


def switches(path: Path) -> list[Switch]:
    """The switches of a modeling file, by field, in code that inference can reach."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    reachable = {
        line for s in modeling_code.statements(path) for line in range(s.first, s.last + 1)
    }
    found: dict[tuple[str, str], Switch] = {}
    for owner in tree.body:
        assigned = _assigned(owner)
        for test in _tests(owner):
            for atom in _atoms(test):
                switch = _switch(atom, assigned)
                if (
                    switch is not None
                    and switch.line in reachable
                    and not modeling_code.unreachable().no_switches.fullmatch(switch.field)
                ):
                    found.setdefault((switch.field, switch.test), switch)
        for name, line in _counts(owner, assigned):
            if line in reachable and not modeling_code.unreachable().no_switches.fullmatch(name):
                found.setdefault((name, _SEVERAL), Switch(name, _SEVERAL, line, tested=False))
    asked = {switch.field for switch in found.values()}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute | ast.Call):
            continue
        name = _field(node, {})
        if (
            name
            and name not in asked
            and node.lineno in reachable
            and not name.endswith("config")
            and not modeling_code.unreachable().no_switches.fullmatch(name)
        ):
            found.setdefault((name, _VALUE), Switch(name, _VALUE, node.lineno, tested=False))
    return sorted(found.values(), key=lambda s: (s.field, s.line))


def values_of(configs: Iterable[Any]) -> Mapping[str, list[Any]]:
    """The values of each field over some configs and their parts, each value once."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    left = list(configs)
    while left:
        config = left.pop()
        renamed = {own: name for name, own in getattr(type(config), "attribute_map", {}).items()}
        for name, value in vars(config).items():
            plain = value
            if is_config(value):
                left.append(value)
                plain = value.model_type
            for known in filter(None, (name, renamed.get(name))):
                found[known][repr(plain)] = plain
    return {name: list(values.values()) for name, values in found.items()}


def answers(switch: Switch, values: Mapping[str, list[Any]]) -> frozenset[bool]:
    """The answers that the values of the field give; none where it is no switch of theirs."""
    given = [switch.answer(value) for value in values.get(switch.field, ())]
    found = frozenset(answer for answer in given if answer is not None)
    return found if switch.tested or False in found else frozenset()


def survey(entries: Sequence[Entry], report: Callable[[Stage], None]) -> list[dict[str, Any]]:
    """The switches of the modeling files of some entries of transformers; runs in a child.

    Returns:
        By switch: `file`, `architectures`, `field`, `test`, `line`, and the `answers` that occur.
    """
    from transformers.utils import logging

    logging.set_verbosity_error()
    report(Stage.BUILD)
    configs: dict[str, list[Any]] = defaultdict(list)
    architectures: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        for head in entry.built:
            try:
                cls = model_class.of(entry.architecture, head)
                config = library(entry.library).config(
                    entry.architecture, entry.config, "tiny", head
                )
            except (Absent, ImportError):
                continue
            own = next(c for c in cls.__mro__ if c.__module__.startswith("transformers."))
            file = str(sys.modules[own.__module__].__file__)
            configs[file].append(config)
            architectures[file].add(entry.architecture)
    found = []
    for file in sorted(configs):
        values = values_of(configs[file])
        for switch in switches(Path(file)):
            occurring = answers(switch, values)
            if occurring:
                found.append(
                    {
                        "file": "/".join(Path(file).parts[-2:]),
                        "architectures": sorted(architectures[file]),
                        "field": switch.field,
                        "test": switch.test,
                        "line": switch.line,
                        "answers": sorted(occurring),
                    }
                )
    return found


def _tests(owner: ast.AST) -> Iterator[ast.expr]:
    """The tests of every `if` and conditional expression."""
    for node in ast.walk(owner):
        if isinstance(node, ast.If | ast.IfExp):
            yield node.test


def _atoms(test: ast.expr) -> Iterator[ast.expr]:
    """The parts of a test between `and`, `or` and `not`."""
    if isinstance(test, ast.BoolOp):
        for value in test.values:
            yield from _atoms(value)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield from _atoms(test.operand)
    else:
        yield test


def _counts(owner: ast.AST, assigned: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """The fields by which code repeats or takes turns, with the lines where it does."""
    for node in ast.walk(owner):
        match node:
            case ast.Call(func=ast.Name(id="range"), args=counts):
                pass
            case ast.BinOp(op=ast.Mod(), right=count):
                counts = [count]
            case _:
                continue
        for each in counts:
            name = _field(each, assigned)
            if name:
                yield name, node.lineno


def _assigned(owner: ast.AST) -> dict[str, str]:
    """The attributes to which a class assigns a field as it is: attribute -> field."""
    found = {}
    for node in ast.walk(owner):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, name = node.targets[0], _field(node.value, {})
            if name and isinstance(target, ast.Attribute):
                found[f"self.{target.attr}"] = name
            elif name and isinstance(target, ast.Name):
                found[target.id] = name
    return found


def _field(node: ast.expr, assigned: Mapping[str, str]) -> str:
    """The field of a config that an expression is; empty if it is none."""
    match node:
        case ast.Attribute(attr=name, value=ast.Name(id=owner)) if owner.endswith("config"):
            return name
        case ast.Attribute(attr=name, value=ast.Attribute(attr=owner)) if owner.endswith("config"):
            return name
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(name)), *_]):
            return name if ast.unparse(owner).endswith("config") else ""
    return assigned.get(ast.unparse(node), "")


def _switch(atom: ast.expr, assigned: Mapping[str, str]) -> Switch | None:
    """The switch that one part of a test is, if it asks for a field and constants alone."""
    name = _field(atom, assigned)
    if name:
        return None if name.endswith("config") else Switch(name, _VALUE, atom.lineno)
    if not isinstance(atom, ast.Compare) or len(atom.ops) != 1:
        return None
    name, other = _field(atom.left, assigned), atom.comparators[0]
    if not name or not _is_constant(other):
        return None
    shown = re.sub(r"^.*?(?= (?:is|==|!=|<|>|in|not in)\b| [<>=!])", "", ast.unparse(atom), count=1)
    return Switch(name, f"{_VALUE}{shown}", atom.lineno)


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(_is_constant, node.elts))
    return isinstance(node, ast.Constant) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)
    )
