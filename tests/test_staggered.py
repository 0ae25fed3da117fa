"""Cells start so that the precisions of one model do not run side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from harness.contract import Cell, Entry
from harness.session.staggered import staggered


def cells(models: int, precisions: Sequence[str]) -> list[Cell]:
    entries = [Entry(f"m{n}", "vision", f"m{n}") for n in range(models)]
    return [Cell(entry, "good", precision) for entry in entries for precision in precisions]


def test_one_precision_keeps_its_order() -> None:
    given = cells(20, ["default"])
    assert staggered(given, 2) == given


def test_precisions_of_a_model_start_apart() -> None:
    given = cells(20, ["default", "bf16", "f16"])
    found = staggered(given, 2)
    assert sorted(cell.id for cell in found) == sorted(cell.id for cell in given)
    for entry in dict.fromkeys(cell.entry.name for cell in given[:30]):
        places = [n for n, cell in enumerate(found) if cell.entry.name == entry]
        assert [found[n].precision for n in places] == ["default", "bf16", "f16"]
        assert min(later - sooner for sooner, later in pairwise(places)) > 2


def test_few_models_run_one_precision_after_the_other() -> None:
    found = staggered(cells(2, ["default", "bf16"]), 2)
    assert [(cell.entry.name, cell.precision) for cell in found] == [
        ("m0", "default"), ("m1", "default"), ("m0", "bf16"), ("m1", "bf16")
    ]  # fmt: skip
