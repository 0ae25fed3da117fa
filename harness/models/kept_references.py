"""Reference store: outputs of a model's reference, kept on the disk for the next run.

A reference follows from the entry, the seed, the inputs, the packages that compute it, the bytes
of the model's own code, the kind of machine and the code of the harness: all of that is the key.
Every backend and precision that asks the same of the same model finds the same answer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version

import numpy as np

from harness.contract import Array, Arrays, HarnessError
from harness.toolkit import cache as caches
from harness.toolkit import numerics
from harness.toolkit.checkout import PACKAGE
from harness.toolkit.machine import machine
from harness.toolkit.packed_arrays import Unpackable, pack, unpack

#: The folder of the references in that of the cache.
FOLDER = "references"

#: Of so many cases written, one looks at the size of the whole store.
LOOKS_EVERY = 16

#: Packages whose versions are part of a key, where the model has imported them.
PACKAGES = ("torch", "transformers", "diffusers", "timm", "torch_geometric", "numpy")

#: The folders and files of `harness/` that make models, inputs and references.
CODE = ("models", "inputs", "toolkit", "catalog", "contract.py")


#: The least noise floor of outputs that say no dtype: those are float32.
USUAL_FLOOR = numerics.SMALLEST_FLOOR["float32"]


class OtherReference(HarnessError):
    """A kept reference that the same computation did not give again."""


class KeptReferences:
    """Outputs of the reference of one case, by call, in a cache on the disk.

    The same call again in one process is another call: a reference is held against itself so.

    Args:
        store: the cache.
        identity: gives what all calls of the case follow from beside packages, machine and code of
            the harness; called once, as late as possible.
        audited: whether what is kept is computed again all the same, and must be alike.
        together: whether all calls of the case are one entry of the cache, which `save` writes.
            Else each is one of its own, as the outputs of large models are.

    Attributes:
        found: how many calls were answered from the cache.
        made: how many were computed.
        different: an `OtherReference` for each audited call that gave something else.
    """

    def __init__(
        self,
        store: caches.Cache,
        identity: Callable[[], Mapping[str, object]],
        *,
        audited: bool = False,
        together: bool = True,
    ) -> None:
        self._store = store
        self._identity = identity
        self._audited = audited
        self._together = together
        self._times: Counter[str] = Counter()  # that a call was made in this process
        self._kept: dict[str, bytes] | None = None  # of the case, by call
        self._new: dict[str, bytes] = {}
        self.found = 0
        self.made = 0
        self.different: list[OtherReference] = []

    def outputs(
        self, make: Callable[[], Arrays], inputs: Mapping[str, Array], **parts: object
    ) -> Arrays:
        """The kept outputs, or those that are made now and kept.

        Args:
            make: computes the outputs; what it raises is not kept.
            inputs: by argument name.
            parts: whatever else the outputs follow from.
        """
        asked = caches.key(inputs={name: _digest(a) for name, a in inputs.items()}, **parts)
        self._times[asked] += 1
        call = f"{asked}-{self._times[asked]}"
        data = self._read(call)
        if data is not None:
            kept = unpack(data)
            self.found += 1
            if self._audited:
                self._audit(kept, make(), parts)
            return kept
        made = make()
        self.made += 1
        with contextlib.suppress(Unpackable):  # outputs of Python objects are made each time
            self._write(call, pack(made))
        return made

    def passed(self, check: Callable[[], None], **parts: object) -> None:
        """Make a check of the library alone, unless it is known to have passed.

        Args:
            check: raises where it fails, which is not kept.
            parts: what it follows from.
        """

        def make() -> Arrays:
            check()
            return {}

        self.outputs(make, {}, **parts)

    def save(self) -> None:
        """Write what is new, beside what others have written meanwhile."""
        if not self._new:
            return
        kept = {**(self._store.get(self._key) or {}), **(self._kept or {}), **self._new}
        self._store.put(self._key, kept)
        self._kept, self._new = kept, {}

    @functools.cached_property
    def _key(self) -> str:
        return caches.key(
            kind="references",
            packages={name: _version(name) for name in PACKAGES if name in sys.modules},
            environment=environment(),
            case=self._identity(),
        )

    def _read(self, call: str) -> bytes | None:
        if not self._together:
            entry = self._store.get(caches.key(case=self._key, call=call))
            return None if entry is None else entry["outputs"]
        if self._kept is None:
            self._kept = self._store.get(self._key) or {}
        return self._kept.get(call)

    def _write(self, call: str, data: bytes) -> None:
        if self._together:
            self._new[call] = data
        else:
            self._store.put(caches.key(case=self._key, call=call), {"outputs": data})

    def _audit(self, kept: Arrays, made: Arrays, parts: Mapping[str, object]) -> None:
        """Hold kept outputs against those that are made now."""
        found = numerics.difference(kept, made)
        floor = numerics.SMALLEST_FLOOR.get(str(parts.get("dtype")), USUAL_FLOOR)
        # A choice may fall otherwise where data moves by a rounding; it falls as it does else.
        if numerics.is_wrong(found, floor, mismatch_floor=float("jittered" in parts)):
            said = ", ".join(f"{name} {value}" for name, value in parts.items())
            self.different.append(
                OtherReference(
                    f"reference store: expected the reference ({said}) as kept, found another: "
                    f"{numerics.explain(found, floor)}. Fix: look for what the key in {__name__} "
                    f"lacks, and remove {self._store.folder}; --no-cache goes without"
                )
            )


@functools.cache
def _version(package: str) -> str:
    return version(package)


@functools.cache
def environment() -> Mapping[str, object]:
    """Machine and code of this process."""
    code = hashlib.sha256()
    for name in CODE:
        path = PACKAGE / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.suffix in {".py", ".toml"}:
                code.update(file.read_bytes())
    return {"machine": machine(), "code": code.hexdigest()}


def fill_caches() -> None:
    """Find out machine, code and versions now: the fork server does so once for all children."""
    environment()
    for package in PACKAGES:
        if package in sys.modules:
            _version(package)


def _digest(array: Array) -> str:
    data = np.ascontiguousarray(array)
    return f"{data.dtype.str} {data.shape} {hashlib.sha256(data.tobytes()).hexdigest()}"
