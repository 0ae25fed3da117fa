"""`python -m harness seeds`: examples on which no choice that the model makes is nearly a tie.

A mixture of experts sends each token to the experts with the highest scores, a detector keeps the
best of its queries. Where two scores differ by less than a rounding, two right computations choose
differently, and their outputs have nothing in common. Which example is far from ties is found by
trying, and kept in `example_seeds.toml`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

TABLE = Path(__file__).with_suffix(".toml")


@cache
def offset(architecture: str) -> int:
    """What is added to the seed of an architecture's examples; 0 where no table names it."""
    return table().get(architecture, 0)


def table() -> dict[str, int]:
    """Architecture -> what is added to the seed of its examples."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))
