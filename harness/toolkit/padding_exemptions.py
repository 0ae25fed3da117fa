"""Padding exemptions: models whose padded rows may differ from the same rows without padding.

`padding_exemptions.toml` lists them with the reason: BERT counts its positions from the left of a
row, padding included.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.contract import Case, label

#: The variant that stands for both sides: the model takes no padded batch.
PADDED = "padded"


@dataclass(frozen=True, slots=True)
class PaddingExemption:
    """Outputs that may differ between a padded row and the same row without padding."""

    reason: str
    outputs: tuple[str, ...] | None = None  # how their names begin; None for all of them

    def covers(self, output: str) -> bool:
        """Whether an output may differ."""
        return self.outputs is None or output.startswith(self.outputs)


#: Every output must be the same.
NO_EXEMPTION = PaddingExemption("", ())


def exemptions_of(case: Case) -> Mapping[str, PaddingExemption]:
    """The exemptions of a case's model with its head, by variant."""
    known, architecture = exemptions(), case.entry.architecture
    return {**known.get(architecture, {}), **known.get(label(architecture, case.head), {})}


@cache
def exemptions() -> Mapping[str, Mapping[str, PaddingExemption]]:
    """The rows of `padding_exemptions.toml`: architecture, or `architecture:task` -> variant."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    found: dict[str, dict[str, PaddingExemption]] = {}
    for row in tomllib.loads(text)["exemption"]:
        outputs = tuple(row["outputs"]) if "outputs" in row else None
        for architecture in row["architectures"]:
            for variant in row["variants"]:
                exemption = PaddingExemption(row["reason"], outputs)
                found.setdefault(architecture, {})[variant] = exemption
    return found
