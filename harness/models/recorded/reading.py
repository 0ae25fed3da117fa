"""Reading a recorded checkpoint with this environment's library, and judging what comes of it."""

from __future__ import annotations

import copy
import inspect
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from packaging.version import Version

from harness.contract import Array, Arrays, CheckFailed
from harness.models import checkpoint, model_class
from harness.models.eager_reference import EagerReference, tensors
from harness.models.module_copy import ModuleCopies
from harness.models.outputs import flatten
from harness.models.recorded import digests, files, values
from harness.models.recorded.record import CHANGED, RecordedCheckpoint
from harness.toolkit.cpu_seed import seed_cpu
from harness.toolkit.seeded_values import uniform

#: Arguments of forward that every model gets where it takes them.
PLAIN: Mapping[str, Any] = {"use_cache": False, "return_dict": True}

#: How many names a message lists.
SHOWN = 5


def check(record: RecordedCheckpoint, architecture: str, head: str) -> None:
    """Hold a model class to a recorded checkpoint: it loads, computes the same, and is saved alike.

    A model that was loaded may be saved under the names that it was loaded by. So one that was
    built of its config alone, as a training begins, is saved too, where its recorded checkpoint was
    made so by this major version: another one may name the parts of a model otherwise.

    Args:
        record: of any version; one of a later major version than this library's is passed over.
        architecture: the model type.
        head: `base`, or a task's.

    Raises:
        CheckFailed: a tensor does not find its place, an output is another, or the model is saved
            under other names.
    """
    import transformers
    from transformers.utils import logging

    here, there = Version(transformers.__version__).major, Version(record.version).major
    if here < there:
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cls = model_class.of(architecture, head)
    model = read(record, cls, sharded=CHANGED not in record.label)
    _saved_alike(model, record)
    if here == there:
        _saved_alike(fresh(model), record, "; the model was built of its config, and not loaded")
    for together in _rounds(record.aliases):
        try:
            read_aliases(record, cls, together, model)
        except Exception:  # whatever it is, it is told of the alias that has it alone
            for alias in together:
                read_aliases(record, cls, [alias], model)


def read(record: RecordedCheckpoint, cls: Any, *, sharded: bool = False) -> Any:
    """The model that `from_pretrained` makes of a recorded checkpoint, where all is well.

    Args:
        record: the checkpoint.
        cls: the model class.
        sharded: how the checkpoint is written; see `files.write`.

    Raises:
        CheckFailed: a tensor does not find its place, or an output is another.
    """
    model, loaded = load(record, cls, sharded=sharded)
    parameters = {name for name, _ in model.named_parameters()}
    lost = parameters.intersection(loaded.missing) and loaded.unexpected
    different = _differing(record, model)
    if different is None and record.outputs and not lost:
        return model  # what code computes is missing, and what it ignores unexpected
    said = _said(loaded)
    if said:
        also = f"; {different[0]} is {different[1]:.2g} away" if different else ""
        names = "; ".join(f"{kind}: {_listed(found)}" for kind, found in said.items())
        raise CheckFailed(
            f"old checkpoint: expected every checkpoint key of {_source(record)} to find its "
            f"place, found {names}{also}",
            fault="old checkpoint: expected every checkpoint key to find its place, found "
            + " and ".join(said),
        )
    if different is not None:
        raise CheckFailed(
            f"old checkpoint: expected {different[0]} of {_source(record)} to be within "
            f"{digests.TOLERANCE:g} of what that version computed, found it {different[1]:.2g} "
            f"away; parameters that no tensor of it became: {_listed(_own(record, model))}",
            fault="old checkpoint: expected the outputs of the version that saved it",
        )
    return model


def read_aliases(record: RecordedCheckpoint, cls: Any, aliases: Sequence[str], right: Any) -> None:
    """Read the checkpoint with tied tensors under others of their names.

    A version writes one name of several; which one, differs between versions.

    Args:
        record: the checkpoint.
        cls: the model class.
        aliases: the other names, each of another tensor.
        right: the model that was read of the checkpoint as it was recorded.

    Raises:
        CheckFailed: a tensor is another than in the right model.
    """
    import torch

    model, _ = load(record, cls, aliases=aliases)
    found = model.state_dict()
    wrong = [name for name, t in right.state_dict().items() if not torch.equal(t, found[name])]
    if wrong:
        named = ", ".join(f"{alias} for the tied {record.aliases[alias]}" for alias in aliases)
        raise CheckFailed(
            f"old checkpoint: expected {_source(record)} with {named} to load alike, found other "
            f"values in {_listed(wrong)}",
            fault="old checkpoint: expected a tied tensor to load by each of its names",
        )


def _rounds(aliases: Mapping[str, str]) -> list[list[str]]:
    """Aliases in as few rounds as there are of one tensor: a file has one name for each of them.

    D-FINE ties eight heads, each under one further name: one round.
    """
    of_tensor: dict[str, list[str]] = {}
    for alias, recorded in aliases.items():
        of_tensor.setdefault(recorded, []).append(alias)
    return [
        [alias for alias in each if alias is not None] for each in zip_longest(*of_tensor.values())
    ]


