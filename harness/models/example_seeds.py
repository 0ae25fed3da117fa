"""Seeds of example inputs by architecture, on which no choice of the model is nearly a tie.

`python -m harness seeds` finds them and writes `example_seeds.toml`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from harness.toolkit.toml_file import TomlFile
from harness.toolkit.toml_keys import INTEGER, Key

TABLE = Path(__file__).with_suffix(".toml")


@cache
def offset(architecture: str) -> int:
    """The number that is added to the run's seed for an architecture's examples; 0 by default."""
    return table().get(architecture, 0)


def table() -> dict[str, int]:
    """The offset of each architecture in `example_seeds.toml`."""
    source = TomlFile(TABLE)
    source.check_top(dict.fromkeys(source.tables, Key("The offset.", INTEGER)))
    return source.tables
