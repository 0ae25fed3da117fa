"""References are kept however a cell ends, and an audit that fails is a failure of the cell."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.cell.keeping import kept_references, references_kept
from harness.cell.progress import CellProgress
from harness.contract import CellResult, Outcome, Stage
from harness.models.kept_references import KeptReferences
from harness.toolkit.cache import Cache


@pytest.fixture
def progress() -> CellProgress:
    named = ("bert", "encoder-only", "bert", "base", "default")
    return CellProgress(CellResult(*named, Stage.BUILD, Outcome.PASS), lambda stage, failures: None)


def a_case(folder: Path, *, audited: bool = False) -> Any:
    kept = KeptReferences(Cache(folder), lambda: {"entry": "bert"}, audited=audited)
    return SimpleNamespace(kept=kept)


def numbers() -> dict[str, Any]:
    return {"logits": np.array([1.0, 2.0, 3.0])}


def others() -> dict[str, Any]:
    return {"logits": np.array([1.0, 2.0, 3.0 + 1e-9])}


def never() -> dict[str, Any]:
    pytest.fail("expected the kept outputs, found them made again")


def metrics(progress: CellProgress) -> dict[str, float]:
    return {metric.name: metric.value for metric in progress.result.metrics}


def test_cell_that_fails_keeps_its_references(tmp_path: Path, progress: CellProgress) -> None:
    case = a_case(tmp_path)
    with progress.kept(), references_kept(case, progress):
        case.kept.outputs(numbers, {}, dtype="float64")
        raise RuntimeError("the backend fails")
    assert metrics(progress) == {"references_kept": 0, "references_made": 1}
    again = a_case(tmp_path)
    again.kept.outputs(never, {}, dtype="float64")


def test_failed_audit_is_a_failure_of_the_reference(tmp_path: Path, progress: CellProgress) -> None:
    case = a_case(tmp_path)
    case.kept.outputs(numbers, {}, dtype="float64")
    case.kept.save()
    audited = a_case(tmp_path, audited=True)
    with references_kept(audited, progress):
        audited.kept.outputs(
            lambda: {"logits": np.array([1.0, 2.0, 3.0 + 1e-9])}, {}, dtype="float64"
        )
    assert progress.result.outcome is Outcome.UNTESTED
    assert progress.result.stage is Stage.REFERENCE
    assert progress.result.reason.startswith("reference store: expected the reference")


def test_case_that_keeps_nothing_is_left_alone(progress: CellProgress) -> None:
    case: Any = SimpleNamespace(kept={"base": "its own"})
    assert kept_references(case) is None
    with references_kept(case, progress):
        pass
    assert metrics(progress) == {}
