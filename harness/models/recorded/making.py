"""Recording of checkpoints, in the environment of the version that is to be recorded."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.contract import BASE, Array, is_floating, label
from harness.models.case import TinyCase
from harness.models.recorded import digests, files, reading, values
from harness.models.recorded.names import TensorSpec
from harness.models.recorded.record import CHANGED, RecordedCheckpoint

#: Keys of config.json that say who saved it, and in which dtype.
_UNSAID = ("architectures", "_name_or_path", "transformers_version", "torch_dtype", "dtype")

#: The field of a config that decides which tensors are shared.
TIED = "tie_word_embeddings"

#: Arrays of more floats than this are not written out, but drawn from a seed.
WRITTEN = 64


def updated(record: RecordedCheckpoint, cls: Any) -> RecordedCheckpoint:
    """An older version's checkpoint, with what this environment's version makes of it.

    Further aliases that this version reads, and the names under which it saves the model today.

    Args:
        record: of an older version.
        cls: the model class of the record's label.

    Raises:
        CheckFailed: a tensor does not find its place, or an output is another.
    """
    bare = replace(record, aliases={}, added={}, dropped=())
    model = reading.read(bare, cls, sharded=False)
    with tempfile.TemporaryDirectory() as folder:
        reading.save(model, Path(folder))
        saved = files.tensors_in(Path(folder))
    return replace(
        record,
        aliases={**record.aliases, **_aliases(bare, model, cls, model)},
        added={k: spec for k, spec in saved.items() if record.tensors.get(k) != spec},
        dropped=tuple(k for k, spec in record.tensors.items() if saved.get(k) != spec),
    )


def make(case: TinyCase) -> Iterator[RecordedCheckpoint]:
    """Checkpoints of a case as this environment's library saves and computes them.

    The first is that of the small config. A head has further ones, with the embeddings tied where
    they are not, or the other way round: in the config itself, and in its `text_config` alone.

    Raises:
        What saving, loading or computing raises.
    """
    module = case.module()
    first = _recorded(case, module, label(case.entry.name, case.head))
    yield first
    if case.head == BASE:
        return
    groups = _shared(module)
    for path in ((TIED,), ("text_config", TIED)):
        config = copy.deepcopy(module.config)
        part = config if len(path) == 1 else getattr(config, path[0], None)
        if not isinstance(getattr(part, TIED, None), bool):
            continue
        value = not getattr(part, TIED)
        setattr(part, TIED, value)
        changed = type(module)(config)
        if _shared(changed) and _shared(changed) != groups:
            name = f"{first.label}{CHANGED}{'.'.join(path)}={str(value).lower()}"
            found = _recorded(case, changed, name)
            if found.outputs:  # those of some configs are not finite
                yield found


def _recorded(case: TinyCase, module: Any, name: str) -> RecordedCheckpoint:
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        reading.save(module, Path(folder))
        config = files.config_in(Path(folder))
        saved = files.tensors_in(Path(folder))
    kept = _loaded_ones(module, saved)
    made = RecordedCheckpoint(
        name,
        case.model_name,
        transformers.__version__,
        {key: value for key, value in config.items() if key not in _UNSAID},
        kept,
        added={key: spec for key, spec in saved.items() if key not in kept},
        inputs={argument: _described(array) for argument, array in case.inputs().items()},
        arguments={k: v for k, v in case.options().items() if k not in reading.PLAIN},
    )
    cls = type(module)
    outputs = digests.of(reading.outputs(made, reading.load(made, cls)[0]))
    again = digests.of(reading.outputs(made, reading.load(made, cls)[0]))
    made = replace(
        made,
        outputs={key: value for key, value in outputs.items() if again.get(key) == value},
    )
    return replace(made, aliases=_aliases(made, module, cls, reading.load(made, cls)[0]))


def _loaded_ones(module: Any, saved: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """The tensors of a checkpoint without those that code computes, as `inv_freq` is."""
    fresh, other = (dict(type(module)(module.config).named_buffers()) for _ in range(2))

    def computed(name: str) -> bool:
        if name not in fresh or not fresh[name].numel():
            return False
        values_ = fresh[name].detach().numpy()
        if not is_floating(values_):
            return not values.counts_up(values_)
        constant = (values_ == values_.flat[0]).all()
        drawn = not np.array_equal(values_, other[name].detach().numpy())
        return not constant and not drawn

    return {name: spec for name, spec in saved.items() if not computed(name)}


def _shared(module: Any) -> list[list[str]]:
    """The groups of names in a module's state that stand for one matrix."""
    groups: dict[int, list[str]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if tensor.ndim > 1:
            groups.setdefault(id(tensor), []).append(name)
    return sorted(names for names in groups.values() if len(names) > 1)


def _aliases(made: RecordedCheckpoint, module: Any, cls: Any, loaded: Any) -> dict[str, str]:
    """Further names under which this version reads a shared tensor, with the saved one.

    Args:
        made: the checkpoint.
        module: a model that shares its tensors.
        cls: its class.
        loaded: the model that was read of the checkpoint.
    """
    found: dict[str, str] = {}
    for names in _shared(module):
        saved = [name for name in names if name in made.tensors]
        if len(saved) != 1:
            continue
        for alias in names:
            if alias not in saved:
                with suppress(Exception):  # this version does not read it
                    reading.read_aliases(
                        replace(made, aliases={alias: saved[0]}), cls, [alias], loaded
                    )
                    found[alias] = saved[0]
    return found


def _described(array: Array) -> list[Any]:
    start = [array.dtype.name, list(array.shape)]
    if array.size and (array == array.flat[0]).all():
        return [*start, array.flat[0].item()]
    if is_floating(array) and array.size > WRITTEN:
        return [*start, "uniform"]
    return [*start, [value.item() for value in array.ravel()]]
