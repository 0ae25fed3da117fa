"""Examples are far from ties: the table of their seeds, and how it is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.catalog import model_lists
from harness.cell.request import Job
from harness.commands import seeds
from harness.contract import Arrays, Cell, Entry, Stage, Unsupported
from harness.models import example_seeds
from harness.models.case import TinyCase


class Choosing:
    """A case whose model keeps the larger of two scores, which lie `GAPS[seed]` apart."""

    GAPS = (1e-4, 0.5, 1e-3, 0.4)

    def __init__(self, entry: Any, seed: int = 0) -> None:
        self.example_seed = seed

    def with_examples_of(self, seed: int) -> Choosing:
        return Choosing(None, seed)

    def inputs(self, variant: str = "base") -> Arrays:
        if variant == "reshaped":
            raise Unsupported("takes no other batch")
        return {"scores": np.array([1.0 + self.GAPS[self.example_seed], 1.0])}

    def reference(self, inputs: Arrays, dtype: str = "float64", *, seed: int = 0) -> Arrays:
        if dtype == "float16":
            raise RuntimeError("expected m1 and m2 to have the same dtype")
        return self.chosen(inputs["scores"])

    def jittered(self, inputs: Arrays, dtype: str, times: float = 1.0) -> Arrays:
        assert dtype == "float16"
        return self.chosen(inputs["scores"] + times * np.array([-1e-3, 1e-3]))

    def chosen(self, scores: Any) -> Arrays:
        first = float(scores[0] > scores[1])
        return {"out": np.array([first, 1 - first, scores[0]])}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Job:
    monkeypatch.setattr("harness.models.case.TinyCase", Choosing)
    monkeypatch.setattr("harness.toolkit.padded_inputs.padded_batches", lambda case, base: {})
    entry = Entry("chooser", "decoder-only", "chooser")
    return Job(Cell(entry, "torch-cpu"), 0, "tiny", tmp_path, options={"tries": "4"})


def test_the_seed_with_the_widest_margin_is_chosen(job: Job) -> None:
    stages: list[Stage] = []
    seed, plain, best = seeds.best_seed(job, stages.append)
    assert seed == 1
    assert plain > 0.5
    assert best < 0.01
    assert stages == [Stage.REFERENCE]


def test_what_is_no_tie_keeps_its_seed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Choosing, "GAPS", (0.45, 0.5, 1e-3, 0.4))
    assert seeds.best_seed(job, lambda stage: None)[0] == 0


def test_every_row_is_an_architecture_of_the_lists() -> None:
    known = {entry.architecture for entry in model_lists.load().entries.values()}
    assert example_seeds.table().keys() <= known
    assert all(seed > 0 for seed in example_seeds.table().values())


def test_a_row_moves_the_examples_and_not_the_weights() -> None:
    case = TinyCase(Entry("bert", "encoder-only", "bert"))
    other = case.with_examples_of(case.example_seed + 1)
    assert not np.array_equal(case.inputs()["input_ids"], other.inputs()["input_ids"])
    assert other.module().state_dict().keys() == case.module().state_dict().keys()
    moved = TinyCase(Entry("some_moe", "decoder-only", next(iter(example_seeds.table()))), 3)
    assert moved.example_seed == 3 + next(iter(example_seeds.table().values()))
    assert moved.seed == 3
