"""Padded batches of a model: left-padded and right-padded inputs, where it takes a mask.

`padded_batches.toml` says which models need not give a padded row what they give it without
padding, and why: BERT counts its positions from the left of the row, padding included.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.contract import Arrays, Case, label
from harness.toolkit import padded_rows

#: Where padding stands in them.
SIDES: Mapping[str, padded_rows.Side] = {"left-padded": "left", "right-padded": "right"}

#: Both of them, in `variants.toml`.
PADDED = "padded"


def padded(case: Case, base: Arrays) -> dict[str, Arrays]:
    """The padded batches that a model is asked with, by name; none where it takes none.

    Args:
        case: whose inputs vary.
        base: its plain inputs.
    """
    if not padded_rows.applies(base) or PADDED in spared_by(case):
        return {}
    short = padded_rows.shortened(base)
    return {
        name: padded_rows.padded(base, short, side, case.padding()) for name, side in SIDES.items()
    }


@dataclass(frozen=True, slots=True)
class Spared:
    """What of a padded batch's outputs may differ from those without padding."""

    reason: str
    outputs: tuple[str, ...] | None = None  # how their names begin; None for all of them

    def covers(self, output: str) -> bool:
        """Whether an output may differ."""
        return self.outputs is None or output.startswith(self.outputs)


NOTHING_SPARED = Spared("", ())


def spared_by(case: Case) -> Mapping[str, Spared]:
    """Variant -> what may differ, of a case's model."""
    known, architecture = exceptions(), case.entry.architecture
    return {**known.get(architecture, {}), **known.get(label(architecture, case.head), {})}


@cache
def exceptions() -> Mapping[str, Mapping[str, Spared]]:
    """Architecture or a head of one -> variant -> what may differ, and why: `variants.toml`.

    The variant `padded` stands for both sides, and says that the model takes none of them.
    """
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    found: dict[str, dict[str, Spared]] = {}
    for row in tomllib.loads(text)["exception"]:
        outputs = tuple(row["outputs"]) if "outputs" in row else None
        for architecture in row["architectures"]:
            for variant in row["variants"]:
                found.setdefault(architecture, {})[variant] = Spared(row["reason"], outputs)
    return found
