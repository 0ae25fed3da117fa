"""Sizes that are no field of a config but the default of a function in the modeling file.

Linear attention computes a sequence in chunks of 64 tokens, a loop over each. Twice that many
tokens would be no small model, and with fewer the state that goes from chunk to chunk is never
used; exporters unroll the loop besides.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import INTEGER, Key

TABLE = Path(__file__).with_suffix(".toml")


@cache
def caps() -> Mapping[str, int]:
    """The rows of `function_defaults.toml`: the name of an argument, and its most."""
    source = TomlFile(TABLE)
    source.check_top(dict.fromkeys(source.tables, Key("The most.", INTEGER)))
    return source.tables


def cap(module: Any) -> None:
    """Cap the defaults of every function beside the classes that a module is made of.

    It changes the functions themselves, for the rest of the process.

    Args:
        module: a `torch.nn.Module`.
    """
    for function in _functions(module):
        code, values = function.__code__, function.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
        if caps().keys() & set(names):
            function.__defaults__ = tuple(
                min(value, caps().get(name, value)) if isinstance(value, int) else value
                for name, value in zip(names, values, strict=True)
            )


def _functions(module: Any) -> Iterator[FunctionType]:
    files = {type(part).__module__ for part in module.modules()}
    for file in sorted(name for name in files if ".models." in name):
        for value in list(vars(sys.modules[file]).values()):
            function = inspect.unwrap(value) if callable(value) else None
            if isinstance(function, FunctionType) and function.__module__ == file:
                yield function
