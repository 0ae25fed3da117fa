"""Statements of a modeling file that inference can reach: what coverage of its code counts.

A statement counts if it lies in the body of a function that the models in question reach: in their
classes, in whatever these name, and so on. The rules of `modeling_code.toml` leave out what no
inference reaches: initial weights, losses, kernels of a GPU. So does its form: a docstring, and a
block that ends in `raise` or only warns, since it answers a wrong call.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, PATTERNS, STRING, STRINGS, Key

TABLE = Path(__file__).with_suffix(".toml")

_REASON = Key("Why no inference reaches the code.", STRING, required=True)
NAMED_KEYS: Mapping[str, Key] = {
    "match": Key("Each matches a whole name.", PATTERNS, required=True),
    "reason": _REASON,
}
UNSET_KEYS: Mapping[str, Key] = {
    "names": Key("Arguments and attributes.", STRINGS, required=True),
    "reason": _REASON,
}
#: The keys of the file.
KEYS: Mapping[str, Key] = {
    "function": Key("Functions that are left out.", ANY, required=True),
    "class": Key("Classes that are left out.", ANY, required=True),
    "unset": Key("Names that are None or false in inference.", ANY, required=True),
    "no_switch": Key("Config fields that choose no branch.", ANY, required=True),
}

#: Calls that only tell the user something.
_REMARKS = re.compile(r"(logger|warnings|logging)\.\w+|print|deprecate|warn_once")

_Body = Sequence[ast.stmt]
_NAMED = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, by the lines of its own: of a compound statement, those of its head."""

    function: str  # the qualified name, as `BertModel.forward`
    first: int
    last: int

    def is_run(self, lines: Collection[int]) -> bool:
        """Whether one of the lines that have been run is its own."""
        return any(line in lines for line in range(self.first, self.last + 1))


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The rules of `modeling_code.toml`."""

    functions: re.Pattern[str]
    classes: re.Pattern[str]
    unset: frozenset[str]
    no_switches: re.Pattern[str]


@cache
def unreachable() -> Unreachable:
    """Reads `modeling_code.toml`."""
    source = TomlFile(TABLE)
    source.check_top(KEYS)
    functions = source.check_rows("function", NAMED_KEYS)
    classes = source.check_rows("class", NAMED_KEYS)
    unset = source.check_rows("unset", UNSET_KEYS)
    names = frozenset(name for row in unset for name in row["names"])
    no_switches = source.check_rows("no_switch", NAMED_KEYS)
    return Unreachable(_any_of(functions), _any_of(classes), names, _any_of(no_switches))


def _any_of(rows: Iterable[Mapping[str, Any]]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for row in rows for pattern in row["match"]))


def statements(path: Path, models: Iterable[str] | None = None) -> list[Statement]:
    """The statements of a modeling file that inference can reach, in the order of lines.

    Args:
        path: of the file.
        models: the classes that inference begins with; None for all of the file.
    """
    text = path.read_text(encoding="utf-8")
    compiled = _compiled_lines(compile(text, str(path), "exec"))
    body = ast.parse(text).body
    if models is not None:
        reached = _reached(body, models)
        body = [node for node in body if not isinstance(node, _NAMED) or node.name in reached]
    return [s for s in _of_scope(body, ()) if compiled & set(range(s.first, s.last + 1))]


def _reached(body: _Body, models: Iterable[str]) -> set[str]:
    """The names of a module that some of its classes name, and what these name, and so on."""
    named: dict[str, set[str]] = {}
    for node in body:
        names = set(_names(node))
        if isinstance(node, _NAMED):
            named.setdefault(node.name, set()).update(names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                named.setdefault(ast.unparse(target), set()).update(names)
    reached, left = set[str](), [*models]
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += named.get(name, ())
    return reached


def _names(node: ast.AST) -> Iterator[str]:
    """The names in a piece of code, those in functions that are left out excepted."""
    if isinstance(node, ast.Name):
        yield node.id
    if not (isinstance(node, ast.FunctionDef) and unreachable().functions.fullmatch(node.name)):
        for child in ast.iter_child_nodes(node):
            yield from _names(child)


def _compiled_lines(code: Any) -> set[int]:
    """The lines for which there is code that can be traced."""
    found = {line for _, _, line in code.co_lines() if line}
    for constant in code.co_consts:
        if hasattr(constant, "co_lines"):
            found |= _compiled_lines(constant)
    return found


def _of_scope(body: _Body, names: tuple[str, ...]) -> Iterator[Statement]:
    """The statements in the functions of a module or class."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            if not unreachable().classes.fullmatch(node.name):
                yield from _of_scope(node.body, (*names, node.name))
        elif isinstance(node, ast.FunctionDef):
            yield from _of_function(node, names)
        elif isinstance(node, ast.If | ast.Try):
            yield from _of_scope(node.body, names)
            yield from _of_scope(node.orelse, names)


