"""Names in the tables of `harness/`: each is an architecture that the model lists have.

In the table of exemptions from padding, the name of a branch may stand too, or a family.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from harness.catalog import exemptions, heads, model_lists
from harness.models import example_seeds, forward_methods
from harness.toolkit import padding_exemptions

ENTRIES = model_lists.load().entries.values()
KNOWN = {entry.architecture for entry in ENTRIES}
BRANCHES = {entry.name for entry in ENTRIES if entry.branch_of}
FAMILIES = {f"{padding_exemptions.FAMILY}{entry.family}" for entry in ENTRIES}


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("exemptions", exemptions.exemptions()),
        ("padding_exemptions", padding_exemptions.exemptions()),
        ("example_seeds", example_seeds.table()),
        ("forward_methods", forward_methods.forward_methods()),
    ],
)
def test_every_row_is_of_an_architecture_of_the_lists(table: str, names: Iterable[str]) -> None:
    known = KNOWN | BRANCHES | FAMILIES if table == "padding_exemptions" else KNOWN
    unknown = []
    for name in names:
        architecture, _, head = name.partition(":")
        if architecture not in known or (head and head not in heads.known_heads()):
            unknown.append(name)
    assert unknown == [], f"{table}.toml has rows that change nothing"
