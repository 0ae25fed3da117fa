"""Properties of families: checks on a model's behaviour, beyond the right numbers.

A family has a module of its own name with a function `probes(base, other)`. A probe is a further
input with a property that the reference's outputs must have: in a decoder, a later token changes
nothing before it. The reference must have the property (else the small model, or its input, is
not the real thing), and the backend must give the reference's values on that input too.

A family may have a function `loop(base, other, outputs)` as well: inferences that feed each other.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from harness.catalog.exemptions import exempt_checks
from harness.checks.families.loop import Call, Loop
from harness.checks.families.probe import Probe, ProbeAnswer
from harness.contract import BASE, Arrays

__all__ = [
    "Call",
    "Loop",
    "Probe",
    "ProbeAnswer",
    "loop",
    "probes",
]


def probes(
    family: str, architecture: str, base: Arrays, other: Arrays, head: str = BASE
) -> list[Probe]:
    """The probes of a family that one architecture's inputs allow.

    Args:
        family: as in `harness.contract.FAMILIES`.
        architecture: those in `exemptions.toml` are spared the checks named there.
        base: the plain inputs by argument name.
        other: other values of the same shapes.
        head: the task of the model, or `base`.
    """
    found: Iterable[Probe] = _module(family).probes(base, other)
    spared = exempt_checks(architecture, head)
    return [probe for probe in found if probe.name not in spared]


def loop(family: str, base: Arrays, other: Arrays, outputs: Arrays) -> Loop | None:
    """The inference loop of a family, such as denoising; None where the family has none.

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
    return importlib.import_module(f"harness.checks.families.{family.replace('-', '_')}")
