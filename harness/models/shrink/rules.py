"""Rules by which a config's fields shrink, by field name: the rows of `rules.toml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import ANY, INTEGER, NUMBER, PATTERNS, Key

TABLE = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True)
class ShrinkRule:
    """One row of `rules.toml`.

    Attributes:
        kind: what the field counts; `scalars.py` and `fields.py` shrink by it.
        pattern: matches the whole name of the field.
        to: the small value at most; None for kinds that compute one.
        factor: the small value at most of a multiplier of sizes, as MobileNet's `depth_multiplier`.
    """

    kind: str
    pattern: re.Pattern[str]
    to: int | None
    factor: float | None = None


#: Kinds of size that a field may be; `rules.toml` and `scalars.py` say how each shrinks.
KINDS = (
    "cap", "channels", "doubled", "experts", "ff", "head_dim", "heads", "hidden", "image", "keep",
    "kv_heads", "layers", "multiplier", "patch", "positions", "rotary", "token", "topk", "vocab",
    "window",
)  # fmt: skip
#: The keys of a `[[rule]]`.
KEYS: Mapping[str, Key] = {
    "kind": Key("What the field counts.", choices=KINDS, required=True),
    "match": Key("Each matches the whole name of a field.", PATTERNS, required=True),
    "to": Key("The small value at most.", INTEGER),
    "factor": Key("The small value at most of a multiplier of sizes.", NUMBER),
}


@cache
def rules() -> tuple[ShrinkRule, ...]:
    """The rows of `rules.toml`, in order."""
    source = TomlFile(TABLE)
    source.check_top({"rule": Key("The rules, in order.", ANY)})
    return tuple(
        ShrinkRule(
            row["kind"],
            re.compile("|".join(f"(?:{m})" for m in row["match"])),
            row.get("to"),
            row.get("factor"),
        )
        for row in source.check_rows("rule", KEYS)
    )


@cache
def rule_of(name: str) -> ShrinkRule | None:
    """The first rule whose pattern matches the whole field name."""
    return next((rule for rule in rules() if rule.pattern.fullmatch(name)), None)
