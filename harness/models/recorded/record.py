"""Recorded checkpoint: a checkpoint as a version of the library saved it, without its data.

    [gpt2:text-generation] GPT2LMHeadModel 4.30.2
    config n_embd 64
    tensor transformer.h.{0-1}.attn.c_attn bias f32[192] weight f32[64,192]
    input input_ids ["int64", [2, 16], [5, 3, ...]]
    output logits [0.98, 0.11, -0.2, 0.3, 0.1]

Published checkpoints have these names and configs, since such a version saved them. The data
follows from the names (`values`); the outputs are what that version computed from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.contract import BASE, Entry, HarnessError
from harness.models.recorded import abridged, names
from harness.models.recorded.names import TensorSpec
from harness.toolkit.checkout import ROOT

#: The recorded checkpoints of the entries and their heads.
RECORD = ROOT / "model_lists" / "checkpoints.txt"

#: Between the label of a cell and the field of the config that a further block changes, as in
#: `[t5:text2text-generation + tie_word_embeddings=false]`.
CHANGED = " + "


def recorded_heads(entry: Entry) -> tuple[str, ...]:
    """The heads of an entry whose checkpoints are recorded, or `base` where it has none.

    A head's checkpoint has all tensors of the headless model's.
    """
    return entry.heads or (BASE,)


@dataclass(frozen=True, slots=True)
class RecordedCheckpoint:
    """One block of a record.

    Attributes:
        label: of the entry and head; with a field of the config and its value, where that is not
            what the small config has.
        model: the name of the class that saved the checkpoint.
        version: of the library, `4.30.2`.
        config: what the checkpoint's config.json says.
        tensors: those saved, by name.
        aliases: further names that the checkpoint may have for a tensor that others share, with
            the recorded name: an embedding that is saved as the decoder's.
        added: those saved today that the version did not save.
        dropped: the names of those that are saved no longer.
        inputs: by argument: dtype, shape, and values: a list, one value for all, or `uniform`.
        arguments: those of forward that are no arrays.
        outputs: digests of the outputs by name; empty where nothing can be compared.
    """

    label: str
    model: str
    version: str
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorSpec]
    aliases: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, TensorSpec] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def saved(self) -> dict[str, TensorSpec]:
        """The tensors that `save_pretrained` writes today, by name."""
        kept = {name: spec for name, spec in self.tensors.items() if name not in self.dropped}
        return {**kept, **self.added}

    def __str__(self) -> str:
        old = {name: self.tensors[name] for name in self.dropped}
        rows = {
            "config": _row(self.config),
            "tensor": names.folded(self.tensors),
            "alias": [f"{name} {recorded}" for name, recorded in self.aliases.items()],
            "added": names.folded(self.added),
            "dropped": names.folded(old),
            "input": _row(self.inputs),
            "argument": _row(self.arguments),
            "output": _row(self.outputs),
        }
        lines = [f"{kind} {line}" for kind, found in rows.items() for line in found]
        return "\n".join([f"[{self.label}] {self.model} {self.version}", *lines]) + "\n"


def parse(block: str) -> RecordedCheckpoint:
    """The recorded checkpoint in one block.

    Raises:
        HarnessError: the block is none.
    """
    try:
        head, *lines = block.strip().splitlines()
        label, _, rest = head.removeprefix("[").partition("] ")
        model, version = rest.split()
        found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        for line in lines:
            kind, _, rest = line.partition(" ")
            found[kind].append(rest)
        return RecordedCheckpoint(
            label,
            model,
            version,
            _table(found["config"]),
            names.unfolded(found["tensor"]),
            aliases=dict(line.split() for line in found["alias"]),
            added=names.unfolded(found["added"]),
            dropped=tuple(names.unfolded(found["dropped"])),
            inputs=_table(found["input"]),
            arguments=_table(found["argument"]),
            outputs=_table(found["output"]),
        )
    except (ValueError, KeyError) as error:
        raise HarnessError(
            f"expected a recorded checkpoint that begins with [LABEL] CLASS VERSION, found "
            f"{block[:200]!r} ({error}). Fix: take that block from the repository again"
        ) from error


def load(path: Path = RECORD) -> dict[str, list[str]]:
    """The blocks of a record by the label of their cell, unparsed: a cell parses its own.

    Args:
        path: the record; where there is no such file, nothing is recorded.

    Raises:
        HarnessError: a block is like one that does not stand before it.
    """
    if not path.is_file():
        return {}
    text = f"\n{path.read_text(encoding='utf-8')}"
    found: dict[str, list[str]] = {}
    try:
        blocks = abridged.whole(f"[{block}" for block in text.split("\n[")[1:])
    except ValueError as error:
        raise HarnessError(
            f"{path}: expected blocks like others before them, found that {error}. Fix: take the "
            "file from the repository again"
        ) from error
    for block in blocks:
        label = block[1:].partition("]")[0].partition(CHANGED)[0]
        found.setdefault(label, []).append(block)
    return found


_KINDS = ("config", "tensor", "alias", "added", "dropped", "input", "argument", "output")


def _row(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} {json.dumps(value)}" for name, value in values.items()]


def _table(lines: Iterable[str]) -> dict[str, Any]:
    parted = (line.partition(" ") for line in lines)
    return {name: json.loads(value) for name, _, value in parted}
