"""What each family's models must do beyond giving the right numbers.

A family has a module of its own name with a function `probes(base, other)`. A probe is a further
input with a property that the reference's outputs must have: in a decoder, a later token changes
nothing before it. The reference must have the property (else the small model, or its input, is
not the real thing), and the backend must give the reference's values on that input too.

A family may have a function `loop(base, other, outputs)` as well: inferences that feed each other.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.contract import BASE, Arrays, label
from harness.families.loop import Call, Loop
from harness.families.probe import Probe

__all__ = [
    "Call",
    "Loop",
    "Probe",
    "exceptions",
    "loop",
    "probes",
    "spared_checks",
    "spared_outputs",
]

#: How `exceptions.toml` names an output that need not be of order 1.
SCALE = "scale of "


def probes(
    family: str, architecture: str, base: Arrays, other: Arrays, head: str = BASE
) -> list[Probe]:
    """The probes of a family that one architecture's inputs allow.

    Args:
        family: as in `harness.contract.FAMILIES`.
        architecture: those in `exceptions.toml` are spared the checks named there.
        base: the plain inputs by argument name.
        other: other values of the same shapes.
        head: the task of the model, or `base`.
    """
    found: Iterable[Probe] = _module(family).probes(base, other)
    spared = spared_checks(architecture, head)
    return [probe for probe in found if probe.name not in spared]


def loop(family: str, base: Arrays, other: Arrays, outputs: Arrays) -> Loop | None:
    """The loop in which a family's models are used; None where they are not.

    Args:
        family: as in `harness.contract.FAMILIES`.
        base: the plain inputs by argument name.
        other: other values of the same shapes.
        outputs: the reference's, on `base`.
    """
    make = getattr(_module(family), "loop", None)
    found: Loop | None = make(base, other, outputs) if make is not None else None
    return found


def _module(family: str) -> Any:
    return importlib.import_module(f"harness.families.{family.replace('-', '_')}")


def spared_checks(architecture: str, head: str) -> Mapping[str, str]:
    """Which checks do not apply to an architecture with a head, and why."""
    known = exceptions()
    return {**known.get(architecture, {}), **known.get(label(architecture, head), {})}


def spared_outputs(architecture: str, head: str = BASE) -> list[str]:
    """Patterns of the names of outputs that are not of order 1, and rightly so."""
    checks = spared_checks(architecture, head)
    return [name.removeprefix(SCALE) for name in checks if name.startswith(SCALE)]


@cache
def exceptions() -> Mapping[str, Mapping[str, str]]:
    """Architecture -> check -> why that check does not apply to it."""
    text = (Path(__file__).parent / "exceptions.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
