"""Checks of a checkpoint: it is of the entry's architecture, and every tensor is in its place.

`from_pretrained` builds any architecture from any files. What the files lack it draws at random,
and what the model lacks it leaves out, with a warning.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.contract import Absent, CheckFailed, HarnessError

#: How many tensors a message names.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class LoadedTensors:
    """Which tensors of a checkpoint and of a model did not find each other.

    Attributes:
        missing: in the model only, and so drawn at random.
        unexpected: in the checkpoint only, and so left out.
        mismatched: in both, with the shapes in the checkpoint and in the model.
    """

    missing: Collection[str]
    unexpected: Collection[str]
    mismatched: Collection[tuple[str, Any, Any]]

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> LoadedTensors:
        """The loading info of `from_pretrained(..., output_loading_info=True)`."""
        return cls(
            sorted(info.get("missing_keys", ())),
            sorted(info.get("unexpected_keys", ())),
            sorted(info.get("mismatched_keys", ())),
        )


def config_of(folder: Path) -> Mapping[str, Any]:
    """A checkpoint's `config.json`.

    Args:
        folder: of the checkpoint's files.

    Raises:
        HarnessError: it is no JSON, or no object.
    """
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(
            f"{path}: expected JSON, found: {str(error)[:200]}. Fix: download the checkpoint anew"
        ) from None
    if not isinstance(found, dict):
        raise HarnessError(
            f"{path}: expected a JSON object, found {type(found).__name__}. "
            "Fix: download the checkpoint anew"
        )
    return found


def other_architecture(folder: Path, architecture: str, found: str) -> HarnessError:
    """The error for a checkpoint of another architecture than its entry's.

    Args:
        folder: of the checkpoint's files.
        architecture: the entry's.
        found: what its config.json says.
    """
    return HarnessError(
        f"expected a checkpoint of {architecture!r}, found {found} in {folder / 'config.json'}. "
        "Fix: correct `architecture` or `checkpoint` of the entry in the model list, or put the "
        "right checkpoint there"
    )


def check_tensors(
    model: Any,
    loaded: LoadedTensors,
    saved: Collection[str],
    folder: Path,
    had: Collection[str] = (),
) -> None:
    """Refuse a model whose tensors are not all those of its checkpoint.

    A checkpoint may hold more than the model: the head of the class that was saved, BERT's next
    sentence beside its masked words. It holds no further layer of the model, though, nor any other
    tensor that a number alone tells from one of the model's. It may lack a whole part that the
    class that was saved did not have: BERT's pooler, saved with the head of fill-mask.

    Args:
        model: a torch module that was made from the checkpoint.
        loaded: what did not find its place.
        saved: the names of the classes that were saved, as config.json says.
        folder: of the checkpoint's files.
        had: the parts of these classes, as `own_parts` names them; none of them may be lacking.

    Raises:
        Absent: the checkpoint was saved by another class and lacks whole parts of the model.
        CheckFailed: a tensor is missing, surplus, or of another shape.
    """
    name = type(model).__name__
    state = list(model.state_dict())
    missing, unexpected = list(loaded.missing), list(loaded.unexpected)
    lacking: list[str] = []
    if saved and name not in saved:
        lacking = [part for part in whole_parts(model, missing) if part not in had]
        missing = [tensor for tensor in missing if tensor.partition(".")[0] not in lacking]
    wrong = [f"{tensor} has {got}, and the model {want}" for tensor, got, want in loaded.mismatched]
    surplus = _surplus(unexpected, state, getattr(model, "base_model_prefix", ""))
    faults = {
        f"{len(missing)} of {len(state)} weights are not in it": missing,
        "unexpected": unexpected if missing else surplus,
        "of another shape": wrong,
    }
    if missing or wrong or surplus:
        said = "; ".join(
            f"{kind}: {_listed(tensors)}" for kind, tensors in faults.items() if tensors
        )
        raise CheckFailed(
            f"checkpoint: expected every tensor of {name} and no other in {folder}, found {said}. "
            "Fix: download the checkpoint anew, or correct the entry's architecture"
        )
    if lacking:
        raise Absent(
            f"requires the weights of {', '.join(lacking)} of {name}, not in {folder}, which holds "
            f"{' and '.join(saved)}"
        )


def whole_parts(model: Any, missing: Collection[str]) -> list[str]:
    """The parts of a model, by attribute, of which no tensor was loaded but what others share.

    The headless model in it is no such part; nor is any where nothing was loaded at all.

    Args:
        model: a torch module.
        missing: names of its tensors that were not loaded.
    """
    state = model.state_dict(keep_vars=True)
    shared = Counter(id(tensor) for tensor in state.values())
    loaded = {
        name.partition(".")[0]
        for name, tensor in state.items()
        if name not in missing and shared[id(tensor)] == 1
    }
    parts = dict.fromkeys(name.partition(".")[0] for name in missing)
    headless = getattr(model, "base_model_prefix", "")
    return [part for part in parts if loaded and part not in loaded and part != headless]


def own_parts(model: Any) -> frozenset[str]:
    """The names of a model's parts, and of the headless model's in it."""
    base = getattr(model, getattr(model, "base_model_prefix", ""), None)
    held = [model] if base is None else [model, base]
    return frozenset(name for part in held for name, _ in part.named_children())


def _surplus(unexpected: Iterable[str], state: Iterable[str], prefix: str) -> list[str]:
    """The tensors whose names differ from one of the model's by a number, as of a further layer."""

    def pattern_of(name: str) -> str:
        return re.sub(r"\d+", "#", name.removeprefix(f"{prefix}."))

    known = {pattern_of(name) for name in state}
    return [name for name in unexpected if pattern_of(name) in known]


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
