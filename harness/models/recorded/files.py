"""Files of a recorded checkpoint: config.json and safetensors, whole or in shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from harness.contract import Array, is_floating
from harness.models.recorded import values
from harness.models.recorded.names import TensorSpec
from harness.models.recorded.record import RecordedCheckpoint

#: Files of a sharded checkpoint: enough that what belongs together lies apart.
SHARDS = 3


def write(
    record: RecordedCheckpoint, folder: Path, *, sharded: bool = False, aliases: Iterable[str] = ()
) -> None:
    """Write a checkpoint as it was recorded, with its seeded data.

    Args:
        record: the checkpoint.
        folder: an empty folder.
        sharded: in three files with an index, floats in 16 bits, as large checkpoints are
            published; otherwise in one file.
        aliases: some of the record's, under which their tensors are written.
    """
    config = {**record.config, "architectures": [record.model]}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    data = values.tensors(record.tensors)
    for alias in aliases:
        data[alias] = data.pop(record.aliases[alias])
    if not sharded:
        save_file(data, folder / "model.safetensors", {"format": "pt"})
        return
    places: dict[str, str] = {}
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        shard = {key: _half(data[key]) for key in list(data)[number::SHARDS]}
        save_file(shard, folder / name, {"format": "pt"})
        places |= dict.fromkeys(shard, name)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def tensors_in(folder: Path) -> dict[str, TensorSpec]:
    """The tensors of a saved checkpoint by name, from the headers of its safetensors.

    Args:
        folder: where `save_pretrained` wrote.
    """
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                part = opened.get_slice(name)
                found[name] = TensorSpec(part.get_dtype().lower(), tuple(part.get_shape()))
    return found


def config_in(folder: Path) -> Mapping[str, Any]:
    """The config of a saved checkpoint."""
    found: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


def _half(array: Array) -> Array:
    return array.astype(np.float16) if is_floating(array) else array
