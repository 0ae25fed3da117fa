"""Coverage of modeling code: what counts, which statements are run, and what the pages say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.catalog import backend_spec
from harness.cell import code_coverage as measured
from harness.cell.code_coverage import LinesRun
from harness.cell.request import Job
from harness.contract import Cell, CellFailure, Entry, Outcome, Stage
from harness.models import modeling_code
from harness.report import code_coverage as pages
from harness.results import code_coverage

SOURCE = '''\
import logging

logger = logging.getLogger(__name__)


class Part:
    """Of the model."""

    def __init__(self, config):
        super().__init__()
        self.gated = config.gated

    def _init_weights(self, module):
        module.weight = 0

    def forward(self, x, labels=None):
        """Adds one."""
        if x is None:
            logger.warning("no x")
            raise ValueError("x")
        if self.gated:
            x = x * 2
        else:
            x = x - 2
        if labels is not None:
            x = x * 3
        if not self.training and x:
            x = (
                x + 1
            )
        return x
        x = 5


PARTS = {"one": Part}


class Model:
    def forward(self, x):
        return PARTS["one"](self)(x)


class ModelForNobody:
    def forward(self, x):
        return x
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "thing" / "modeling_thing.py"
    path.parent.mkdir()
    path.write_text(SOURCE, encoding="utf-8")
    return path


def silent(stage: Stage, failures: Sequence[CellFailure]) -> None:
    """Tells nobody."""


def line(text: str) -> int:
    """The number of the first line of the source that holds a text."""
    return SOURCE[: SOURCE.index(text)].count("\n") + 1


def test_only_what_inference_can_reach_counts(file: Path) -> None:
    first = {s.first for s in modeling_code.statements(file)}
    counted = ("super().__init__", "self.gated = ", "if self.gated", "x = x * 2", "x = x - 2")
    assert {line(text) for text in (*counted, "x = (", "return x")} <= first
    for text in ("module.weight = 0", "Adds one", "if x is None", "raise", "x = x * 3", "x = 5"):
        assert line(text) not in first, text


def test_a_head_that_no_cell_has_is_left_out(file: Path) -> None:
    whole = {s.function for s in modeling_code.statements(file)}
    reached = {s.function for s in modeling_code.statements(file, ["Model"])}
    assert reached == {"Part.__init__", "Part.forward", "Model.forward"}
    assert whole - reached == {"ModelForNobody.forward"}


def test_cells_of_one_file_count_together(file: Path) -> None:
    before = line("x = x * 2")
    runs = [
        LinesRun(str(file), "Model", frozenset(lines), Outcome.PASS)
        for lines in (range(1, before), range(line("x = (") + 1, 60), ())
    ]
    cells = [Cell(Entry("a", "", name), "torch-cpu") for name in ("thing", "thing_text", "thing")]
    absent = LinesRun("", "", frozenset(), Outcome.ABSENT)
    [found] = code_coverage.count([*zip(cells, runs, strict=True), (cells[0], absent)])
    assert found.name == "thing/modeling_thing.py"
    assert found.architectures == ("thing", "thing_text")
    missed = (before, before + 2, line("if labels"), line("if not self.training"))
    assert found.missed == {"Part.forward": missed}
    assert (found.whole, found.statements, found.run) == (11, 10, 6)
    assert code_coverage.median([found]) == 0.6
    text = pages.markdown([found])
    assert "60% of the statements" in text
    assert "Part.forward 4 (22)" in text.replace("\\", "")


def test_a_cell_is_run_under_the_tracer() -> None:
    entry = Entry("bert", "encoder-only", "bert")
    job = Job(Cell(entry, "torch-cpu"), 0, "tiny", backend_spec.BACKENDS)
    found = LinesRun.received(measured.lines_run(job, silent))
    assert (found.outcome, found.model) == (Outcome.PASS, "BertModel")
    [counted] = code_coverage.count([(job.cell, found)])
    assert counted.name == "bert/modeling_bert.py"
    assert "BertSelfOutput.forward" not in counted.missed
    assert "BertCrossAttention.forward" in counted.missed  # a BERT that is a decoder alone has it


def test_a_model_that_is_not_here_runs_no_line() -> None:
    job = Job(Cell(Entry("mega", "", "mega"), "torch-cpu"), 0, "tiny", backend_spec.BACKENDS)
    found = LinesRun.received(measured.lines_run(job, silent))
    assert (found.file, found.outcome) == ("", Outcome.ABSENT)


def test_every_rule_has_a_reason_and_leaves_something_out() -> None:
    rules = modeling_code.unreachable()
    assert rules.functions.fullmatch("_init_weights")
    assert not rules.functions.fullmatch("forward")
    assert "labels" in rules.unset
