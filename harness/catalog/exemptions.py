"""Exemptions: checks that an architecture need not pass, each with its reason.

They stand in `exemptions.toml`: XLNet predicts in a permuted order and is exempt from `causal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from harness.contract import BASE, label
from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import Key

#: Before a pattern of output names in `exemptions.toml`: these need not be of order 1.
SCALE = "scale of "


def exempt_checks(architecture: str, head: str) -> Mapping[str, str]:
    """The checks that an architecture with a head need not pass, each with the reason."""
    known = exemptions()
    return {**known.get(architecture, {}), **known.get(label(architecture, head), {})}


def exempt_outputs(architecture: str, head: str = BASE) -> list[str]:
    """Patterns of the names of outputs that need not be of order 1."""
    checks = exempt_checks(architecture, head)
    return [name.removeprefix(SCALE) for name in checks if name.startswith(SCALE)]


#: The value of every key of `exemptions.toml`.
REASON = Key("Why the architecture need not pass the check.")


@cache
def exemptions() -> Mapping[str, Mapping[str, str]]:
    """The rows of `exemptions.toml`: architecture, or `architecture:task` -> check -> reason."""
    source = TomlFile(Path(__file__).with_suffix(".toml"))
    for name, table in source.tables.items():
        source.check_table(name, table, dict.fromkeys(table, REASON))
    return source.tables
