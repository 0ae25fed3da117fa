"""Localisation: the submodule and the operator that fail, found on planted faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fakes.planted import planted  # noqa: E402
from fakes.planted.planted import Place, places  # noqa: E402
from workplace import Workplace  # noqa: E402

from harness.catalog import model_lists  # noqa: E402
from harness.catalog.cells import cell_of  # noqa: E402
from harness.cell.request import Job  # noqa: E402
from harness.contract import Cell, Culprit, HarnessError  # noqa: E402
from harness.diagnosis.localise import localise  # noqa: E402
from harness.diagnosis.request import LocaliseRequest  # noqa: E402
from harness.diagnosis.trial import Journal, Trial, TrialKind  # noqa: E402
from harness.models.case import TinyCase  # noqa: E402
from harness.report import culprits  # noqa: E402
from harness.results.culprit_causes import culprit_causes  # noqa: E402
from harness.results.merged import gather  # noqa: E402
from harness.workers.localisation import localise as localise_in_children  # noqa: E402
from harness.workers.settings import WorkerSettings  # noqa: E402

FAKES = Path(__file__).parent / "fakes"
BERT = model_lists.load().entries["bert"]


@pytest.fixture(scope="module")
def bert() -> list[Place]:
    return places(TinyCase(BERT))


def culprit_of(
    folder: Path, fault: str, precision: str = "default", *, chosen: str = "", most: int = 40
) -> Culprit:
    job = Job(Cell(BERT, "planted", precision), 0, "tiny", FAKES, options={"planted": fault})
    request = LocaliseRequest(job, folder / "journal.jsonl", chosen, most)
    return localise(request, lambda stage: None)


def place(found: list[Place], operator: str, number: int) -> Place:
    return [each for each in found if each.operator == operator][number]


@pytest.mark.parametrize(
    ("precision", "operator", "number"),
    [("default", "linear", 4), ("eager", "layer_norm", 2)],
)
def test_wrong_operator_is_named_with_its_module(
    bert: list[Place], tmp_path: Path, precision: str, operator: str, number: int
) -> None:
    wrong = place(bert, operator, number)
    found = culprit_of(tmp_path, f"wrong/{operator}/{wrong.key}", precision)
    assert (found.module, found.operator, found.alone) == (wrong.module, operator, True)
    assert found.cause == operator
    assert found.input == "base"
    around = {each.path: each.score for each in found.scores}
    assert around[""] > 5
    assert found.prepares <= 6


def test_exception_is_found_by_descent(bert: list[Place], tmp_path: Path) -> None:
    wrong = place(bert, "linear", 7)
    found = culprit_of(tmp_path, f"raises/linear/{wrong.key}")
    assert (found.module, found.operator) == (wrong.module, "linear")
    assert "has no kernel" in found.failure


def test_search_that_is_cut_short_blames_no_part(bert: list[Place], tmp_path: Path) -> None:
    fault = f"raises/linear/{place(bert, 'linear', 7).key}"
    found = culprit_of(tmp_path, fault, "eager", chosen="base", most=1)
    assert not found.found
    assert "the search was over its limits after 1 prepares" in found.line


def test_right_model_has_no_culprit(tmp_path: Path) -> None:
    found = culprit_of(tmp_path, "", "eager")
    assert not found.found
    assert "right on every input" in found.line


def test_input_is_checked(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="expected --input to be one of base, other"):
        culprit_of(tmp_path, "", "eager", chosen="bse")


def test_fault_of_one_input_names_the_input(tmp_path: Path) -> None:
    # The trace of the plain input has no mask: nothing is padded there.
    found = culprit_of(tmp_path, "")
    assert found.input == "left-padded"
    assert found.kind == "BertSelfAttention"
    assert "on input 'left-padded'" in found.line


def test_journal_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    first = Journal(path)
    first.end("whole", Trial(TrialKind.WRONG, float("inf"), scores={"y": 3.0}))
    first.begin("encoder 0")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"name": "cut sh')
    again = Journal(path)
    assert again.begun == "encoder 0"
    assert again.trials == {"whole": Trial(TrialKind.WRONG, float("inf"), scores={"y": 3.0})}


def test_known_trial_is_not_made_again(bert: list[Place], tmp_path: Path) -> None:
    wrong = place(bert, "gelu", 0)
    fault = f"wrong/gelu/{wrong.key}"
    found = culprit_of(tmp_path, fault)
    lines = (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert culprit_of(tmp_path, "aborts" + fault.removeprefix("wrong")).module == found.module
    assert (tmp_path / "journal.jsonl").read_text(encoding="utf-8").splitlines() == lines
    assert [json.loads(line).get("name") for line in lines[1::2]][:2] == ["whole", "observed"]


def test_text_has_the_scores_by_depth(bert: list[Place], tmp_path: Path) -> None:
    wrong = place(bert, "gelu", 0)
    found = culprit_of(tmp_path, f"wrong/gelu/{wrong.key}", "eager")
    text = "\n".join(culprits.lines(found))
    assert f"{wrong.module} (GELUActivation): gelu" in text
    assert "wrong, here" in text
    assert "  encoder.layer.0.attention " in text


@pytest.mark.parametrize(
    ("model", "message"),
    [("brt", "Did you mean `bert`"), ("bert:nothing", "expected a head of bert")],
)
def test_unknown_cell_is_refused(model: str, message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        cell_of(model, "planted", "default", model_lists.load())


def test_every_planted_operator_has_a_module(bert: list[Place]) -> None:
    assert {each.module for each in bert} >= {"embeddings", "encoder.layer.1.output.dense"}
    assert planted.Planted.of("").effect == ""


def test_session_stores_and_shows_the_culprit(workplace: Workplace, bert: list[Place]) -> None:
    wrong = place(bert, "gelu", 0)
    workplace.write(**{"encoder-only": "bert"})
    done = workplace.run(
        "planted", "--heads", "base", "--precision", "eager", "--localise",
        PLANTED=f"wrong/gelu/{wrong.key}",
    )  # fmt: skip
    assert f"culprit: {wrong.module} (GELUActivation): gelu" in done.stdout
    path = workplace.results / "planted.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        kept = connection.execute("SELECT module, operator, cause, alone FROM culprits").fetchall()
        (scores,) = connection.execute("SELECT scores FROM culprits").fetchone() or ("",)
    assert kept == [(wrong.module, "gelu", "gelu", True)]
    assert [wrong.module, "GELUActivation"] in [one[:2] for one in json.loads(scores)]
    with gather([path], None).connection as connection:
        (cause,) = culprit_causes(connection)
    assert (cause.name, cause.backend, cause.entries) == ("gelu", "planted", ["bert"])


def test_crash_of_the_backend_costs_one_trial(bert: list[Place]) -> None:
    wrong = place(bert, "layer_norm", 0)
    job = Job(
        Cell(BERT, "planted", "eager"), 0, "tiny", FAKES,
        options={"planted": f"aborts/layer_norm/{wrong.key}"},
    )  # fmt: skip
    settings = WorkerSettings(workers=1, preload=("torch", "transformers"))
    (found,) = localise_in_children([job], settings)
    assert (found.module, found.operator) == (wrong.module, "layer_norm")
    assert "exit code 77" in found.failure
