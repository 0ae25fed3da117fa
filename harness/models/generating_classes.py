"""The classes of transformers that have a `generate()`, and those that cells let generate."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from harness.catalog import heads
from harness.catalog.exemptions import exempt_checks
from harness.contract import BASE, Absent, Entry
from harness.models import model_class, own_generation

#: The exemptions of a cell without which its text is judged token by token, or its answer as such.
JUDGED, OWN = "generate", "own-generate"

#: How a class generates whose tokens are judged one by one.
TOKENS = "tokens"


def of_library() -> tuple[Mapping[str, type], list[str]]:
    """The model classes with a `generate()` by name, and modeling modules that don't import here.

    Every modeling module of transformers is imported, which takes 15 seconds.
    """
    import transformers.models as models
    from transformers import PreTrainedModel

    found: dict[str, type] = {}
    unread: list[str] = []
    for folder in pkgutil.iter_modules(models.__path__):
        package = importlib.import_module(f"{models.__name__}.{folder.name}")
        for file in pkgutil.iter_modules(package.__path__):
            if not file.name.startswith("modeling_"):
                continue
            try:
                module = importlib.import_module(f"{package.__name__}.{file.name}")
            except ImportError as error:
                unread.append(f"{file.name}: {error}")
                continue
            found |= {
                name: cls
                for name, cls in vars(module).items()
                if inspect.isclass(cls)
                and issubclass(cls, PreTrainedModel)
                and cls.__module__ == module.__name__
                and own_generation.generates(cls)
            }
    return found, unread


def of_cells(entries: Iterable[Entry]) -> Mapping[str, str]:
    """How each class generates in some cell: `tokens` are judged, or its `own` answer as such.

    Args:
        entries: whose headless model and heads are cells.
    """
    found: dict[str, str] = {}
    for entry, head, cls in _cells(entries):
        # A method that stands in for `forward` is a property; no such model is judged by tokens.
        taken = inspect.signature(cls.forward).parameters if callable(cls.forward) else ()
        how = _how(entry, head, set(taken))
        if how and found.get(cls.__name__) != TOKENS:
            found[cls.__name__] = how
    return found


def exempt(entries: Iterable[Entry]) -> Mapping[str, str]:
    """Why classes of cells need not generate, by name, as `exemptions.toml` says."""
    return {
        cls.__name__: reason
        for entry, head, cls in _cells(entries)
        if (reason := exempt_checks(entry.architecture, head).get(OWN)) is not None
    }


def _cells(entries: Iterable[Entry]) -> Iterator[tuple[Entry, str, Any]]:
    """The cells of transformers with their classes."""
    for entry in entries:
        if entry.library == "transformers":
            for head in (BASE, *entry.heads):
                with suppress(Absent, ImportError):  # which wants a package that is not here
                    yield entry, head, model_class.of(entry.architecture, head)


def _how(entry: Entry, head: str, taken: Collection[str]) -> str:
    spared = exempt_checks(entry.architecture, head)
    row = heads.known_heads().get(entry.task if head == BASE and not entry.heads else head)
    argument = row.generates if row is not None and JUDGED not in spared else ""
    if argument and {argument, f"decoder_{argument}"} & {*taken}:
        return TOKENS
    return "" if OWN in spared else "own"
