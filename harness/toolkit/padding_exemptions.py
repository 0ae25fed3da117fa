"""Padding exemptions: models whose padded rows may differ from the same rows without padding.

`padding_exemptions.toml` lists them with the reason: BERT counts its positions from the left of a
row, padding included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.contract import Case, HarnessError, label
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, STRINGS, Key

#: The variant that stands for both sides: the model takes no padded batch.
PADDED = "padded"
#: The variant that stands for both rows alone: the example batch can't be cut into rows.
PADDED_ROW = "padded-row"
#: Before the name of a family with a head.
FAMILY = "family "
#: The left-padded batch that a decoder generates from, with positions that follow from the mask.
GENERATED = "left-padded generation"
#: Variants that a row may exempt from.
VARIANTS = (
    "left-padded",
    "right-padded",
    "left-padded-row",
    "right-padded-row",
    "sound-padded",
    "image-padded",
    "condition-padded",
    "sound-hidden",
    "image-hidden",
    "condition-hidden",
    GENERATED,
    PADDED,
    PADDED_ROW,
)


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
    known, entry = exemptions(), case.entry
    branch = entry.name if entry.branch_of else ""
    family = _family(label(entry.family, case.head))
    names = (entry.architecture, label(entry.architecture, case.head), branch, family)
    return {name: found for key in names for name, found in known.get(key, {}).items()}


#: The keys of an `[[exemption]]`.
KEYS: Mapping[str, Key] = {
    "variants": Key("The variants that may differ.", STRINGS, required=True, choices=VARIANTS),
    "architectures": Key("Model types, a model's head, or a branch.", STRINGS),
    "families": Key("Families with a head, as `encoder-only:text-classification`.", STRINGS),
    "outputs": Key("How the names of the outputs that may differ begin.", STRINGS),
    "reason": Key("Why they may.", required=True),
}


def _family(name: str) -> str:
    """The name of a family with a head in the table: `encoder-decoder` is a model type too."""
    return f"{FAMILY}{name}"


@cache
def exemptions() -> Mapping[str, Mapping[str, PaddingExemption]]:
    """The rows of `padding_exemptions.toml`: architecture, or `architecture:task` -> variant.

    Those of a family with a head stand under `family FAMILY:TASK`.
    """
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    source.check_top({"exemption": Key("Models and the variants that they are exempt from.", ANY)})
    found: dict[str, dict[str, PaddingExemption]] = {}
    for row in source.check_rows("exemption", KEYS):
        outputs = tuple(row["outputs"]) if "outputs" in row else None
        names = [*row.get("architectures", ()), *map(_family, row.get("families", ()))]
        if not names:
            raise HarnessError(
                f"{source.shown}: expected `architectures` or `families` in each [[exemption]], "
                f"found neither beside the reason {row['reason']!r}; name one"
            )
        for architecture in names:
            for variant in row["variants"]:
                exemption = PaddingExemption(row["reason"], outputs)
                found.setdefault(architecture, {})[variant] = exemption
    return found