def _of_function(node: ast.FunctionDef, names: tuple[str, ...]) -> Iterator[Statement]:
    if not unreachable().functions.fullmatch(node.name) and not _refuses(node.body):
        yield from _of_body(node.body, (*names, node.name))


def _of_body(body: _Body, names: tuple[str, ...]) -> Iterator[Statement]:
    """The statements of a block that can be reached; none where it only refuses or remarks."""
    if _refuses(body):
        return
    for node in body:
        if isinstance(node, ast.FunctionDef):
            yield from _of_function(node, names)
        elif not _is_remark(node):
            yield from _of_statement(node, names)
            if isinstance(node, ast.Return | ast.Continue | ast.Break):
                return


def _of_statement(node: ast.stmt, names: tuple[str, ...]) -> Iterator[Statement]:
    function = ".".join(names)
    blocks = _blocks(node)
    if not blocks:
        yield Statement(function, node.lineno, node.end_lineno or node.lineno)
        return
    if all(not body or _refuses(body) for body in blocks):
        return  # a check of the arguments
    yield Statement(function, node.lineno, min(body[0].lineno for body in blocks if body) - 1)
    reached: tuple[bool | None, ...] = ()
    if isinstance(node, ast.If):
        known = _truth(node.test)
        reached = (known, None if known is None else not known)
    for body, is_reached in zip_longest(blocks, reached):
        if is_reached is not False:
            yield from _of_body(body, names)


def _blocks(node: ast.stmt) -> list[_Body]:
    """The blocks of a compound statement: of an `if`, its body and its `else`."""
    if isinstance(node, ast.If | ast.For | ast.While):
        return [node.body, node.orelse]
    if isinstance(node, ast.With):
        return [node.body]
    if isinstance(node, ast.Try):  # its handlers wait for errors
        return [node.body, node.orelse, node.finalbody]
    return []


def _refuses(body: _Body) -> bool:
    """Whether a block does nothing but raise or tell the user something; a docstring is no code."""
    if not body:
        return False
    *before, last = body
    if isinstance(last, ast.Raise):
        return all(isinstance(n, ast.Assign | ast.Expr | ast.If | ast.Raise) for n in before)
    return all(_is_remark(node) for node in body)


def _is_remark(node: ast.stmt) -> bool:
    """Whether a statement has no effect on the outputs: text, `pass`, a warning, an assertion."""
    if isinstance(node, ast.Pass | ast.Assert | ast.Raise | ast.Global | ast.Nonlocal | ast.Import):
        return True
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    if isinstance(value, ast.Call):
        return bool(_REMARKS.fullmatch(ast.unparse(value.func)))
    return isinstance(value, ast.Constant)


def _truth(test: ast.expr) -> bool | None:
    """The value of a test in inference, where it follows from names that are unset there."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            value = _truth(operand)
            return None if value is None else not value
        case ast.BoolOp(op=operator, values=values):
            found = [_truth(value) for value in values]
            decisive = isinstance(operator, ast.Or)
            if decisive in found:
                return decisive
            return None if None in found else not decisive
        case ast.Compare(left=left, ops=[operator], comparators=[ast.Constant(value=None)]):
            if _is_unset(left) and isinstance(operator, ast.Is | ast.IsNot):
                return isinstance(operator, ast.Is)
        case _ if _is_unset(test):
            return False
    return None


def _is_unset(node: ast.expr) -> bool:
    """Whether an expression is one of the unset names: as a name, an attribute, or a call of it."""
    if isinstance(node, ast.Call):
        node = node.func
    name = node.id if isinstance(node, ast.Name) else ""
    name = node.attr if isinstance(node, ast.Attribute) else name
    return name in unreachable().unset
