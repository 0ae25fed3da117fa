"""Decomposition of nested arguments, as a cache in a call of forward, into tensors and the rest.

Nothing here knows a class: a cache is an object with attributes, lists and mappings, in which
tensors stand (keys and values, the states of a recurrence) beside numbers and truth values.
"""

from __future__ import annotations

import copy
import enum
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

#: Attributes that forward does not read: `generate()` notes who made a cache.
UNREAD = ("_is_user_defined",)

#: The path of a tensor that stands in nothing.
ALONE = "tensor"

#: Kinds of values that are told by their text.
PLAIN = (type(None), bool, int, float, str, enum.Enum, torch.dtype, torch.device)


def tensors_by_path(value: Any) -> dict[str, torch.Tensor]:
    """The tensors in a nested value, each once, by the path to it: `past_key_values_layers_0_keys`.

    Args:
        value: a tensor, which has the path `ALONE`, as what the connector of idefics2 returns; or
            mappings, sequences and objects that hold some.
    """
    return {
        path or ALONE: found
        for path, found in _leaves(value, "", set())
        if isinstance(found, torch.Tensor)
    }


def fingerprint(value: Any) -> str:
    """A digest of all in a nested value that is no tensor, and of where its tensors stand."""
    digest = hashlib.sha256()
    for path, found in _leaves(value, "", set()):
        told = repr(found) if isinstance(found, PLAIN) else type(found).__qualname__
        digest.update(f"{path}={told};".encode())
    return digest.hexdigest()


def put_together(value: Any, replaced: Mapping[str, torch.Tensor]) -> Any:
    """A copy of a nested value with other tensors in the place of its own.

    Args:
        value: as `tensors_by_path` takes it.
        replaced: a tensor for each of its paths.
    """
    memo = {id(tensor): replaced[path] for path, tensor in tensors_by_path(value).items()}
    return copy.deepcopy(value, memo)


def _leaves(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """(path, value) of all that holds nothing further; a shared object stands where it is first."""
    if isinstance(value, PLAIN):
        yield path, value
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    for name, held in _held(value):
        yield from _leaves(held, f"{path}_{name}" if path else name, seen)
    yield f"{path}_class" if path else "class", type(value)


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    """The values that a value holds, by names that Python takes for identifiers."""
    if isinstance(value, Mapping):
        items: Any = value.items()
    elif isinstance(value, list | tuple | set):
        items = enumerate(value)
    elif isinstance(value, torch.nn.Module | type) or callable(value):
        return
    else:
        items = ((k, v) for k, v in getattr(value, "__dict__", {}).items() if k not in UNREAD)
    for key, held in items:
        yield re.sub(r"\W", "_", str(key)), held
