"""Contract checks at the border: all that a backend returns, before the harness makes use of it."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from harness.contract import (
    DTYPES,
    Array,
    Arrays,
    BrokenContract,
    Case,
    Device,
    ExportedFile,
    Generated,
    MeterReading,
    Placement,
    Precision,
    Program,
    is_floating,
)
from harness.toolkit.close_matches import did_you_mean
from harness.toolkit.fingerprints import text_of

#: Kinds of numpy dtypes that an array may have: booleans, integers without and with a sign, floats.
KINDS = "buif"

#: Members of `harness.contract.Case` that each stage needs.
CASE_METHODS = ("module", "inputs", "reference", "perturbed", "weights", "parameters")

#: Bytes of the largest array that is copied to be compared.
SMALL = 1 << 20

#: Message of numpy's ValueError at a write into a read-only array.
READ_ONLY = "read-only"


class CheckedProgram:
    """A backend's program, each inference of which is held to the contract.

    The program gets read-only copies of the inputs, and the caller gets copies of the outputs: what
    a backend does to either afterwards changes no number that is judged.

    Args:
        program: what `prepare` or `from_pretrained` returned.
        dtypes: of the outputs that eager execution gives in the precision.
        precision: that was asked for.

    Attributes:
        seconds: wall time of the last inference, without the checks.
        growths: bytes that each inference added to the process beyond its outputs; of those on
            inputs with the shapes of the first ones, after that one.

    Raises:
        BrokenContract: the program cannot be called, or has no `placement`.
    """

    def __init__(
        self, program: Any, dtypes: Mapping[str, np.dtype[Any]], precision: Precision
    ) -> None:
        if not callable(program) or not callable(getattr(program, "placement", None)):
            raise BrokenContract(
                "program",
                "a Program, which is called with the inputs and has a method placement()",
                type_name(program),
            )
        self.seconds = 0.0
        self.first_seconds: float | None = None
        self.growths: list[int] = []
        self._process = psutil.Process()
        self._held = 0  # resident bytes after the last inference
        self._shapes: Mapping[str, tuple[int, ...]] | None = None  # of the first inputs
        self._program: Program = program
        self._dtypes = dtypes
        self._precision = precision
        self._last: tuple[Mapping[str, Array], Arrays] = ({}, {})  # outputs, and copies of them

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """Outputs of one inference, by name.

        Raises:
            BrokenContract: the outputs are no arrays, or of a wrong dtype; an input was written
                into, or an output of the inference before.
        """
        lent = {name: read_only(array) for name, array in inputs.items()}
        began = time.perf_counter()
        try:
            raw = self._program(lent)
        except ValueError as error:
            if READ_ONLY in text_of(error):
                self._name_writer(inputs, error)
            raise
        self.seconds = time.perf_counter() - began
        if self.first_seconds is None:
            self.first_seconds = self.seconds
        _unwritten(lent, inputs)
        outputs = arrays(raw, "outputs")
        for name, array in outputs.items():
            self._check_dtype(name, array)
        self._check_last()
        copies = {name: np.array(array) for name, array in outputs.items()}
        self._last = outputs, copies
        self._measure(inputs, copies)
        return dict(copies)

    def placement(self) -> Placement:
        """The program's placement.

        Raises:
            BrokenContract: it is none, or its share is not between 0 and 1.
        """
        return placement(self._program.placement())

    def _measure(self, inputs: Mapping[str, Array], copies: Arrays) -> None:
        shapes = {name: array.shape for name, array in inputs.items()}
        before, self._held = self._held, self._process.memory_info().rss
        if self._shapes is None:
            self._shapes = shapes
        elif shapes == self._shapes:
            kept = sum(array.nbytes for array in copies.values())  # the caller may keep them
            self.growths.append(self._held - before - kept)

    def _name_writer(self, inputs: Mapping[str, Array], error: ValueError) -> None:
        """Raise, where the program writes into its inputs once it may."""
        writable = {name: np.array(array) for name, array in inputs.items()}
        try:
            self._program(writable)
        except Exception:
            return
        try:
            _unwritten(writable, inputs)
        except BrokenContract as breach:
            raise breach from error

    def _check_dtype(self, name: str, array: Array) -> None:
        eager = self._dtypes.get(name)
        found = array.dtype.name
        if eager is None or found == eager.name:
            return
        if not np.issubdtype(eager, np.floating):
            if is_floating(array):
                raise BrokenContract("dtype", "an integer or boolean output", found, name)
            return
        if found not in ("float32", self._precision.dtype):
            own = self._precision.dtype
            kind = own if own in ("float64", "float16") else "float32"
            raise BrokenContract("dtype", f"{kind} from precision {own}", found, name)

    def _check_last(self) -> None:
        """Raise, where an inference wrote into the outputs of the one before."""
        outputs, copies = self._last
        for name, array in outputs.items():
            if not identical(array, copies[name]):
                raise BrokenContract(
                    "aliased outputs",
                    "arrays that a later inference leaves as they are",
                    "that the next inference wrote into it",
                    name,
                )


def read_only(array: Array) -> Array:
    """A copy of an array that numpy refuses to write into."""
    made = np.array(array)
    made.flags.writeable = False
    return made


def identical(one: Array, other: Array) -> bool:
    """Whether two arrays of one shape hold the same values; NaN is the same as NaN."""
    # Nearly always the bytes are the same too, which is told in a tenth of the time.
    small = one.nbytes == other.nbytes <= SMALL and one.dtype == other.dtype != object
    if small and one.shape == other.shape and one.tobytes() == other.tobytes():
        return True
    same: bool = np.array_equal(one, other, equal_nan=is_floating(one))
    return same


def _unwritten(lent: Mapping[str, Array], inputs: Mapping[str, Array]) -> None:
    for name, array in inputs.items():
        if name not in lent or not identical(lent[name], array):
            raise BrokenContract(
                "wrote into its input",
                "inputs to be read only, and copied where an SDK writes into them",
                f"that an inference changed {name}",
            )


def arrays(raw: Any, what: str) -> dict[str, Array]:
    """Outputs as a backend returned them, which must be numpy arrays by name.

    Args:
        raw: what the backend returned.
        what: the name of it in an error.

    Raises:
        BrokenContract: it is something else.
    """
    expected = "a dict of str to numpy arrays of booleans, integers or floats"
    if not isinstance(raw, Mapping):
        raise BrokenContract(what, expected, type_name(raw))
    found: dict[str, Array] = {}
    for name, value in raw.items():
        if not isinstance(name, str):
            raise BrokenContract(what, expected, f"a key that is {type_name(name)}")
        if not isinstance(value, np.ndarray):
            raise BrokenContract(what, expected, type_name(value), name)
        if value.dtype.kind not in KINDS:
            raise BrokenContract(what, expected, f"dtype {value.dtype.name}", name)
        found[name] = np.asarray(value)
    return found


def generated(raw: Any, given: Array) -> Generated:
    """Generated tokens and their logits as a backend returned them.

    Args:
        raw: what the backend returned.
        given: token ids that generation began with, (batch, length).

    Raises:
        BrokenContract: it is something else.
    """
    if not isinstance(raw, Generated):
        raise BrokenContract("generate", "a harness.contract.Generated", type_name(raw))
    ids, logits = raw.sequences, raw.logits
    rows, length = given.shape
    right = isinstance(ids, np.ndarray) and ids.ndim == 2 and ids.dtype.kind in "ui"
    if not right or ids.shape[0] != rows:
        expected = "integer token ids of shape (batch, length + tokens), a numpy array"
        raise BrokenContract("generate", expected, _described(ids))
    steps = (rows, ids.shape[1] - length)
    right = isinstance(logits, np.ndarray) and logits.ndim == 3 and is_floating(logits)
    if logits is not None and (not right or logits.shape[:2] != steps):
        expected = f"logits of shape (batch, tokens, vocabulary), the first two {steps}"
        raise BrokenContract("generate", expected, _described(logits))
    return raw


def answered(raw: Any) -> tuple[Arrays, Arrays] | None:
    """A pipeline's answer as a backend returned it: outputs and the arrays behind them, or None.

    Raises:
        BrokenContract: it is something else.
    """
    if raw is None:
        return None
    if not isinstance(raw, tuple) or len(raw) != 2:
        raise BrokenContract(
            "pipeline", "None, or (outputs, the arrays they are computed from)", type_name(raw)
        )
    return arrays(raw[0], "pipeline"), arrays(raw[1], "pipeline")


def continued(outputs: Arrays, fed: Arrays, argument: str) -> Generated:
    """The tokens among a pipeline's answer, where the case generates.

    Args:
        outputs: of the pipeline; the sequences have the name of the argument.
        fed: the arrays that the outputs were computed from.
        argument: of forward, that generation goes on with.

    Raises:
        BrokenContract: the outputs are no token ids that go on from given ones.
    """
    for found, expected in ((fed, "the token ids that it went on from"), (outputs, "token ids")):
        if argument not in found:
            names = ", ".join(found) or "none"
            raise BrokenContract("pipeline", f"{expected}, by the name {argument}", names)
    return generated(Generated(outputs[argument]), fed[argument])


def placement(raw: Any) -> Placement:
    """A placement as a backend returned it.

    Raises:
        BrokenContract: it is none, or a number in it is no such number.
    """
    if not isinstance(raw, Placement):
        raise BrokenContract("placement", "a harness.contract.Placement", type_name(raw))
    share = raw.device_share
    if not _is_number(share) or not 0.0 <= float(share) <= 1.0:
        found = f"{share!r:.40}" if _is_number(share) else type_name(share)
        raise BrokenContract("placement", "a device_share from 0 to 1", found)
    if not isinstance(raw.evidence, str):
        raise BrokenContract("placement", "evidence in one line", type_name(raw.evidence))
    for counts in (raw.fallback_ops, raw.counts):
        if not isinstance(counts, Mapping) or not all(
            isinstance(name, str) and _is_number(count) and count >= 0
            for name, count in counts.items()
        ):
            raise BrokenContract("placement", "counts by name, not below 0", type_name(counts))
    return raw


def precisions(raw: Any) -> tuple[Precision, ...]:
    """A backend's precisions.

    Raises:
        BrokenContract: one is no `Precision`, or none is called `default`.
    """
    promise = "precisions"
    expected = "a sequence of harness.contract.Precision, one of them called `default`"
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise BrokenContract(promise, expected, type_name(raw))
    for each in raw:
        if not isinstance(each, Precision):
            raise BrokenContract(promise, expected, type_name(each))
        if not isinstance(each.name, str) or not isinstance(each.dtype, str):
            raise BrokenContract(promise, "a name and a dtype that are str", type_name(each.name))
        if not _is_number(each.patience) or not 0 < each.patience < math.inf:
            raise BrokenContract(promise, "a patience above 0", type_name(each.patience), each.name)
    names = [each.name for each in raw]
    if "default" not in names or len(set(names)) < len(names):
        raise BrokenContract(promise, f"{expected}, each name once", ", ".join(names) or "none")
    return tuple(raw)


def known_dtype(precision: Precision) -> Precision:
    """A precision, whose dtype must have a noise floor.

    Raises:
        BrokenContract: the dtype has none.
    """
    if precision.dtype not in DTYPES:
        meant = did_you_mean(precision.dtype, DTYPES)
        raise BrokenContract(
            "precision",
            f"a dtype with a noise floor ({', '.join(DTYPES)})",
            f"{precision.dtype!r:.40}.{meant}".removesuffix("."),
            precision.name,
        )
    return precision


def device(raw: Any) -> Device:
    """A device as a backend's `probe` returned it.

    Raises:
        BrokenContract: it is none, or a field of it has another type.
    """
    if not isinstance(raw, Device):
        raise BrokenContract("probe", "a harness.contract.Device", type_name(raw))
    fields: Mapping[str, tuple[Any, type | tuple[type, ...]]] = {
        "name": (raw.name, str),
        "kind": (raw.kind, str),
        "versions": (raw.versions, Mapping),
        "driver": (raw.driver, str),
        "memory_bytes": (raw.memory_bytes, (int, type(None))),
        "emulated": (raw.emulated, bool),
        "units": (raw.units, tuple),
        "fallback": (raw.fallback, str),
    }
    for name, (value, kinds) in fields.items():
        if not isinstance(value, kinds):
            wanted = kinds if isinstance(kinds, tuple) else (kinds,)
            expected = " or ".join("None" if k is type(None) else k.__name__ for k in wanted)
            raise BrokenContract("probe", f"Device.{name} as {expected}", type_name(value))
    return raw


def case(raw: Any) -> Case:
    """A case as a backend's `case` or `narrowed` returned it.

    Raises:
        BrokenContract: it lacks a method of `harness.contract.Case`.
    """
    missing = [name for name in CASE_METHODS if not callable(getattr(raw, name, None))]
    if missing:
        raise BrokenContract(
            "case", "a harness.contract.Case", f"{type_name(raw)} without {', '.join(missing)}"
        )
    found: Case = raw
    return found


def flag(backend: Any, name: str, *, otherwise: bool) -> bool:
    """A backend's `dynamic` or `any_arguments`.

    Args:
        backend: which may have the attribute.
        name: of the attribute.
        otherwise: what holds where the backend has none.

    Raises:
        BrokenContract: it is no bool.
    """
    raw = getattr(backend, name, otherwise)
    if not isinstance(raw, bool):
        raise BrokenContract(name, "True or False", type_name(raw))
    return raw


def context(raw: Any, name: str) -> AbstractContextManager[Any]:
    """A context manager as a member of a backend returned it.

    Args:
        raw: what it returned.
        name: of the member.

    Raises:
        BrokenContract: it is something else.
    """
    if not isinstance(raw, AbstractContextManager):
        raise BrokenContract(name, "a context manager", type_name(raw))
    return raw


def memory(raw: Any) -> float:
    """Bytes of device memory as a backend's `memory` returned them.

    Raises:
        BrokenContract: they are no number of bytes.
    """
    if not isinstance(raw, Integral | Real) or not 0 <= float(raw) < math.inf:
        raise BrokenContract("memory", "bytes, not below 0", type_name(raw))
    return float(raw)


def meter(raw: Any) -> MeterReading | None:
    """A device's state as a backend's `meter` returned it.

    Raises:
        BrokenContract: it is something else.
    """
    if raw is None:
        return None
    if not isinstance(raw, MeterReading):
        raise BrokenContract("meter", "a harness.contract.MeterReading or None", type_name(raw))
    numbers = [number for number in (raw.joules, raw.clock_mhz) if number is not None]
    if not all(_is_number(n) and 0 <= float(n) < math.inf for n in (*numbers, raw.others)):
        raise BrokenContract("meter", "numbers not below 0", f"{raw!r:.100}")
    return raw


def exported(raw: Any, outputs: Collection[str]) -> ExportedFile:
    """A program as a file, as a backend's `exported` returned it.

    Args:
        raw: what the backend returned.
        outputs: the names of the case's outputs.

    Raises:
        BrokenContract: it is something else, or the file is not there.
    """
    if not isinstance(raw, ExportedFile):
        raise BrokenContract("exported", "a harness.contract.ExportedFile", type_name(raw))
    if not isinstance(raw.path, Path) or not raw.path.is_file():
        raise BrokenContract("exported", "a file at its path", f"none at {raw.path!s:.80}")
    arrays(raw.feed, "exported")
    if not isinstance(raw.outputs, Mapping) or not all(
        name in outputs and isinstance(place, int) and place >= 0
        for name, place in raw.outputs.items()
    ):
        expected = f"the place of each output by its name ({', '.join(outputs)})"
        raise BrokenContract("exported", expected, f"{raw.outputs!r:.80}")
    return raw


def numpy_functions() -> Mapping[str, Mapping[str, object]]:
    """The names of numpy and of `numpy.linalg`, as they stand now, by module."""
    return {module.__name__: dict(vars(module)) for module in (np, np.linalg)}


def unpatched(before: Mapping[str, Mapping[str, object]]) -> None:
    """Hold numpy's functions against those that there were: the harness computes with them.

    Raises:
        BrokenContract: one was replaced.
    """
    replaced = sorted(
        f"{space}.{name}"
        for space, now in numpy_functions().items()
        for name, value in before[space].items()
        if now.get(name) is not value and callable(value) and not name.startswith("_")
    )
    if replaced:
        raise BrokenContract("numpy", "its functions as they were", f"{replaced[0]} replaced")


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name} of shape {value.shape}"
    return type_name(value)


def type_name(value: Any) -> str:
    """A value's type for an error: `None`, `list`, `torch.Tensor`."""
    if value is None:
        return "None"
    kind = type(value)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"{module}{kind.__qualname__}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
