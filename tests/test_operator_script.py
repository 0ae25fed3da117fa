"""Standalone scripts of the operators alone that fail: their source text, and real ones."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

from fakes.planted.planted import places  # noqa: E402

from harness.catalog import backends, model_lists  # noqa: E402
from harness.cell.request import Job  # noqa: E402
from harness.contract import Arrays, Cell, Culprit, Outcome, Stage  # noqa: E402
from harness.diagnosis.operator_graph import trace  # noqa: E402
from harness.diagnosis.operator_script import FORMS, failure_of  # noqa: E402
from harness.diagnosis.operator_search import OperatorPiece  # noqa: E402
from harness.diagnosis.operator_source import OperatorSource, operator_source  # noqa: E402
from harness.diagnosis.trial import Trial, TrialKind  # noqa: E402
from harness.models.case import TinyCase  # noqa: E402
from harness.workers import fork_server  # noqa: E402
from harness.workers.reproduction import Reproduction, reproduce_operators  # noqa: E402

FAKES = Path(__file__).parent / "fakes"
BERT = model_lists.load().entries["bert"]


class Masked(torch.nn.Module):
    """Operators with a weight, an infinity, a dtype and a tuple of results."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, states: Any, mask: Any) -> dict[str, Any]:
        scores = self.linear(states).masked_fill(mask == 0, -float("inf"))
        first, _ = torch.softmax(scores, -1, dtype=torch.float32).split(2, -1)
        return {"first": first + torch.zeros(2, device="cpu")}


@pytest.fixture(scope="module")
def part() -> tuple[Any, Arrays]:
    torch.manual_seed(1)
    states = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    mask = np.array([[1, 1, 0, 1]], dtype=np.int64)
    module = Masked().eval()
    vars(type(module).forward).setdefault("__signature__", inspect.signature(Masked.forward))
    graph = trace(module, {"states": states, "mask": mask})
    return graph.part(graph.operators)


def run(source: OperatorSource) -> tuple[Any, Any]:
    """The operators of a source text, and what they return."""
    names: dict[str, Any] = {"torch": torch, "stored": source.stored}
    torch.manual_seed(0)
    exec(f"{source.code}\nmodel = Operators()\n{source.inputs}", names)
    with torch.no_grad():
        return names["inputs"], names["model"](*names["inputs"])


def test_text_with_recorded_values_computes_the_same(part: tuple[Any, Arrays]) -> None:
    module, inputs = part
    (want,) = module(**{name: torch.from_numpy(a) for name, a in inputs.items()}).values()
    source = operator_source(module, inputs, drawn=False)
    _, found = run(source)
    assert torch.equal(found, want)
    assert "device" not in source.code
    assert "= None" not in source.code
    assert 'float("-inf")' in source.code or '-float("inf")' in source.code


def test_drawn_floats_have_the_shapes_and_integers_their_values(part: tuple[Any, Arrays]) -> None:
    module, inputs = part
    source = operator_source(module, inputs, drawn=True)
    made, _ = run(source)
    assert not source.stored
    assert source.code.count("torch.randn(") == 2  # weight and bias
    for name, tensor in zip(inputs, made, strict=True):
        assert tensor.shape == inputs[name].shape
        floating = inputs[name].dtype.kind == "f"
        assert np.array_equal(tensor.numpy(), inputs[name]) is not floating


def test_large_recorded_arrays_are_stored() -> None:
    class Negated(torch.nn.Module):
        def forward(self, states: Any) -> dict[str, Any]:
            return {"made": -states}

    states = np.arange(100, dtype=np.float32)
    graph = trace(Negated(), {"states": states})
    source = operator_source(*graph.part(graph.operators), drawn=False)
    assert next(iter(source.stored.values())).tolist() == states.tolist()
    assert torch.equal(run(source)[1], -torch.from_numpy(states))


@pytest.mark.parametrize(
    ("trial", "stage", "outcome", "cause"),
    [
        (Trial(TrialKind.WRONG, 40.0), Stage.VERIFY, Outcome.FAIL, "CheckFailed"),
        (Trial(TrialKind.ELSEWHERE, reason="Pow"), Stage.VERIFY, Outcome.FAIL, "CheckFailed"),
        (Trial(TrialKind.RAISES, reason="E: x", cause="E: x"), Stage.PREPARE, Outcome.FAIL, "E: x"),
        (Trial(TrialKind.RAISES, reason="crash: x", cause="s"), Stage.PREPARE, Outcome.CRASH, "s"),
        (
            Trial(TrialKind.RAISES, reason="timeout: x", cause="s"),
            Stage.PREPARE,
            Outcome.TIMEOUT,
            "s",
        ),
    ],
)
def test_failure_of_operators_is_one_of_a_cell(
    trial: Trial, stage: Stage, outcome: Outcome, cause: str
) -> None:
    culprit = Culprit("encoder.0", "Layer", "pow")
    found = failure_of(culprit, OperatorPiece(TinyCase(BERT), {}, trial))
    assert (found.stage, found.outcome, found.cause) == (stage, outcome, cause)
    assert "fail in encoder.0 (Layer)" in found.reason


def reproduced(folder: Path, fault: str, *, runs: bool = True) -> tuple[Culprit, Reproduction]:
    job = Job(Cell(BERT, "planted", "eager"), 0, "tiny", FAKES, options={"planted": fault})
    spec = backends.find("planted", FAKES)
    return reproduce_operators(spec, job, folder, 120.0, chosen="base", runs=runs)


@pytest.fixture
def _own_server() -> Iterator[None]:
    """A fork server that no other test has started with other modules."""
    fork_server.end_session()
    yield
    fork_server.end_session()


@pytest.fixture(scope="module")
def fault() -> str:
    (first, *_) = [each for each in places(TinyCase(BERT)) if each.operator == "gelu"]
    return f"wrong/gelu/{first.key}"


@pytest.mark.usefixtures("_own_server")
def test_script_has_the_operator_alone(fault: str, tmp_path: Path) -> None:
    culprit, made = reproduced(tmp_path, fault)
    assert culprit.operator == "gelu"
    assert made.shown
    assert made.script is not None
    text = made.script.read_text("utf-8")
    assert made.lines <= 45
    assert text.startswith('"""gelu in bert on planted, precision eager: fail at verify.')
    assert "torch.randn(" in text
    assert "harness" not in text
    assert "GELUActivation" in (tmp_path / f"{made.script.stem}.md").read_text("utf-8")
    again = subprocess.run(
        [sys.executable, str(made.script)], env={"PLANTED": "right"}, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.usefixtures("_own_server")
def test_script_that_shows_nothing_is_removed(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", "right")
    _, made = reproduced(tmp_path, fault)
    assert made.script is None
    assert made.shown is False
    assert made.said.startswith("exit status 0: relative error 0")
    assert not [*tmp_path.iterdir()]


@pytest.mark.usefixtures("_own_server")
def test_script_that_is_not_run_has_the_recorded_values(fault: str, tmp_path: Path) -> None:
    _, made = reproduced(tmp_path, fault, runs=False)
    assert made.script is not None
    assert made.shown is None
    assert FORMS[1].replace(" ", "_") in made.script.name
