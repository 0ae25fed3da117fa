"""Sizes of the small models: classes and parameters as the snapshot of signatures has them.

Every model that these pins have is built on PyTorch's meta device, which allocates no weights, so
that a rule of shrinking that changes a model far away from it shows before a whole session runs.
"""

from __future__ import annotations

import pytest
import torch

from harness.catalog import model_lists
from harness.catalog.requirements import unmet_requirements
from harness.contract import FAMILIES, Absent, Entry, label
from harness.models.libraries import library
from harness.models.weights import parameter_count
from harness.toolkit import signature

ENTRIES = model_lists.load().entries
RECORDED = signature.load(signature.SNAPSHOT)


def built(entry: Entry, head: str) -> tuple[str, int] | None:
    """The class and the parameters of a model; None where these pins do not have it."""
    if unmet_requirements(entry):
        return None
    try:
        found = library(entry.library)
        config = found.config(entry.architecture, entry.config, "tiny", head)
        with torch.device("meta"), torch.no_grad():
            module = found.module(entry.architecture, config, head)
    except Absent:
        return None
    return type(module).__name__, parameter_count(module)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_model_is_as_recorded(family: str) -> None:
    wrong, held = [], 0
    for entry in (entry for entry in ENTRIES.values() if entry.family == family):
        for head in entry.built:
            recorded = RECORDED.get(label(entry.name, head))
            found = built(entry, head) if recorded else None
            if recorded is None or found is None:
                continue
            held += 1
            if found != (recorded.model, recorded.parameters):
                wrong.append(f"{recorded.label} {found[0]} {found[1]}")
    assert held
    assert not wrong, "Fix the rule, or read each line: python -m harness record NAME"
