"""Seeds of example inputs by architecture, on which no choice of the model is nearly a tie.

`python -m harness seeds` finds them and writes `example_seeds.toml`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_suffix(".toml")


@cache
def offset(architecture: str) -> int:
    """The number that is added to the run's seed for an architecture's examples; 0 by default."""
    return table().get(architecture, 0)


def table() -> dict[str, int]:
    """The offset of each architecture in `example_seeds.toml`."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))