def load(
    record: RecordedCheckpoint, cls: Any, *, sharded: bool = False, aliases: Sequence[str] = ()
) -> tuple[Any, checkpoint.LoadedTensors]:
    """The model that `from_pretrained` makes of a recorded checkpoint, in float32.

    Args:
        record: the checkpoint.
        cls: the model class.
        sharded: how it is written, see `files.write`; so `aliases`.
        aliases: other names for tensors that others share.
    """
    import torch

    with tempfile.TemporaryDirectory() as folder:
        files.write(record, Path(folder), sharded=sharded, aliases=aliases)
        model, info = cls.from_pretrained(
            folder,
            torch_dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
        )
    return model.requires_grad_(False).eval(), checkpoint.LoadedTensors.of(info)


def fresh(model: Any) -> Any:
    """A model of the same class and config that was loaded from nowhere."""
    seed_cpu(0)
    return type(model)(copy.deepcopy(model.config)).requires_grad_(False).eval()


def save(model: Any, folder: Path) -> None:
    """`save_pretrained` as safetensors, which versions before 4.35 write where asked to."""
    if getattr(model, "generation_config", None) is not None:
        from transformers import GenerationConfig

        # A small config may have a `top_k`, which is refused where nothing is sampled.
        model.generation_config = GenerationConfig(do_sample=True)
    model.save_pretrained(folder, safe_serialization=True)


def inputs(record: RecordedCheckpoint) -> Arrays:
    """The recorded inputs by argument."""
    return {name: _array(name, *described) for name, described in record.inputs.items()}


def outputs(record: RecordedCheckpoint, model: Any) -> Arrays:
    """Outputs of a model on the recorded inputs, in float64 where its code allows that.

    Args:
        record: has the inputs and the arguments of forward.
        model: in float32.
    """
    eager = EagerReference(ModuleCopies(model), options(record, model), "eager", 0)
    given = inputs(record)
    try:
        return eager.outputs(given, "float64", 0)
    except Exception:  # dtypes written into the modeling code; float32 then says what is wrong
        return eager.outputs(given, "float32", 0)


def _array(name: str, dtype: str, shape: list[int], said: Any) -> Array:
    if said == "uniform":
        return uniform(0, name, tuple(shape)).astype(dtype)
    if isinstance(said, list):
        return np.array(said, dtype=dtype).reshape(shape)
    return np.full(shape, said, dtype=dtype)


def _source(record: RecordedCheckpoint) -> str:
    return f"a checkpoint of transformers {record.version} ({record.label})"


def _own(record: RecordedCheckpoint, model: Any) -> list[str]:
    """The parameters of a model that no tensor of the checkpoint equals; `none` where all do."""
    data = {array.tobytes() for array in values.tensors(record.tensors).values()}
    found = [
        name for name, p in model.named_parameters() if p.detach().numpy().tobytes() not in data
    ]
    return found or ["none"]


def _said(loaded: checkpoint.LoadedTensors) -> dict[str, list[str]]:
    """The tensors that did not find their place, by the kind of fault."""
    shapes = [f"{name} has {got}, and the model {want}" for name, got, want in loaded.mismatched]
    faults = {
        "missing": [*loaded.missing],
        "unexpected": [*loaded.unexpected],
        "of another shape": shapes,
    }
    return {kind: found for kind, found in faults.items() if found}


def _differing(record: RecordedCheckpoint, model: Any) -> tuple[str, float] | None:
    """The output that differs most from what was recorded, computed anew with care if one does.

    In float32 by the attention that the library chooses, which is fast, then as it was recorded.
    """
    for compute in (_plainly, outputs):
        different = digests.differing(digests.of(compute(record, model)), record.outputs)
        if different is None:
            return None
    return different


def _plainly(record: RecordedCheckpoint, model: Any) -> Arrays:
    import torch

    seed_cpu(0)
    with torch.no_grad():
        given = tensors(inputs(record), torch.float32)
        return flatten(model(**given, **options(record, model)))


def options(record: RecordedCheckpoint, model: Any) -> dict[str, Any]:
    """The arguments of a model's forward that are no arrays, as they were recorded."""
    accepted = inspect.signature(model.forward).parameters
    plain = {name: value for name, value in PLAIN.items() if name in accepted}
    return {**plain, **record.arguments}


def _saved_alike(model: Any, record: RecordedCheckpoint, how: str = "") -> None:
    wanted = record.saved
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder))
        found = files.tensors_in(Path(folder))
    if found == wanted:
        return
    lacking = [f"{name} {spec}" for name, spec in wanted.items() if found.get(name) != spec]
    further = [f"{name} {spec}" for name, spec in found.items() if wanted.get(name) != spec]
    raise CheckFailed(
        f"saved name: expected the checkpoint key {_listed(lacking) or '(no further one)'}, found "
        f"{_listed(further) or 'none'}{how}; if the change is meant, `python -m harness "
        "record-checkpoints` writes it down",
        fault="saved name: expected the checkpoint keys that published checkpoints have",
    )


def _listed(found: Iterable[str]) -> str:
    found = list(found)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
